package gateway_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tvpassd/tvpassd/daemon/gateway"
	"github.com/tvpassd/tvpassd/ipc"
)

const (
	unauthorized  = "HTTP/1.1 401 Unauthorized\r\n"
	cutPage       = unauthorized + "Content-Length: 50\r\n\r\nhello"
	otherProvider = unauthorized + "Content-Length: 39\r\n\r\n" + `{"invalid_access_token_service_provider`
)

// longPage is a 401 of which the gateway reads only the beginning.
var longPage = unauthorized + "Content-Length: 20000\r\n\r\n" + strings.Repeat("x", 20000)

// inTurn answers one call after the other, each over a connection of its own, and
// the last one again and again.
func inTurn(answers ...string) func(*tls.Conn) {
	var mu sync.Mutex
	return func(c *tls.Conn) {
		mu.Lock()
		answer := answers[0]
		answers = answers[min(1, len(answers)-1):]
		mu.Unlock()
		write(strings.Replace(answer, "\r\n", "\r\nConnection: close\r\n", 1))(c)
	}
}

// However a call ends, the connection that the next one keeps can be dropped.
func TestConnectionsCanBeDropped(t *testing.T) {
	r := newRig(t)
	for _, tc := range []struct {
		name    string
		answers []string
	}{
		{"a redirect", []string{"HTTP/1.1 302 Found\r\nLocation: /\r\n" + hello}},
		{"a 500", []string{"HTTP/1.1 500 Odd\r\n" + hello}},
		{"a 401", []string{unauthorized + hello}},
		{"a long 401", []string{longPage}},
		{"another token after a long 401", []string{longPage, fine + hello}},
		{"another token", []string{unauthorized + hello, fine + hello}},
		{"a 429", []string{"HTTP/1.1 429 Odd\r\n" + hello, fine + hello}},
		{"a cut body", []string{fine + "Content-Length: 50\r\n\r\nhello"}},
		{"no answer", []string{""}},
		{"no HTTP", []string{"hello"}},
	} {
		r.answers(inTurn(tc.answers...))
		r.get(t)
		r.answers(nil)
		r.take()
		for range 2 {
			r.get(t)
			r.client.Forget()
		}
		if seen := r.take(); len(seen) != 2 || seen[0].RemoteAddr == seen[1].RemoteAddr {
			t.Fatalf("after %s two calls come over one connection: it is kept for ever", tc.name)
		}
	}
}

// A 401 has the token replaced, but at most once for each call. A refusal for the
// provider counts only if the server has never taken the token.
func TestRefusedTokens(t *testing.T) {
	for _, tc := range []struct {
		name           string
		taken          bool // the token, before
		answers        []string
		status         int
		calls, reports int
	}{
		{"once", false, []string{unauthorized + hello, fine + hello}, 200, 2, 1},
		{"again", false, []string{unauthorized + hello, unauthorized + hello, fine + hello}, 401, 2, 1},
		{"other provider", true, []string{otherProvider}, 401, 1, 0},
		{"other provider of a token that was never taken", false, []string{otherProvider}, 401, 2, 1},
		{"with a long page", false, []string{longPage, fine + hello}, 200, 2, 1},
		{"with a page that is cut", false, []string{cutPage, fine + hello}, 200, 2, 1},
		{"again with a long page", false, []string{longPage}, 401, 2, 1},
		{"another code of a token that was taken", true, []string{unauthorized + hello, fine + hello}, 200, 2, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t)
			if tc.taken {
				r.get(t)
				r.take()
			}
			r.answers(inTurn(tc.answers...))
			resp, _, _ := r.get(t)
			calls := len(r.take())
			r.tokens.mu.Lock()
			defer r.tokens.mu.Unlock()
			if resp.StatusCode != tc.status || calls != tc.calls || r.tokens.reports != tc.reports {
				t.Errorf("%s after %d calls and %d reports, want %d, %d and %d",
					resp.Status, calls, r.tokens.reports, tc.status, tc.calls, tc.reports)
			}
		})
	}
}

