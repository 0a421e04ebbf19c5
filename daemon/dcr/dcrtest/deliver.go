package dcrtest

import (
	"crypto/tls"
	"net"
	"net/http"
	"strconv"
	"time"
)

// portalPath is where a redirect leads. Whoever follows it is seen in the log of requests.
const portalPath = "/captive-portal"

// portal is the page that a hotel's network shows instead of what was asked for.
func portal() answer {
	const page = "<!DOCTYPE html>\n<title>Welcome</title>\n<p>Please sign in to use this network.</p>\n"
	a := answer{status: http.StatusOK, body: []byte(page)}
	a.header().Set("Content-Type", "text/html; charset=utf-8")
	return a
}

// deliver sends an answer, or lets it meet its fault on the way. A failing write is the client's loss: it went away.
func deliver(w http.ResponseWriter, r *http.Request, a answer, f Fault) {
	if f.Delay > 0 {
		late := time.NewTimer(f.Delay)
		defer late.Stop()
		select {
		case <-late.C:
		case <-r.Context().Done():
			panic(http.ErrAbortHandler) // else an empty 200 would go out where it is the server that ends
		}
	}
	for name, values := range a.headers {
		w.Header()[name] = values
	}
	switch f.Kind {
	case FaultHang:
		<-r.Context().Done()
		panic(http.ErrAbortHandler) // as above
	case FaultReset, FaultLost:
		reset(w)
	case FaultTruncated:
		w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
		w.WriteHeader(a.status)
		_, _ = w.Write(a.body[:len(a.body)/2])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	default:
		w.WriteHeader(a.status)
		_, _ = w.Write(a.body)
	}
}

// reset ends the connection with an RST, the way a failing box in between would.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil { // HTTP/2: the stream alone can be reset
		panic(http.ErrAbortHandler)
	}
	raw := conn
	if t, ok := conn.(*tls.Conn); ok {
		raw = t.NetConn()
	}
	if t, ok := raw.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // else the client would see an orderly end
	}
	_ = raw.Close()
}
