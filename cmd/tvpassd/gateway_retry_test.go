package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	codeToken    = "invalid_access_token_client_application"
	codeProvider = "invalid_access_token_service_provider"
)

// refuse answers with 401 and a code.
func refuse(w http.ResponseWriter, code string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusUnauthorized)
	fmt.Fprintf(w, `{"action":"application-registration","status":401,"code":%q}`, code)
}

// paths returns the paths of all requests that came, in order.
func (l *apiLab) paths() []string {
	var paths []string
	for _, c := range l.requests() {
		paths = append(paths, c.uri)
	}
	return paths
}

// A 401 is answered with another token, which the player does not notice.
func TestGatewayRenewsTheToken(t *testing.T) {
	l := newAPILab(t, nil)
	l.answers(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Bearer "+l.issued()[0] {
			refuse(w, codeToken)
			return
		}
		fine(w, r)
	})
	l.up()
	l.token()
	l.forget()
	r := l.call("POST", "REF30/sessions", "domainName=x", "Prefer", "wait=60")
	r.expect(t, 200, "received-status=200")
	want := []string{"/api/v2/REF30/sessions", "/o/client/token", "/api/v2/REF30/sessions"}
	if got := l.paths(); !slices.Equal(got, want) {
		t.Errorf("the server got %v, want %v", got, want)
	}
	for _, c := range l.calls() {
		if c.body != "domainName=x" {
			t.Errorf("a body is %q", c.body)
		}
	}
	if got := l.issued(); len(got) != 2 || l.calls()[1].header.Get("Authorization") != "Bearer "+got[1] {
		t.Errorf("%d tokens were issued, and the second call had %v", len(got), l.calls()[1].header)
	}
	if n := l.sum(`tvpassd_gateway_retries_total{app="ref30",reason="401"}`); n != 1 {
		t.Errorf("%v repeated calls were counted", n)
	}
}

// Calls that are refused together wait for one refresh.
func TestGatewayRenewsOnceForAll(t *testing.T) {
	const together = 4
	l := newAPILab(t, nil)
	var came sync.WaitGroup
	came.Add(together)
	l.answers(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Bearer "+l.issued()[0] {
			came.Done()
			came.Wait()
			refuse(w, codeToken)
			return
		}
		fine(w, r)
	})
	l.up()
	l.token()
	var calls sync.WaitGroup
	for range together {
		calls.Go(func() {
			r, err := l.try(t.Context(), "GET", "/v1/api/v2/REF30/profiles", "", "Prefer", "wait=60")
			if err != nil || r.StatusCode != 200 {
				t.Errorf("%v, %v", r, err)
			}
		})
	}
	calls.Wait()
	if n := len(l.issued()); n != 2 {
		t.Errorf("%d tokens were issued, want 2", n)
	}
}

// A token that is always refused costs one refresh in 5 minutes, and the player
// gets the server's own 401.
func TestGatewayRefusedForEver(t *testing.T) {
	l := newAPILab(t, func(w http.ResponseWriter, _ *http.Request) { refuse(w, codeToken) })
	l.up()
	l.token()
	for range 3 {
		r := l.call("GET", "REF30/profiles", "", "Prefer", "wait=60")
		r.expect(t, 401, "received-status=401")
		if !strings.Contains(r.body, codeToken) || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%v %q is not the server's answer", r.Header, r.body)
		}
	}
	if n := len(l.issued()); n != 2 {
		t.Errorf("%d tokens were issued, want 2", n)
	}
	if n := len(l.calls()); n != 4 {
		t.Errorf("%d calls left, want 4", n)
	}
}

// A refusal for the wrong service provider does not refresh a token that others take.
func TestGatewayWrongProvider(t *testing.T) {
	for name, encode := range map[string]func(http.ResponseWriter){
		"plain": func(w http.ResponseWriter) { refuse(w, codeProvider) },
		"gzip": func(w http.ResponseWriter) {
			var zipped bytes.Buffer
			z := gzip.NewWriter(&zipped)
			fmt.Fprintf(z, `{"code":%q,"status":401}`, codeProvider)
			_ = z.Close()
			w.Header().Set("Content-Encoding", "gzip")
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write(zipped.Bytes())
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newAPILab(t, func(w http.ResponseWriter, r *http.Request) {
				if strings.Contains(r.URL.Path, "/OTHER/") {
					encode(w)
					return
				}
				fine(w, r)
			})
			l.up()
			l.call("GET", "REF30/profiles", "").expect(t, 200, "received-status=200")
			l.call("GET", "OTHER/profiles", "").expect(t, 401, "received-status=401")
			if n := len(l.issued()); n != 1 {
				t.Errorf("%d tokens were issued, want 1", n)
			}
		})
	}
}

