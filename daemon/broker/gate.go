package broker

import (
	"time"

	"golang.org/x/time/rate"

	"github.com/tvpassd/tvpassd/daemon/clock"
)

const (
	// The documented throttle gives a device 1 request a second and a burst of 10 ("Throttling mechanism"). The players' own
	// API calls drink from the same bucket, and an older edition of that page gave a burst of 3: this gate keeps to 3.
	gateRate  = 1
	gateBurst = 3

	// shutAfter429 is the least that page asks for after a 429.
	shutAfter429 = time.Second
	// maxRetryAfter bounds what a server, or something that poses as one, can ask for.
	maxRetryAfter = time.Hour
)

// gate is the one way to the server, for all apps. It opens empty: a daemon that is restarted in a loop gets no new
// burst each time, and 1 s after a start is soon enough for what was not at hand.
type gate struct {
	bucket *rate.Limiter
	shut   time.Duration // no request leaves before this reading of the boot clock

	waits     Waits // that are over
	holding   bool  // a call that is due waits
	heldSince time.Duration
}

func newGate(now clock.Reading) *gate {
	g := &gate{bucket: rate.NewLimiter(gateRate, gateBurst)}
	g.bucket.AllowN(bucketTime(now.Boot), gateBurst)
	return g
}

// opens is the first moment at which a request may leave.
func (g *gate) opens(now clock.Reading) time.Duration {
	at := max(now.Boot, g.shut)
	if missing := 1 - g.bucket.TokensAt(bucketTime(at)); missing > 0 {
		at += time.Duration(missing / gateRate * float64(time.Second))
	}
	return at
}

// take lets one request leave; the caller has seen that the gate is open.
func (g *gate) take(now clock.Reading) { g.bucket.ReserveN(bucketTime(now.Boot), 1) }

// hold notes whether a call that is due has to wait.
func (g *gate) hold(holds bool, now clock.Reading) {
	switch {
	case holds && !g.holding:
		g.heldSince = now.Boot
	case g.holding && !holds:
		g.waits.Count++
		g.waits.Sum += now.Boot - g.heldSince
	}
	g.holding = holds
}

// throttled shuts the gate after a 429 and returns for how long. The server's bucket is empty then, so ours is too.
func (g *gate) throttled(now clock.Reading, retryAfter time.Duration) time.Duration {
	wait := min(max(retryAfter, shutAfter429), maxRetryAfter)
	g.shutFor(now, wait)
	at := bucketTime(g.shut)
	g.bucket.AllowN(at, int(g.bucket.TokensAt(at)))
	return wait
}

func (g *gate) shutFor(now clock.Reading, wait time.Duration) { g.shut = max(g.shut, now.Boot+wait) }

// bucketTime is a boot reading in the form that the bucket wants.
func bucketTime(boot time.Duration) time.Time { return time.Unix(0, 0).Add(boot) }