// What a call has waited for its first token is gone when it waits for another.
func TestWaitsAddUp(t *testing.T) {
	r := newRig(t)
	r.answers(inTurn(unauthorized+hello, fine+hello))
	r.get(t)
	r.tokens.mu.Lock()
	defer r.tokens.mu.Unlock()
	// The rig's clock goes on by a minute at each look.
	for i, wait := range r.tokens.waits {
		if first := i == 0; first && wait != ipc.DefaultWait || !first && wait != 0 {
			t.Errorf("the waits for a token are %v", r.tokens.waits)
			break
		}
	}
}

// A call leaves with the newest token, although it has waited with an older one.
func TestTheNewestTokenLeaves(t *testing.T) {
	r := newRig(t)
	r.tokens.asked = func() { r.tokens.reports = min(len(r.tokens.waits)-1, 1) }
	r.get(t)
	seen := r.take()
	if len(seen) != 1 {
		t.Fatalf("%d calls left", len(seen))
	}
	if got := seen[0].Header.Get("Authorization"); got != "Bearer t0ken+" {
		t.Errorf("it left with %q", got)
	}
}

// A reload may come while a call waits for a token. The call does not leave for
// an endpoint whose token it does not have, nor through a gateway that is gone.
func TestReloadsDuringAWait(t *testing.T) {
	for _, tc := range []struct {
		name   string
		reload func(*rig, *gateway.Settings)
		status int
		code   string
		proxy  string
	}{
		{"under way", func(r *rig, _ *gateway.Settings) { r.gateway.Pause() },
			503, ipc.CodeNotReady, "proxy_internal_error"},
		{"other endpoint", func(r *rig, s *gateway.Settings) { s.Endpoint += "0"; r.gateway.Adopt(s) },
			503, ipc.CodeNotReady, "proxy_internal_error"},
		{"disabled", func(r *rig, s *gateway.Settings) { s.Enabled = false; r.gateway.Adopt(s) },
			404, ipc.CodeNotFound, "http_request_error"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t)
			r.tokens.asked = func() { tc.reload(r, r.settings()) }
			resp, body, _ := r.get(t)
			var p ipc.Problem
			if err := json.Unmarshal([]byte(body), &p); err != nil {
				t.Fatal(err)
			}
			retry := tc.code == ipc.CodeNotReady
			if resp.StatusCode != tc.status || p.Code != tc.code || p.Sent == nil || *p.Sent ||
				(p.RetryAfterMS > 0) != retry || resp.Header.Get("Proxy-Status") != "tvpassd; error="+tc.proxy {
				t.Errorf("%s %v %s", resp.Status, resp.Header, body)
			}
			if seen := r.take(); len(seen) > 0 {
				t.Errorf("%d calls have left", len(seen))
			}
		})
	}
}

// Calls that a reload turns away take no token of the throttle from others.
func TestReloadsCostNoTurn(t *testing.T) {
	r := newRig(t)
	r.get(t)
	r.mu.Lock()
	r.still = true
	r.mu.Unlock()
	r.tokens.asked = r.gateway.Pause
	for i := range 30 {
		r.gateway.Adopt(r.settings())
		answer := r.send(t, []byte("GET /v1/api/v2/x HTTP/1.1\r\nHost: x\r\nPrefer: wait=0\r\nConnection: close\r\n\r\n"))
		if !strings.Contains(answer, ipc.CodeNotReady) {
			t.Fatalf("call %d: %s", i, answer)
		}
	}
}

// A player reads each part of an answer when it has come.
func TestAnswersAreStreamed(t *testing.T) {
	for name, header := range map[string]string{
		"chunked": "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "with a length": "Content-Length: 6\r\n\r\nhello",
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			read := make(chan struct{})
			r.answers(func(c *tls.Conn) {
				write(fine + header)(c)
				<-read
			})
			defer close(read)
			player := http.Client{Timeout: time.Minute, Transport: &http.Transport{
				DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
					return new(net.Dialer).DialContext(ctx, "unix", r.socket)
				},
				DisableKeepAlives: true,
			}}
			resp, err := player.Get("http://tvpassd/v1/api/v2/x")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			part := make([]byte, len("hello"))
			if _, err := io.ReadFull(resp.Body, part); err != nil || string(part) != "hello" {
				t.Errorf("%q, %v", part, err)
			}
		})
	}
}