// throttle answers with 429 so many times, as the server's throttle does.
func throttle(times int, retryAfter string) http.HandlerFunc {
	var mu sync.Mutex
	return func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if times--; times < 0 {
			fine(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Set-Cookie", "AWSALB=x")
		if retryAfter != "" {
			w.Header().Set("Retry-After", retryAfter)
		}
		w.WriteHeader(http.StatusTooManyRequests)
		io.WriteString(w, "<html>429</html>")
	}
}

// After a 429 nothing leaves for at least a second, for any app, and the player
// sees the answer that follows.
func TestGatewayAfter429(t *testing.T) {
	for _, retryAfter := range []string{"", "8"} {
		t.Run("Retry-After "+retryAfter, func(t *testing.T) {
			l := newAPILab(t, throttle(1, retryAfter))
			l.addApp("other", "")
			l.up()
			l.token()
			l.tokenOf(nil, "other")
			l.forget()
			done := make(chan reply, 1)
			go func() {
				r, err := l.try(t.Context(), "POST", "/v1/apps/ref30/api/v2/REF30/sessions", "a=b", "Prefer", "wait=60")
				if err != nil {
					t.Error(err)
				}
				done <- r
			}()
			// The gate may be closed to the daemon's own calls before.
			l.until("the call that was refused to wait again", func() bool {
				n := len(l.calls())
				return n > 1 || n == 1 && l.status().Throttle.Waiting > 0
			})
			for range 2 {
				r, err := l.try(t.Context(), "GET", "/v1/apps/other/api/v2/OTHER/profiles", "", "Prefer", "wait=60")
				l.must(err)
				r.expect(t, 200, "received-status=200")
			}
			l.run("refresh", "--app", "other").expect(t, 0)
			(<-done).expect(t, 200, "received-status=200")
			shut := time.Second
			if retryAfter != "" {
				shut = 8 * time.Second
			}
			seen := l.requests()
			if seen[0].status != 429 || seen[0].uri != "/api/v2/REF30/sessions" {
				t.Fatalf("the first request was %+v", seen[0])
			}
			for i, next := range seen[1:] {
				if gap := next.at.Sub(seen[0].at); gap < shut {
					t.Errorf("request %d (%s) came %v after the 429", i+1, next.uri, gap)
				}
			}
			if n := l.sum(`tvpassd_gateway_retries_total{app="ref30",reason="429"}`); n != 1 {
				t.Errorf("%v repeated calls were counted", n)
			}
		})
	}
}

// A call that can't wait as long as the server asks fails at once, and says
// that repeating it is safe.
func TestGatewayThrottledAtOnce(t *testing.T) {
	l := newAPILab(t, throttle(1000, "3000"))
	l.up()
	l.token()
	p := l.call("GET", "REF30/profiles", "", "Prefer", "wait=60").
		fails(t, 503, "throttled", "connection_limit_reached", false)
	if p.RetryAfterMS < 2_900_000 || p.RetryAfterMS > 3_001_000 {
		t.Errorf("retry_after_ms is %d", p.RetryAfterMS)
	}
	l.call("GET", "REF30/profiles", "").fails(t, 503, "throttled", "connection_limit_reached", false)
	if n := len(l.calls()); n != 1 {
		t.Errorf("%d calls left", n)
	}
}

// A call waits as long as Prefer says. With no wait it is served if it may
// leave at once.
func TestGatewayPrefer(t *testing.T) {
	l := newAPILab(t, nil)
	l.up()
	l.token()
	l.call("GET", "REF30/profiles", "", "Prefer", "wait=0").expect(t, 200, "received-status=200")
	l.until("an empty bucket", func() bool {
		r := l.call("GET", "REF30/profiles", "", "Prefer", "respond-async, wait=0; x")
		if r.StatusCode == 200 {
			return false
		}
		r.fails(t, 503, "throttled", "connection_limit_reached", false)
		return true
	})
	l.call("GET", "REF30/profiles", "", "Prefer", "wait=tomorrow", "Prefer", "wait=60, wait=0").
		expect(t, 200, "received-status=200")
}

// The daemon never repeats a call whose answer was lost: the server has acted.
func TestGatewayLostAnswers(t *testing.T) {
	for _, tc := range []struct{ method, path, body string }{
		{"GET", "REF30/logout/SimTV_01?redirectUrl=x", ""},
		{"GET", "REF30/logout/SimTV_01", "a body"},
		{"POST", "REF30/sessions", "domainName=x"},
		{"POST", "REF30/sessions", ""},
		{"POST", "REF30/decisions/authorize/SimTV_01", `{"resources":["x"]}`},
	} {
		t.Run(tc.method+" "+tc.path, func(t *testing.T) {
			l := newAPILab(t, func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "/configuration") {
					fine(w, r)
					return
				}
				panic(http.ErrAbortHandler)
			})
			l.up()
			ordinary := func() { l.call("GET", "REF30/configuration", "").expect(t, 200, "received-status=200") }
			ordinary() // its connection is kept
			l.call(tc.method, tc.path, tc.body).fails(t, 503, "server_error", "http_response_incomplete", true)
			ordinary() // what the daemon repeats has arrived by now
			calls := l.calls()
			if len(calls) != 3 || !calls[1].follows(calls[0]) {
				t.Errorf("%d calls left, want 3, the lost one over a kept connection", len(calls))
			}
		})
	}
}

