package dcr

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// What a server does behind an answer ends the connection: the next request gets
// an answer of its own, over another one.
func TestWhatComesBehindAnAnswer(t *testing.T) {
	const answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	const last = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
	const stray = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray"
	for name, tc := range map[string]struct {
		after func(net.Conn)
		first string
		kept  bool
	}{
		"nothing":                      {func(net.Conn) {}, answer, true},
		"an answer that comes at once": {func(net.Conn) {}, answer + stray, false},
		"an answer that comes later":   {func(c net.Conn) { _, _ = io.WriteString(c, stray) }, answer, false},
		"a byte":                       {func(c net.Conn) { _, _ = io.WriteString(c, "\n") }, answer, false},
		"the end of TLS":               {func(c net.Conn) { _ = c.(*tls.Conn).CloseWrite() }, answer, false},
		"the end of TCP":               {func(c net.Conn) { _ = c.(*tls.Conn).NetConn().Close() }, answer, false},
		"that it will close":           {func(net.Conn) {}, last, false},
		"HTTP/1.0":                     {func(net.Conn) {}, strings.Replace(answer, "1.1", "1.0", 1), false},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			config, caFile := labTLS(t)
			config.MinVersion, config.MaxVersion = version, version
			var conns atomic.Int32
			sent := make(chan bool, 2)
			address := raw(t, config, func(c net.Conn) {
				first := conns.Add(1) == 1
				for in := bufio.NewReader(c); ; {
					if _, err := http.ReadRequest(in); err != nil {
						return
					}
					if !first {
						_, _ = io.WriteString(c, answer)
						continue
					}
					_, _ = io.WriteString(c, tc.first)
					tc.after(c)
					sent <- true
				}
			})
			c := newClient(t, "https://"+address, func(c *Config) { c.CAFile = caFile })
			for i := range 2 {
				resp, err := c.Send(t.Context(), &Request{Method: http.MethodGet, Path: "/", Timeout: labTimeout})
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if body, err := io.ReadAll(resp.Body); string(body) != "ok" {
					t.Errorf("%s: answer %d is %q, %v", name, i, body, err)
				}
				resp.Body.Close()
				if i == 0 {
					<-sent
				}
			}
			if got := conns.Load(); (got == 1) != tc.kept {
				t.Errorf("%s, TLS %x: %d connections", name, version, got)
			}
		}
	}
}

// A server may answer before it has read a long request. The rest is not sent,
// and what reads it finds no other request behind it.
func TestAnswersBeforeTheRequestIsRead(t *testing.T) {
	config, caFile := labTLS(t)
	var conns atomic.Int32
	address := raw(t, config, func(c net.Conn) {
		conns.Add(1)
		_, _ = c.Read(make([]byte, 1))
		_, _ = io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
		_, _ = c.(*tls.Conn).NetConn().Read(make([]byte, 1)) // and no more
		<-t.Context().Done()
	})
	c := newClient(t, "https://"+address, func(c *Config) { c.CAFile = caFile })
	long := &Request{Method: http.MethodPost, Path: "/", Body: make([]byte, 16<<20), Timeout: labTimeout}
	for range 2 {
		resp, err := c.Send(t.Context(), long)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusRequestEntityTooLarge {
			t.Error(resp.Status)
		}
	}
	if got := conns.Load(); got != 2 {
		t.Errorf("%d connections", got)
	}
}

// An answer's header has a limit, and so has what announces the answer.
func TestEndlessHeaders(t *testing.T) {
	for name, tc := range map[string]struct{ begins, goesOn string }{
		"one line":      {"HTTP/1.1 200 OK\r\nX: ", "x"},
		"many lines":    {"HTTP/1.1 200 OK\r\n", "X: y\r\n"},
		"announcements": {"", "HTTP/1.1 103 Early Hints\r\n\r\n"},
	} {
		config, caFile := labTLS(t)
		address := raw(t, config, func(c net.Conn) {
			_, _ = c.Read(make([]byte, 1))
			_, err := io.WriteString(c, tc.begins)
			for part := strings.Repeat(tc.goesOn, 500); err == nil; {
				_, err = io.WriteString(c, part)
			}
		})
		c := newClient(t, "https://"+address, func(c *Config) { c.CAFile = caFile })
		_, err := c.Send(t.Context(), &Request{Method: http.MethodGet, Path: "/", Timeout: labTimeout})
		if e := failure(t, err); e.Kind != ServerError || !strings.Contains(e.Detail, "is not HTTP") {
			t.Errorf("%s: %v", name, e)
		}
	}
}

