package server

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// counted is a connection that counts how often its reads get a deadline.
type counted struct {
	net.Conn
	deadlines atomic.Int32
}

func (c *counted) SetReadDeadline(t time.Time) error {
	c.deadlines.Add(1)
	return c.Conn.SetReadDeadline(t)
}

// serveOn answers on one end of a pipe until the connection ends, and returns the
// other end.
func serveOn(t *testing.T, timeout time.Duration, h http.HandlerFunc) (near net.Conn, far *counted) {
	near, end := net.Pipe()
	far = &counted{Conn: end}
	accept := make(oneConn, 1)
	accept <- &conn{Conn: far}
	close(accept)
	s := &Server{cfg: Config{Log: discard(), HeaderTimeout: timeout}}
	if err := s.http(t.Context(), h).Serve(accept); err != net.ErrClosed {
		t.Error(err)
	}
	return near, far
}

// A stale deadline ends neither a request that takes longer nor the connection
// after it; a deadline that is due does.
func TestDeadlinesEndWhatTheyAreFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const timeout = time.Second
		near, _ := serveOn(t, timeout, func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-time.After(2 * idleTimeout):
			case <-r.Context().Done():
				t.Error("the request was ended")
			}
			echo(w, r)
		})
		r := bufio.NewReader(near)
		for range 2 {
			for _, piece := range []string{"GET / HTTP/1.1\r\n", "Host: x\r\n\r\n"} {
				io.WriteString(near, piece)
				time.Sleep(timeout / 2)
			}
			answer, err := http.ReadResponse(r, nil)
			if err != nil || answer.StatusCode != http.StatusOK {
				t.Fatal(answer, err)
			}
			time.Sleep(idleTimeout - time.Millisecond)
		}
		io.WriteString(near, "GET / HTTP/1.1\r\n")
		begun := time.Now()
		closed(t, near)
		if took := time.Since(begun); took != timeout {
			t.Errorf("a header that does not end is waited for %v long", took)
		}

		near, _ = serveOn(t, timeout, echo)
		begun = time.Now()
		closed(t, near)
		if took := time.Since(begun); took != timeout {
			t.Errorf("a first request is waited for %v long", took)
		}

		near, _ = serveOn(t, timeout, echo)
		io.WriteString(near, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		if _, err := http.ReadResponse(bufio.NewReader(near), nil); err != nil {
			t.Fatal(err)
		}
		begun = time.Now()
		closed(t, near)
		if took := time.Since(begun); took != idleTimeout {
			t.Errorf("a next request is waited for %v long", took)
		}
	})
}

// Of the six deadlines that net/http sets for a request two are needed: one ends
// the read that watches for the caller to leave, one is for the next request.
func TestDeadlinesAreSetSeldom(t *testing.T) {
	t.Parallel()
	near, far := serveOn(t, time.Hour, echo)
	defer near.Close()
	r := bufio.NewReader(near)
	const requests = 20
	for range requests {
		io.WriteString(near, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		if _, err := http.ReadResponse(r, nil); err != nil {
			t.Fatal(err)
		}
	}
	if n := far.deadlines.Load(); n > 2*requests+2 {
		t.Errorf("%d requests set %d deadlines", requests, n)
	}
}
