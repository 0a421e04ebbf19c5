package dcrtest

import (
	"net"
	"net/http"
	"strconv"
	"time"
)

// portalPath is where a redirect leads. A client that follows it shows in the
// log of requests.
const portalPath = "/captive-portal"

// portal returns the page that a hotel's network shows instead of what was
// asked for.
func portal() answer {
	const page = "<!DOCTYPE html>\n<title>Welcome</title>\n<p>Please sign in to use this network.</p>\n"
	return htmlAnswer(http.StatusOK, page)
}

// deliver sends an answer, or lets it meet its fault on the way. A write fails
// if the client is gone.
func deliver(w http.ResponseWriter, r *http.Request, a answer, f Fault) {
	if f.Delay > 0 && f.Kind != FaultDrip {
		pause(r, f.Delay)
	}
	for name, values := range a.headers {
		w.Header()[name] = values
	}
	switch f.Kind {
	case FaultHang:
		<-r.Context().Done()
		panic(http.ErrAbortHandler) // else an empty 200 would go out if it is the server that ends
	case FaultReset, FaultLost:
		reset(w)
	case FaultClose:
		panic(http.ErrAbortHandler)
	case FaultDrip:
		w.WriteHeader(a.status)
		for i := range a.body {
			pause(r, f.Delay)
			_, _ = w.Write(a.body[i : i+1])
			_ = http.NewResponseController(w).Flush()
		}
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

// pause waits, or ends the request without an answer once the client or the
// server goes.
func pause(r *http.Request, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
		panic(http.ErrAbortHandler)
	}
}

// reset ends the connection with an RST, as a failing middlebox would.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil { // HTTP/2: the stream alone can be reset
		panic(http.ErrAbortHandler)
	}
	raw := conn
	for {
		inner, ok := raw.(interface{ NetConn() net.Conn }) // TLS, or a look at its first record
		if !ok {
			break
		}
		raw = inner.NetConn()
	}
	if t, ok := raw.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // else the client would see an orderly end
	}
	_ = raw.Close()
}
