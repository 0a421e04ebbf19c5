package main

import (
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// askEverything makes calls, requests and commands of all kinds, and writes to said
// what they answer.
func (l *apiLab) askEverything(said *strings.Builder) {
	l.t.Helper()
	for _, path := range []string{"configuration", "refused", "configuration"} { // a call, a refresh, a call
		r := l.call("GET", "REF30/"+path, "", "Prefer", "wait=60")
		r.expect(l.t, 200, "received-status=200")
		_ = r.Header.Write(said)
		io.WriteString(said, r.body)
	}
	for _, path := range []string{
		"/v1/token", "/v1/headers", "/v1/apps/ref30/token", "/v1/apps/ref30/headers", "/v1/token?wait=0s&min_ttl=1h",
	} {
		r := l.curl(path, "-i")
		r.expect(l.t, 403, `"code":"forbidden"`)
		io.WriteString(said, r.stdout)
	}
	for _, path := range []string{"/v1/status", "/v1/healthz", "/v1/metrics", "/v1/device", "/v1/config"} {
		r := l.curl(path, "-i")
		r.expect(l.t, 200)
		io.WriteString(said, r.stdout)
	}
	for _, args := range [][]string{
		{"token"}, {"headers"}, {"status"}, {"status", "--json"}, {"doctor"}, {"doctor", "--json"}, {"config", "check"},
		{"bundle", "--output", l.path("bundle.tar.gz")},
	} {
		r := l.run(args...)
		io.WriteString(said, r.stdout+r.stderr)
	}
	for name, content := range l.unpack(l.path("bundle.tar.gz")) {
		io.WriteString(said, name+"\n"+content)
	}
}

// The token of an app with hand_out_token = false is in no answer, log or
// output of a whole run.
func TestGatewayKeepsTheToken(t *testing.T) {
	l := newAPILab(t, nil)
	l.answers(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/refused") && r.Header.Get("Authorization") == "Bearer "+l.issued()[0] {
			refuse(w, codeToken)
			return
		}
		fine(w, r)
	})
	l.addApp("ref30", "hand_out_token = false")
	l.up()
	said := new(strings.Builder)
	watch := l.start("curl", "-sSN", "-i", "--unix-socket", l.path("sock"), "http://tvpassd/v1/apps/ref30/watch")
	t.Cleanup(watch.kill)
	l.askEverything(said)
	l.until("events", func() bool { return strings.Count(watch.stderr.String(), "event: state") > 0 })
	watch.kill()
	l.daemon.stop()
	io.WriteString(said, watch.stderr.String()+l.daemon.stderr.String()+l.read("runtime/gate"))

	tokens := l.issued()
	if len(tokens) != 2 {
		t.Fatalf("%d tokens were issued, want 2", len(tokens))
	}
	if !strings.Contains(said.String(), "event: state") || strings.Contains(said.String(), "event: token") {
		t.Errorf("the watch sent\n%s", watch.stderr)
	}
	for _, token := range tokens {
		for _, secret := range append(strings.Split(token, "."), token[:40], token[len(token)-40:]) {
			if strings.Contains(said.String(), secret) {
				t.Errorf("%q of a token was said", secret)
			}
		}
	}
	if !strings.Contains(said.String(), `{"fine":true}`) {
		t.Error("no answer of the server was looked at")
	}
}

// A reload withholds a token, and hands it out again.
func TestGatewayWithholdsByReload(t *testing.T) {
	l := newAPILab(t, nil)
	l.up()
	l.token()
	for _, withheld := range []bool{true, false} {
		more, status := "", 200
		if withheld {
			more, status = "hand_out_token = false", 403
		}
		l.addApp("ref30", more)
		l.run("reload").expect(t, 0)
		l.curl("/v1/token").expect(t, status)
		l.curl("/v1/headers").expect(t, status)
	}
}

