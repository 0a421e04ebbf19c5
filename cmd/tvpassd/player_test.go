package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The main job: a token by curl, a protected call that the server takes, and
// one registration however often the device starts.
func TestAPlayerGetsATokenItCanUse(t *testing.T) {
	l := newLab(t)
	d := l.up()
	first := l.token()
	l.expectCalls(1, 1)

	l.expectTokenObject()
	l.expectOwnCalls()

	// The three headers are good for a protected call.
	headers := l.run("headers")
	headers.expect(t, 0, "Authorization: Bearer "+first, "AP-Device-Identifier: fingerprint ", "X-Device-Info: ")
	l.write("h", headers.stdout)
	l.exec(nil, "", "curl", "-sS", "--fail-with-body", "--cacert", l.path("ca.pem"), "-H", "@"+l.path("h"),
		l.endpoint+"/api/v2/demo/configuration").expect(t, 0, "demo")
	if got := l.requests("/configuration")[0].DeviceInfo["applicationId"]; got != "REF30" {
		t.Errorf("the player's applicationId is %v", got)
	}
	l.run("token").expect(t, 0, first+"\n")
	l.run("token", "--app", "ref30").expect(t, 0, first+"\n")

	// A restart, a kill: the same token, and nothing is asked for again.
	d.stop()
	if l.exists("sock") {
		t.Error("the socket is left behind")
	}
	d = l.up()
	if got := l.token(); got != first {
		t.Errorf("another token after a restart")
	}
	d.kill()
	l.up()
	if got := l.token(); got != first {
		t.Errorf("another token after a kill")
	}
	l.expectCalls(1, 1)
}

// expectTokenObject expects ref30's token as it is documented.
func (l *lab) expectTokenObject() {
	l.t.Helper()
	var tok struct {
		App       string    `json:"app"`
		Type      string    `json:"token_type"`
		ID        string    `json:"id"`
		IssuedAt  time.Time `json:"issued_at"`
		ExpiresAt time.Time `json:"expires_at"`
		ExpiresIn int       `json:"expires_in"`
	}
	r := l.curl("/v1/token", "-D", l.path("headers"))
	l.must(json.Unmarshal([]byte(r.stdout), &tok))
	life := tok.ExpiresAt.Sub(tok.IssuedAt)
	if tok.App != "ref30" || tok.Type != "bearer" || tok.ID == "" || life != 6*time.Hour || tok.ExpiresIn < 21500 ||
		tok.ExpiresIn > 21600 {
		l.t.Errorf("the token object is %s", r.stdout)
	}
	if headers := l.read("headers"); !strings.Contains(headers, "Cache-Control: no-store") ||
		!strings.Contains(headers, "Content-Type: application/json") {
		l.t.Errorf("the headers are %s", headers)
	}
}

// expectOwnCalls expects the daemon's calls to name their program and their
// device.
func (l *lab) expectOwnCalls() {
	l.t.Helper()
	for _, req := range append(l.requests("/register"), l.requests("/token")...) {
		if req.UserAgent != "tvpassd/1.2.3" {
			l.t.Errorf("User-Agent %q", req.UserAgent)
		}
		if _, told := req.DeviceInfo["connectionIp"]; told || req.DeviceInfo["osName"] != "Linux" {
			l.t.Errorf("device info %v", req.DeviceInfo)
		}
	}
}

// Two hundred players at once need one registration and one token.
func TestAStormOfPlayersIsOneCall(t *testing.T) {
	l := newLab(t)
	l.up()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", l.path("sock"))
		}}}
	var wg sync.WaitGroup
	tokens := make([]string, 200)
	for i := range tokens {
		wg.Go(func() {
			resp, err := client.Get("http://tvpassd/v1/token?wait=60s")
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			var tok struct {
				AccessToken string `json:"access_token"`
			}
			if err := json.NewDecoder(resp.Body).Decode(&tok); err != nil || resp.StatusCode != 200 {
				t.Errorf("%d, %v", resp.StatusCode, err)
			}
			tokens[i] = tok.AccessToken
		})
	}
	wg.Wait()
	for _, tok := range tokens {
		if tok == "" || tok != tokens[0] {
			t.Fatalf("not one token for all: %q and %q", tok, tokens[0])
		}
	}
	l.expectCalls(1, 1)
}

