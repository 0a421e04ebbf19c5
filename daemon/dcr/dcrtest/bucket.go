package dcrtest

import (
	"net/http"
	"time"
)

// bucketSize is 11 requests at 1 a second. "Throttling mechanism" has a burst
// of 10, but only a bucket of 11 reproduces its scenario: nginx (limit_req
// rate=1r/s burst=10 nodelay) does not count the first request as part of the
// burst.
const bucketSize = 11 * time.Second

// bucket is the throttle of one address. Its level is kept as time, a second
// for each request, so that the arithmetic is exact.
type bucket struct {
	level time.Duration
	at    time.Time // of the level
}

// take reports whether a request is let through, and takes its part of the
// level if so.
func (b *bucket) take(now time.Time) bool {
	elapsed := min(max(now.Sub(b.at), 0), bucketSize) // a clock that was set back refills nothing
	b.level = min(b.level+elapsed, bucketSize)
	b.at = now
	if b.level < time.Second {
		return false
	}
	b.level -= time.Second
	return true
}

const tooManyPage = "<html>\r\n<head><title>429 Too Many Requests</title></head>\r\n<body>\r\n" +
	"<center><h1>429 Too Many Requests</h1></center>\r\n<hr><center>openresty</center>\r\n</body>\r\n</html>\r\n"

// tooMany returns the throttle's answer, as sampled in "Throttling mechanism":
// HTML, load balancer cookies, no Retry-After.
func (s *Server) tooMany(why string) answer {
	a := answer{status: http.StatusTooManyRequests, body: []byte(tooManyPage), why: why}
	a.header().Set("Content-Type", "text/html")
	a.header().Set("Server", "openresty")
	expires := s.now().Add(7 * 24 * time.Hour).UTC().Format(http.TimeFormat)
	a.header().Add("Set-Cookie", "AWSALB=simulated; Expires="+expires+"; Path=/")
	a.header().Add("Set-Cookie", "AWSALBCORS=simulated; Expires="+expires+"; Path=/; SameSite=None; Secure")
	return a
}