// A caller who leaves while waiting frees its place and takes no token.
func TestGatewayLeavesTheQueue(t *testing.T) {
	l := newAPILab(t, throttle(1, "5"))
	l.up()
	l.token()
	ctx, leave := context.WithCancel(t.Context())
	var calls sync.WaitGroup
	for i := range 5 { // the first one finds out that the throttle is shut
		calls.Go(func() {
			_, _ = l.try(ctx, "GET", fmt.Sprintf("/v1/api/v2/LEFT/profiles/%d", i), "", "Prefer", "wait=60")
		})
		l.until("the first call", func() bool { return len(l.calls()) > 0 })
	}
	l.until("calls that wait, or are done", func() bool {
		st := l.status()
		return st.Throttle.Waiting == 5 && st.Apps[0].Gateway.Waiting == 5 || len(l.calls()) > 5
	})
	leave()
	calls.Wait()
	l.until("an empty queue", func() bool { return l.status().Throttle.Waiting == 0 })
	before := len(l.calls())
	l.call("GET", "REF30/profiles", "", "Prefer", "wait=60").expect(t, 200, "received-status=200")
	if n := len(l.calls()); before == 1 && n != 2 {
		t.Errorf("%d calls left, want 2", n)
	}
	left := l.sum(`tvpassd_gateway_requests_total{app="ref30",operation="profiles",result="left"}`)
	if before == 1 && left != 5 {
		t.Errorf("%v calls were counted as left, want 5", left)
	}
}

// When a caller leaves in flight, the connection to the server is closed.
func TestGatewayLeavesInFlight(t *testing.T) {
	gone := make(chan struct{}, 2)
	l := newAPILab(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/body") {
			w.WriteHeader(200)
			_ = http.NewResponseController(w).Flush()
		}
		<-r.Context().Done()
		gone <- struct{}{}
	})
	l.up()
	l.token()
	for _, path := range []string{"header", "body"} {
		l.forget()
		c, _ := l.raw("GET /v1/api/v2/REF30/" + path + " HTTP/1.1\r\nHost: x\r\n\r\n")
		l.until("the call", func() bool { return len(l.calls()) == 1 })
		l.until("the call in status", func() bool { return l.status().Apps[0].Gateway.InFlight == 1 })
		l.must(c.Close())
		select {
		case <-gone:
		case <-time.After(patience):
			t.Fatalf("%s: the server still waits for a caller who has left", path)
		}
		l.until("nothing in flight", func() bool { return l.status().Apps[0].Gateway.InFlight == 0 })
	}
}