// While a refresh fails the old token is served, and no longer than it lives.
func TestATokenIsServedToItsEndAndNoLonger(t *testing.T) {
	l := newLab(t, "-token-life", "48s")
	l.up()
	first := l.token()
	l.order("POST", "/fault", `{"kind":"status","status":503}`)
	l.run("refresh", "--app", "ref30").expect(t, 0)
	stale := false
	l.daemon.until("end of the token", func() bool {
		r := l.curl("/v1/token?wait=0s")
		if r.code != 200 {
			r.expect(t, 503, `"code":"server_error"`, `"retry_after_ms":`)
			return true
		}
		if got := field(t, r.stdout, "access_token"); got != first {
			t.Fatal("another token, though the server issues none")
		}
		stale = stale || strings.Contains(l.run("status").stdout, "stale, token good")
		return false
	})
	// The simulator is the judge: what was served until now was good until
	// then.
	if !stale {
		t.Error("status never said that the token can't be renewed")
	}
	l.run("status").expect(t, 2, "NO TOKEN, waiting: server_error")
	if _, answer := l.sim("GET", "/counts", ""); !strings.Contains(answer, `"throttled":0`) {
		t.Errorf("the retries were throttled: %s", answer)
	}
	l.order("DELETE", "/fault", "")
	l.order("POST", "/token-life", `{"life":"1h"}`)
	l.run("refresh", "--app", "ref30").expect(t, 0) // the next retry may be a minute away
	if l.token() == first {
		t.Error("the dead token is served again")
	}
	before := l.run("status")
	before.expect(t, 0, "\nrecent transitions of ref30:\n", "stale        server_error", "waiting      server_error")
	l.daemon.stop()
	l.up()
	l.token()
	_, transitions, _ := strings.Cut(before.stdout, "\nrecent transitions")
	if after := l.run("status"); !strings.Contains(after.stdout, transitions) {
		t.Errorf("a restart lost transitions\n%s", after.stdout)
	}
}

// After a 429 no call leaves for as long as it says, for any app, and then one
// a second.
func TestA429ShutsTheGateForEveryApp(t *testing.T) {
	l := newLab(t)
	l.addApp("other", "")
	l.up()
	l.token()
	l.tokenOf(nil, "other")
	l.order("DELETE", "/requests", "")
	l.order("POST", "/fault", `{"kind":"429","count":1,"retry_after":"3"}`)
	l.run("refresh", "--app", "ref30").expect(t, 0)
	l.daemon.until("429", func() bool { return strings.Contains(l.curl("/v1/metrics").stdout, `outcome="throttled"} 1`) })
	l.run("refresh", "--app", "other").expect(t, 0)
	l.daemon.until("refreshes of both", func() bool { return len(l.requests("/token")) >= 3 })
	all := l.requests("")
	if all[0].Status != 429 {
		t.Fatalf("the first answer was %d", all[0].Status)
	}
	// A request may arrive late, but never early.
	for i, r := range all[1:] {
		if gap, least := r.At.Sub(all[0].At), time.Duration(3+i)*time.Second; gap < least {
			t.Errorf("request %d after the 429 came after %v, want %v at least", i+1, gap, least)
		}
	}
}

// The server forgets the device. Without a token it must refuse twice, and once
// more right before the one new registration, which status and log show.
func TestForgottenByTheServer(t *testing.T) {
	l := newLab(t)
	l.order("POST", "/token-life", `{"life":"2s"}`)
	l.up()
	first := l.token()
	l.order("POST", "/revoke", `{}`)
	l.order("POST", "/token-life", `{"life":"1h"}`)
	l.daemon.until("new registration", func() bool { return len(l.requests("/register")) == 2 })
	var refused []request
	for _, r := range l.requests("/token") {
		if r.Status == 400 {
			refused = append(refused, r)
		}
	}
	if len(refused) < 3 || refused[1].At.Sub(refused[0].At) < 5*time.Second {
		t.Errorf("the refusals before it: %v", refused)
	}
	l.daemon.until("new token", func() bool { return l.token() != first })
	if !strings.Contains(l.daemon.stderr.String(), "level=ERROR") {
		t.Errorf("the log says nothing\n%s", l.daemon.stderr)
	}
	l.run("status").expect(t, 1, "2 times in all", "warning credentials_replaced")

	// Not again while there is a token: it is asked for minutes later.
	before := len(l.requests("/token"))
	l.order("POST", "/revoke", `{}`)
	l.run("refresh", "--app", "ref30").expect(t, 0)
	l.daemon.until("another refusal", func() bool { return len(l.requests("/token")) > before })
	l.daemon.until("rejection in status",
		func() bool { return strings.Contains(l.run("status").stdout, "invalid_client") })
	if n := len(l.requests("/register")); n != 2 {
		t.Errorf("%d registrations in a day", n)
	}
}