// An answer that is cut is not taken for a malformed one, wherever that happens.
func TestCutHeaders(t *testing.T) {
	const answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
	config, caFile := labTLS(t)
	var sent atomic.Int32
	address := raw(t, config, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 4096))
		_, _ = io.WriteString(c, answer[:sent.Add(1)])
	})
	c := newClient(t, "https://"+address, func(c *Config) { c.CAFile = caFile })
	for n := 1; n < len(answer); n++ {
		_, err := c.Send(t.Context(), &Request{Method: http.MethodGet, Path: "/", Timeout: labTimeout})
		if e := failure(t, err); e.Kind != ServerError || !errors.Is(e, io.ErrUnexpectedEOF) {
			t.Errorf("after %q: %v", answer[:n], e.err)
		}
	}
}

// Announcements come before the answer, and are not passed on.
func TestAnnouncements(t *testing.T) {
	config, caFile := labTLS(t)
	address := raw(t, config, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 1))
		_, _ = io.WriteString(c, strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", 9)+
			"HTTP/1.1 204 No Content\r\n\r\n")
		_, _ = c.Read(make([]byte, 1))
	})
	c := newClient(t, "https://"+address, func(c *Config) { c.CAFile = caFile })
	resp, err := c.Send(t.Context(), &Request{Method: http.MethodGet, Path: "/", Timeout: labTimeout})
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent || resp.Header["Link"] != nil {
		t.Errorf("%s, %v", resp.Status, resp.Header)
	}
}

// A caller who leaves closes the connection, wherever the call is.
func TestLeaving(t *testing.T) {
	config, caFile := labTLS(t)
	for name, says := range map[string]string{
		"handshake": "",
		"header":    "HTTP/1.1 200 OK\r\n",
		"body":      "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nx",
	} {
		reached, ended := make(chan bool, 1), make(chan error, 1)
		serve := config
		if name == "handshake" {
			serve = nil
		}
		address := raw(t, serve, func(c net.Conn) {
			_, _ = c.Read(make([]byte, 1))
			_, _ = io.WriteString(c, says)
			reached <- true
			_, err := io.Copy(io.Discard, c)
			ended <- err
		})
		c := newClient(t, "https://"+address, func(c *Config) { c.CAFile = caFile })
		ctx, leave := context.WithCancel(t.Context())
		go func() { <-reached; leave() }()
		resp, err := c.Send(ctx, &Request{Method: http.MethodGet, Path: "/", Timeout: labTimeout})
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
		<-ended
	}
}

// Connections that are used at the same time are kept for later, up to a number.
func TestKeptConnections(t *testing.T) {
	const calls = keptConns + 2
	s := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }))
	c := s.client(t)
	for range 2 {
		var open []*http.Response
		for range calls {
			resp, err := c.Send(t.Context(), &Request{Method: http.MethodGet, Path: "/", Timeout: labTimeout})
			if err != nil {
				t.Fatal(err)
			}
			open = append(open, resp)
		}
		for _, resp := range open {
			if _, err := io.Copy(io.Discard, resp.Body); err != nil {
				t.Error(err)
			}
			resp.Body.Close()
		}
	}
	from := map[string]int{}
	for _, r := range s.asked() {
		from[r.remote]++
	}
	if want := 2*calls - keptConns; len(from) != want {
		t.Errorf("%d connections, want %d", len(from), want)
	}
}

// A kept connection keeps nothing of a request that is over: its body may be
// long, and its header holds a token.
func TestKeptConnectionsHoldNoRequest(t *testing.T) {
	s := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }))
	c := s.client(t)
	gone := make(chan bool)
	func() {
		body := make([]byte, 256<<10)
		runtime.AddCleanup(&body[0], func(struct{}) { close(gone) }, struct{}{})
		resp, err := c.Send(t.Context(), &Request{Method: http.MethodPost, Path: "/", Body: body, Timeout: labTimeout})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(resp.Body); err != nil {
			t.Error(err)
		}
		resp.Body.Close()
	}()
	for range 100 {
		runtime.GC()
		select {
		case <-gone:
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
	t.Error("the body is still there")
}

// An endpoint may have a name in another script: DNS, TLS and HTTP use its other
// form.
func TestInternationalNames(t *testing.T) {
	s := serve(t, newSim())
	c := newClient(t, "https://b\u00fccher.example", func(c *Config) { c.CAFile = s.caFile })
	_, err := c.Token(t.Context(), labTokenRequest)
	if e := failure(t, err); !strings.Contains(e.Detail, "xn--bcher-kva.example") {
		t.Error(e)
	}
}