// A caller who may not use an app can't find out through the gateway whether it
// exists.
func TestGatewayHidesApps(t *testing.T) {
	needRoot(t)
	l := newAPILab(t, nil)
	l.addApp("ref30", "allow_users = [61001]")
	l.addApp("withheld", "allow_users = [61001]\nhand_out_token = false")
	l.up()
	l.token()
	l.forget()
	trace := regexp.MustCompile(`(?m)^Date: .*$`)
	ask := func(app, path string, more ...string) string {
		r := l.curlAs(stranger, "/v1/apps/"+app+"/api/v2/"+path, append([]string{"-i", "--path-as-is"}, more...)...)
		return trace.ReplaceAllString(r.stdout, "")
	}
	const denied = "Proxy-Status: tvpassd; error=http_request_denied"
	for _, path := range []string{
		"REF30/configuration", "", "..", "authenticate", "a?b;c", "%2e", strings.Repeat("a", 200),
	} {
		for _, more := range [][]string{
			nil, {"-d", "x"}, {"-X", "PUT"}, {"-I"}, {"-X", "OPTIONS"}, {"-H", "AP-X: 1", "-H", "AP-X: 2"},
			{"-H", "Prefer: wait=0"}, {"-H", "Content-Length: 262145", "-X", "POST"},
		} {
			want := ask("nobody", path, more...)
			if !strings.Contains(want, "403 Forbidden") || !strings.Contains(want, denied) {
				t.Errorf("%q %q: a stranger gets %s", path, more, want)
			}
			for _, app := range []string{"ref30", "withheld", "REF30", "."} {
				if got := ask(app, path, more...); got != want {
					t.Errorf("%q %q: of %s a stranger gets\n%s\nand of an app that is not there\n%s",
						path, more, app, got, want)
				}
			}
		}
	}
	if seen := l.calls(); len(seen) > 0 {
		t.Errorf("the server got %v", seen)
	}
	r := l.curlAs(stranger, "/v1/api/v2/REF30/configuration", "-i")
	r.expect(t, 409, "error=http_request_denied", `"code":"ambiguous_app"`)
	l.curl("/v1/apps/nobody/api/v2/x", "-i").expect(t, 404, "error=http_request_denied", `"code":"unknown_app"`)
	for _, path := range []string{"/v1/metrics", "/v1/status"} {
		if got := l.curlAs(stranger, path).stdout; strings.Contains(got, "ref30") || strings.Contains(got, "withheld") {
			t.Errorf("%s names an app: %s", path, got)
		}
	}
}

// If a reload takes away the right of a caller who waits, the call does not
// leave.
func TestGatewayRightsAreLookedAtAgain(t *testing.T) {
	needRoot(t)
	l := newAPILab(t, throttle(1, "30"))
	l.addApp("ref30", "allow_users = [61001]")
	l.up()
	l.token()
	w := l.startAs(player, "curl", "-sSi", "-H", "Prefer: wait=60", "--unix-socket", l.path("sock"),
		"http://tvpassd/v1/apps/ref30/api/v2/REF30/profiles")
	t.Cleanup(w.kill)
	l.until("a call that waits, or is done", func() bool {
		return l.status().Throttle.Waiting == 1 || len(l.calls()) > 1
	})
	if len(l.calls()) > 1 {
		return // this machine is too busy to be in time
	}
	l.addApp("ref30", "allow_users = [61002]")
	l.run("reload").expect(t, 0)
	waits := len(l.calls()) == 1
	w.exit()
	if got := w.stderr.String(); waits && (len(l.calls()) > 1 || !strings.Contains(got, "403 Forbidden") ||
		!strings.Contains(got, "Proxy-Status: tvpassd; error=http_request_denied")) {
		t.Errorf("%d calls left, and the caller got %s", len(l.calls()), got)
	}
}

// The bodies of waiting calls count: above 1 MiB a user gets 429.
func TestGatewayBodiesAreLimited(t *testing.T) {
	gone := make(chan struct{})
	l := newAPILab(t, func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-gone:
			fine(w, r)
		case <-r.Context().Done():
		}
	})
	l.up()
	l.token()
	body := strings.Repeat("x", 256<<10)
	var calls sync.WaitGroup
	for range 4 {
		calls.Go(func() {
			r, err := l.try(t.Context(), "POST", "/v1/api/v2/REF30/sessions", body)
			if err != nil || r.StatusCode != 200 {
				t.Errorf("%v, %v", r.StatusCode, err)
			}
		})
	}
	l.until("four calls", func() bool { return len(l.calls()) == 4 })
	p := l.call("POST", "REF30/sessions", body).fails(t, 429, "too_many_requests", "http_request_error", false)
	if p.RetryAfterMS == 0 {
		t.Errorf("%+v", p)
	}
	close(gone)
	calls.Wait()
	l.call("POST", "REF30/sessions", body, "Prefer", "wait=60").expect(t, 200, "received-status=200")
}