// After a statement was revoked the server is not called soon, and status says
// why in words. A new statement mends it.
func TestAStatementThatIsNotApproved(t *testing.T) {
	l := newLab(t)
	l.order("POST", "/statement", `{"approved":false}`)
	l.up()
	l.daemon.until("rejection", func() bool { return strings.Contains(l.run("status").stdout, "rejected") })
	l.curl("/v1/token?wait=0s").expect(t, 502, `"code":"rejected"`, `"server_code":"unapproved_software_statement"`)
	l.run("status").expect(t, 2, "a person must act: unapproved_software_statement",
		"rejected (unapproved_software_statement)", "TVE Dashboard")
	l.run("token").expect(t, 1, "tvpassd: rejected (unapproved_software_statement)")
	l.curl("/v1/healthz").expect(t, 503)
	l.expectCalls(1, 0)

	l.order("POST", "/statement", `{"approved":true}`)
	l.addApp("ref30", `redirect_uri = "adobepass://com.programmer"`)
	l.run("reload").expect(t, 0)
	l.token()
	l.expectCalls(2, 1)
	l.curl("/v1/healthz").expect(t, 200)
}

// A protected API refuses the token: the player says so, and gets another one,
// once in five minutes.
func TestReport(t *testing.T) {
	l := newLab(t)
	l.up()
	first := l.token()
	report := func(token string, status int) string {
		r := l.curl("/v1/apps/ref30/report", "--json", fmt.Sprintf(`{"access_token":%q,"status":%d}`, token, status))
		r.expect(t, 202)
		return field(t, r.stdout, "action")
	}
	if got := report("another", 401); got != "none" {
		t.Errorf("a report of another token: %s", got)
	}
	if got := report(first, 403); got != "none" {
		t.Errorf("a report of a 403: %s", got)
	}
	l.expectCalls(1, 1)
	if got := report(first, 401); got != "refresh" {
		t.Errorf("a report: %s", got)
	}
	second := l.token() // waits for the refresh
	if second == first {
		t.Error("the refused token is served")
	}
	if got := report(second, 401); got != "none" {
		t.Errorf("a second report in five minutes: %s", got)
	}
	l.expectCalls(1, 2)
}

// Real users ask for tokens. Nobody learns of another user's app.
func TestWhoMayDoWhat(t *testing.T) {
	needRoot(t)
	l := newLab(t)
	l.addApp("ref30", "allow_users = [61001]")
	l.addApp("hidden", "allow_groups = [61777]")
	l.up()
	l.tokenOf(player, "ref30")
	l.curlAs(player, "/v1/token").expect(t, 200)
	l.curl("/v1/token").expect(t, 409, "ambiguous_app") // root may use both

	for _, path := range []string{"/v1/apps/hidden/token", "/v1/apps/no-such-app/token", "/v1/apps/hidden/report",
		"/v1/apps/hidden/watch", "/v1/apps/hidden/refresh"} {
		known := l.curlAs(player, path)
		unknown := l.curlAs(player, strings.Replace(path, "hidden", "no-such-app", 1))
		known.expect(t, 403, `"forbidden"`)
		if known.stdout != unknown.stdout {
			t.Errorf("%s tells an app from none:\n%s\n%s", path, known.stdout, unknown.stdout)
		}
	}
	for _, path := range []string{"/v1/status", "/v1/metrics", "/v1/healthz", "/v1/device"} {
		if r := l.curlAs(player, path); strings.Contains(r.stdout, "hidden") {
			t.Errorf("%s tells of an app\n%s", path, r.stdout)
		}
		if r := l.curlAs(stranger, path); strings.Contains(r.stdout, "ref30") || strings.Contains(r.stdout, "fingerprint") {
			t.Errorf("%s tells a stranger\n%s", path, r.stdout)
		}
	}
	l.curlAs(player, "/v1/reload", "-X", "POST").expect(t, 403, "forbidden")
	l.curl("/v1/apps/no-such-app/token").expect(t, 404, "unknown_app")

	l.must(syscall.Chmod(l.path("sock"), 0o660))
	l.exec(stranger, "", programs.tvpassd, "status", "--socket", l.path("sock")).expect(t, 4, "no permission",
		"join the group")
}
