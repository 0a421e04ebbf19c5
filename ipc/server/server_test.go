package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tvpassd/tvpassd/ipc"
)

// asked is a request, and what each of several people gets.
type asked struct {
	request, body string
	want          string // by people, each a code or a status
}

// askEverybody has root, the owner, carol, alice, bob and a stranger make requests.
func askEverybody(t *testing.T, requests []asked) {
	t.Helper()
	l := startLab(t, nil)
	l.set("one", ipc.AppStatus{App: "one"}, nil)
	l.set("two", ipc.AppStatus{App: "two"}, nil)
	people := []uint32{root, owner, carol, alice, bob, stranger}
	for _, test := range requests {
		method, path, _ := strings.Cut(test.request, " ")
		var got []string
		for _, uid := range people {
			a := l.ask(uid, method, path, test.body)
			got = append(got, a.code())
			if c := a.Header.Get("Cache-Control"); c != "no-store" {
				t.Errorf("%s: Cache-Control is %q", test.request, c)
			}
		}
		if got := strings.Join(got, " "); got != test.want {
			t.Errorf("%s:\n got %s\nwant %s", test.request, got, test.want)
		}
		l.server.refreshes.SetBurst(1000)
	}
}

// Every request by everybody, with its answer.
func TestEveryPathForEverybody(t *testing.T) {
	const report = `{"access_token":"x","status":401}`
	askEverybody(t, []asked{
		{"GET /v1/token", "", "ambiguous_app ambiguous_app ambiguous_app 200 ambiguous_app ambiguous_app"},
		{"GET /v1/headers", "", "ambiguous_app ambiguous_app ambiguous_app 200 ambiguous_app ambiguous_app"},
		{"GET /v1/apps/one/token", "", "200 200 200 200 200 forbidden"},
		{"HEAD /v1/apps/one/token", "", "200 200 200 200 200 403"},
		{"GET /v1/apps/%6fne/token", "", "200 200 200 200 200 forbidden"},
		{"GET /v1/apps/two/token", "", "200 200 200 forbidden 200 forbidden"},
		{"GET /v1/apps/none/token", "", "unknown_app unknown_app unknown_app forbidden forbidden forbidden"},
		{"GET /v1/apps//token", "", "unknown_app unknown_app unknown_app forbidden forbidden forbidden"},
		{"GET /v1/apps/one/headers", "", "200 200 200 200 200 forbidden"},
		{"GET /v1/apps/none/headers", "", "unknown_app unknown_app unknown_app forbidden forbidden forbidden"},
		{"POST /v1/apps/one/report", report, "202 202 202 202 202 forbidden"},
		{"POST /v1/apps/none/report", report, "unknown_app unknown_app unknown_app forbidden forbidden forbidden"},
		{"HEAD /v1/apps/one/watch", "", "200 200 200 200 200 403"},
		{"HEAD /v1/apps/none/watch", "", "404 404 404 403 403 403"},
		{"GET /v1/device", "", "200 200 200 200 200 200"},
		{"GET /v1/status", "", "200 200 200 200 200 200"},
		{"GET /v1/healthz", "", "200 200 200 200 200 200"},
		{"GET /v1/metrics", "", "200 200 200 200 200 200"},
		{"POST /v1/apps/one/refresh", "", "202 202 202 forbidden forbidden forbidden"},
		{"DELETE /v1/apps/one/credentials", "", "202 202 202 forbidden forbidden forbidden"},
		{"DELETE /v1/apps/none/credentials", "", "unknown_app unknown_app unknown_app forbidden forbidden forbidden"},
		{"POST /v1/apps/none/refresh", "", "unknown_app unknown_app unknown_app forbidden forbidden forbidden"},
		{"POST /v1/reload", "", "202 202 202 forbidden forbidden forbidden"},
		{"POST /v1/reload?accept=one", "", "202 202 202 forbidden forbidden forbidden"},
		{"GET /v1/config", "", "200 200 200 forbidden forbidden forbidden"},
	})
}

// A missing path is refused first, then the caller, then the method and the
// query.
func TestRefusalsForEverybody(t *testing.T) {
	askEverybody(t, []asked{
		{"GET /", "", "not_found not_found not_found not_found not_found not_found"},
		{"GET /v1/token/", "", "not_found not_found not_found not_found not_found not_found"},
		{"GET /v1/apps/one", "", "not_found not_found not_found not_found not_found not_found"},
		{"GET /v1/apps/one/nothing", "", "not_found not_found not_found not_found not_found not_found"},
		{"GET /v1/apps/one/token/x", "", "not_found not_found not_found not_found not_found not_found"},
		{"OPTIONS *", "", "not_found not_found not_found not_found not_found not_found"},
		{"POST /v1/apps/two/token", "",
			"method_not_allowed method_not_allowed method_not_allowed forbidden method_not_allowed forbidden"},
		{"GET /v1/apps/one/report?x=%zz", "",
			"method_not_allowed method_not_allowed method_not_allowed method_not_allowed method_not_allowed forbidden"},
		{"GET /v1/reload", "", "method_not_allowed method_not_allowed method_not_allowed forbidden forbidden forbidden"},
		{"GET /v1/apps/two/token?wait=5", "",
			"invalid_parameter invalid_parameter invalid_parameter forbidden invalid_parameter forbidden"},
	})
}

// Nobody learns whether another's app exists: the answers are the same to the
// byte.
func TestForbiddenIsAsUnknown(t *testing.T) {
	l := startLab(t, nil)
	for _, test := range []string{"GET token", "GET headers", "GET watch", "POST report", "POST refresh",
		"DELETE credentials", "PUT token"} {
		method, name, _ := strings.Cut(test, " ")
		c := l.dial(alice)
		known := l.askOn(c, method, "/v1/apps/two/"+name+"?wait=x", "{}")
		unknown := l.askOn(c, method, "/v1/apps/2/"+name+"?wait=x", "{}")
		known.Header.Del("Date")
		unknown.Header.Del("Date")
		if diff := cmp.Diff(known.Header, unknown.Header); known.body != unknown.body || diff != "" ||
			known.code() != ipc.CodeForbidden {
			t.Errorf("%s:\n%s%s%s", test, known.body, unknown.body, diff)
		}
	}
}

func TestMethodNotAllowedSaysWhich(t *testing.T) {
	l := startLab(t, nil)
	for path, want := range map[string]string{
		"/v1/token": "GET, HEAD", "/v1/apps/one/watch": "GET, HEAD", "/v1/apps/one/report": "POST",
		"/v1/apps/one/credentials": "DELETE", "/v1/reload": "POST",
	} {
		uid := uint32(root)
		if path == "/v1/token" {
			uid = alice
		}
		a := l.ask(uid, http.MethodPatch, path, "")
		if got := a.Header.Get("Allow"); a.StatusCode != http.StatusMethodNotAllowed || got != want {
			t.Errorf("%s: %s, Allow %q, want %q", path, a.Status, got, want)
		}
	}
}

func TestTokenObject(t *testing.T) {
	l := startLab(t, nil)
	a := l.ask(alice, "GET", "/v1/token", "")
	const want = `{"app":"one","access_token":"s3cret-t0ken","token_type":"bearer","id":"id-1",` +
		`"issued_at":"2026-03-01T11:00:00Z","expires_at":"2026-03-01T12:00:00Z","expires_in":3600}` + "\n"
	if a.body != want || a.Header.Get("Content-Type") != "application/json" || a.ContentLength != int64(len(want)) {
		t.Errorf("%v\n got %s\nwant %s", a.Header, a.body, want)
	}
	head := l.ask(alice, "HEAD", "/v1/token", "")
	if head.body != "" || head.ContentLength != a.ContentLength {
		t.Errorf("HEAD: %d bytes announced, body %q", head.ContentLength, head.body)
	}
	h := l.ask(alice, "GET", "/v1/apps/one/headers", "")
	if want := `{"app":"one","expires_in":3600,"headers":{"Authorization":"Bearer s3cret-t0ken"}}` +
		"\n"; h.body != want {
		t.Errorf("headers:\n got %s\nwant %s", h.body, want)
	}
}

// Every answer has a Content-Length, whether or not it fits into net/http's
// buffer.
func TestAnswersSayTheirLength(t *testing.T) {
	backend := &benchToken{newBackend(), labToken("one")}
	backend.tok.AccessToken = ""
	rest := len(appendToken(nil, backend.tok, true)) + len("\n")
	l := startLab(t, func(cfg *Config) { cfg.Tokens = backend })
	for _, size := range []int{ownLength - 1, ownLength, ownLength + 1, 5 * ownLength} {
		backend.tok.AccessToken = strings.Repeat("x", size-rest)
		for _, method := range []string{"GET", "HEAD"} {
			a := l.ask(alice, method, "/v1/apps/one/token", "")
			if a.ContentLength != int64(size) || method == "GET" && len(a.body) != size {
				t.Errorf("%s of %d bytes announces %d, sends %d", method, size, a.ContentLength, len(a.body))
			}
		}
	}
}

// Whatever a server puts into a token, the answer is JSON with the same values.
func TestTokenSurvivesItsJSON(t *testing.T) {
	for _, s := range []string{"", "a.b-c_d~e+/=", `"`, `\`, "\x00\x1f\x7f", "a\nb", "ünï ", "<&>",
		strings.Repeat("x", 5000)} {
		want := ipc.Token{App: s, AccessToken: s, TokenType: s, ID: s, IssuedAt: time.Unix(1, 0).UTC(),
			ExpiresAt: time.Unix(1e10, 0).UTC(), ExpiresIn: -1}
		var got ipc.Token
		if err := json.Unmarshal(appendToken(nil, want, plain(want.AccessToken)), &got); err != nil {
			t.Errorf("%q: %v", s, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	if text := string(appendToken(nil, ipc.Token{}, true)); strings.Contains(text, `"id"`) {
		t.Errorf("an unknown id is told: %s", text)
	}
	var keys map[string]any // a field that is added must be written, too
	if err := json.Unmarshal(appendToken(nil, labToken("a"), true), &keys); err != nil ||
		len(keys) != reflect.TypeFor[ipc.Token]().NumField() {
		t.Errorf("%v: %v", keys, err)
	}
}

func TestQueries(t *testing.T) {
	l := startLab(t, nil)
	c := l.dial(alice)
	for _, test := range []struct {
		query string
		want  ipc.Query
		fault string // what the detail names
	}{
		{"", ipc.Query{Wait: 10 * time.Second}, ""},
		{"?", ipc.Query{Wait: 10 * time.Second}, ""},
		{"?wait=0s", ipc.Query{}, ""},
		{"?wait=750ms&min_ttl=1m30s", ipc.Query{Wait: 750 * time.Millisecond, MinTTL: 90 * time.Second}, ""},
		{"?wait=1m&other=1&other=-2&&x", ipc.Query{Wait: time.Minute}, ""},
		{"?%77ait=1.5s", ipc.Query{Wait: 1500 * time.Millisecond}, ""},
		{"?min_ttl=8760h", ipc.Query{Wait: 10 * time.Second, MinTTL: 8760 * time.Hour}, ""},
		{"?wait=0", ipc.Query{}, `"wait"`},
		{"?wait=5", ipc.Query{}, `"wait"`},
		{"?wait=", ipc.Query{}, `"wait"`},
		{"?wait", ipc.Query{}, `"wait"`},
		{"?wait=-1s", ipc.Query{}, `"wait"`},
		{"?wait=-0s", ipc.Query{}, `"wait"`},
		{"?wait=60.001s", ipc.Query{}, `"wait"`},
		{"?wait=1s&wait=1s", ipc.Query{}, `"wait"`},
		{"?wait=soon", ipc.Query{}, `"wait"`},
		{"?wait=99999999999h", ipc.Query{}, `"wait"`},
		{"?wait=5%zz", ipc.Query{}, "%zz"},
		{"?wait=5s;min_ttl=5s", ipc.Query{}, "semicolon"},
		{"?min_ttl=60", ipc.Query{}, `"min_ttl"`},
		{"?min_ttl=-60s", ipc.Query{}, `"min_ttl"`},
		{"?min_ttl=8760h1ns", ipc.Query{}, `"min_ttl"`},
		{"?wait=1s&min_ttl=1s&min_ttl=2s", ipc.Query{}, `"min_ttl"`},
		{"?%zz=1", ipc.Query{}, `"%zz"`},
		{"?other=%zz", ipc.Query{}, `"%zz"`},
	} {
		for _, name := range []string{"token", "headers"} {
			a := l.askOn(c, "GET", "/v1/apps/one/"+name+test.query, "")
			if test.fault != "" {
				if p := a.problem(t); p.Code != ipc.CodeInvalidParameter || p.Status != 400 ||
					!strings.Contains(p.Detail, test.fault) {
					t.Errorf("%s%s: %+v", name, test.query, p)
				}
				continue
			}
			l.mu.Lock()
			if a.StatusCode != 200 || l.query != test.want {
				t.Errorf("%s%s: %s, %+v", name, test.query, a.Status, l.query)
			}
			l.mu.Unlock()
		}
	}
}

func TestReports(t *testing.T) {
	l := startLab(t, nil)
	c := l.dial(alice)
	for _, test := range []struct{ body, want string }{
		{`{"access_token":"s3cret-t0ken","status":401}`, "report one {AccessToken:s3cret-t0ken Status:401 Code:}"},
		{` {"access_token":"x","status":500,"code":"c","more":[1]} `, "report one {AccessToken:x Status:500 Code:c}"},
		{``, ""},
		{`null`, ""},
		{`[]`, ""},
		{`{}`, ""},
		{`{"access_token":"s3cret-t0ken"}`, ""},
		{`{"access_token":"","status":401}`, ""},
		{`{"access_token":"s3cret-t0ken","status":"401"}`, ""},
		{`{"access_token":"s3cret-t0ken","status":401.5}`, ""},
		{`{"access_token":"s3cret-t0ken","status":401,"code":7}`, ""},
		{`{"access_token":7,"status":401}`, ""},
		{`{"access_token":"s3cret-t0ken","status":401}{}`, ""},
		{`{"access_token":"s3cret-t0ken","status":`, ""},
	} {
		before := len(l.noted())
		a := l.askOn(c, "POST", "/v1/apps/one/report", test.body)
		asked := l.noted()[before:]
		if strings.Contains(a.body, secretToken) {
			t.Errorf("%s: the answer repeats the token: %s", test.body, a.body)
		}
		if test.want == "" {
			if p := a.problem(t); p.Code != ipc.CodeInvalidParameter || len(asked) != 0 {
				t.Errorf("%s: %+v, %q", test.body, p, asked)
			}
		} else if a.StatusCode != 202 || a.body != `{"action":"refresh"}`+"\n" ||
			!slices.Equal(asked, []string{test.want}) {
			t.Errorf("%s: %s %s, %q", test.body, a.Status, a.body, asked)
		}
	}
}

// A problem of the backend's is answered with its status. Any other error is
// logged, and callers do not see it.
func TestProblems(t *testing.T) {
	l := startLab(t, nil)
	c := l.dial(alice)
	for code, status := range map[string]int{
		ipc.CodeNotReady: 503, ipc.CodeThrottled: 503, ipc.CodeOffline: 503, ipc.CodeServerError: 503,
		ipc.CodeRejected: 502, ipc.CodeClockUnset: 503,
		ipc.CodeTooManyRequests: 429, ipc.CodeStorage: 500, ipc.CodeInternal: 500,
	} {
		want := ipc.NewProblem(code, "why")
		want.ServerCode = "unapproved_software_statement"
		want.RetryAfterMS = 1001
		l.fails(fmt.Errorf("wrapped: %w", want))
		a := l.askOn(c, "GET", "/v1/token", "")
		if diff := cmp.Diff(want, a.problem(t)); diff != "" || a.StatusCode != status || want.Status != status ||
			want.Title == "" {
			t.Errorf("%s: %s %s%s", code, a.Status, a.body, diff)
		}
		if got := a.Header.Get("Retry-After"); got != "2" {
			t.Errorf("%s: Retry-After is %q", code, got)
		}
	}
	l.fails(&ipc.Problem{Code: ipc.CodeOffline})
	if a := l.askOn(c, "GET", "/v1/token", ""); a.StatusCode != 503 || a.Header.Get("Retry-After") != "" {
		t.Errorf("a bare problem: %s %v %s", a.Status, a.Header, a.body)
	}
	l.fails(errors.New("disk on fire"))
	for _, request := range []string{"GET token", "GET headers", "POST report"} {
		method, name, _ := strings.Cut(request, " ")
		a := l.askOn(c, method, "/v1/apps/one/"+name, `{"access_token":"s3cret-t0ken","status":401}`)
		if p := a.problem(t); p.Code != ipc.CodeInternal || p.Status != 500 || strings.Contains(a.body, "fire") {
			t.Errorf("%s: %s", request, a.body)
		}
	}
	if n := strings.Count(l.log.String(), "disk on fire"); n != 3 || strings.Contains(l.log.String(), secretToken) {
		t.Errorf("the log: %s", l.log)
	}
	l.fails(errors.New("metrics broken"))
	if a := l.askOn(c, "GET", "/v1/metrics", ""); a.code() != ipc.CodeInternal {
		t.Errorf("half of the metrics: %s %s", a.Status, a.body)
	}
}

// A reload that comes while callers wait decides what they get.
func TestAReloadDuringAWait(t *testing.T) {
	t.Parallel()
	l := startLab(t, nil)
	release := make(chan struct{})
	l.blocks(release)
	waits := []struct {
		uid        uint32
		path, want string
		c          net.Conn
	}{
		{uid: alice, path: "/v1/apps/one/token", want: ipc.CodeForbidden},
		{uid: alice, path: "/v1/apps/one/headers", want: ipc.CodeForbidden},
		{uid: alice, path: "/v1/token", want: ipc.CodeNotReady}, // "three" is alice's now
		{uid: bob, path: "/v1/apps/one/token", want: "200"},
		{uid: bob, path: "/v1/apps/two/token", want: ipc.CodeForbidden},
		{uid: carol, path: "/v1/apps/two/token", want: ipc.CodeUnknownApp},
		{uid: root, path: "/v1/apps/one/headers", want: "200"},
	}
	for i := range waits {
		w := &waits[i]
		w.c = l.dial(w.uid)
		fmt.Fprintf(w.c, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", w.path)
	}
	l.until("waiters", func() bool { return l.waiters() == len(waits) })
	p := labPolicy()
	p.Apps = map[string]Allow{"one": {Users: []uint32{bob}}, "three": {Users: []uint32{alice}}}
	l.follow(p)
	close(release)
	for _, w := range waits {
		a := l.read(w.c, "GET")
		if a.code() != w.want {
			t.Errorf("%s for %d: %s %s, want %s", w.path, w.uid, a.Status, a.body, w.want)
		}
		if fresh := l.ask(w.uid, "GET", w.path, ""); w.want != ipc.CodeNotReady && fresh.body != a.body {
			t.Errorf("%s for %d: %s, and then %s", w.path, w.uid, a.body, fresh.body)
		}
	}
}

// The backend learns first that an app is gone. The server decides who is told
// so.
func TestAnAppThatIsGone(t *testing.T) {
	t.Parallel()
	l := startLab(t, nil)
	l.fails(fmt.Errorf("wrapped: %w", ipc.NewProblem(ipc.CodeUnknownApp, "it is gone")))
	for uid, want := range map[uint32]string{root: ipc.CodeUnknownApp, bob: ipc.CodeForbidden} {
		for _, request := range []string{"GET token", "GET headers", "POST report", "POST refresh"} {
			method, name, _ := strings.Cut(request, " ")
			a := l.ask(uid, method, "/v1/apps/one/"+name, `{"access_token":"x","status":401}`)
			if name == "refresh" && uid == bob {
				continue // for admins in any case
			}
			if never := l.ask(uid, method, "/v1/apps/none/"+name, ""); a.code() != want || a.body != never.body {
				t.Errorf("%s for %d: %s %s", request, uid, a.Status, a.body)
			}
		}
	}
}

func TestAdminsOrders(t *testing.T) {
	var passed atomic.Int64 // seconds
	l := startLab(t, func(cfg *Config) {
		cfg.Now = func() time.Time { return labTime.Add(time.Duration(passed.Load()) * time.Second) }
	})
	for _, request := range []string{"DELETE /v1/apps/two/credentials", "POST /v1/reload",
		"POST /v1/reload?accept=one", "POST /v1/apps/one/refresh", "POST /v1/apps/one/refresh",
		"POST /v1/apps/two/refresh"} {
		method, path, _ := strings.Cut(request, " ")
		if a := l.ask(carol, method, path, ""); a.StatusCode != 202 || a.body != `{"status":"accepted"}`+"\n" {
			t.Errorf("%s: %s %s", request, a.Status, a.body)
		}
	}
	want := []string{"reset two", "reload", "reload one", "refresh one", "refresh one", "refresh two"}
	if diff := cmp.Diff(want, l.noted()); diff != "" {
		t.Error(diff)
	}
	// Three refreshes are allowed at once; the next is due in a second, and a
	// refusal does not put it off.
	for range 5 {
		a := l.ask(root, "POST", "/v1/apps/one/refresh", "")
		if p := a.problem(t); p.Code != ipc.CodeTooManyRequests || p.RetryAfterMS != 1000 ||
			a.Header.Get("Retry-After") != "1" {
			t.Errorf("%v %+v", a.Header, p)
		}
	}
	passed.Add(1)
	if a := l.ask(root, "POST", "/v1/apps/one/refresh", ""); a.StatusCode != 202 {
		t.Errorf("a second later: %s", a.body)
	}
	if a := l.ask(root, "POST", "/v1/reload", ""); a.StatusCode != 202 {
		t.Errorf("reload is not limited: %s", a.body)
	}
	l.fails(ipc.NewProblem(ipc.CodeStorage, "the disk is full"))
	if a := l.ask(root, "DELETE", "/v1/apps/one/credentials", ""); a.code() != ipc.CodeStorage {
		t.Errorf("reset: %s", a.body)
	}
}

func TestBusyIsCalledAtTheEndOfEveryRequest(t *testing.T) {
	ends := make(chan struct{}, 10)
	l := startLab(t, func(cfg *Config) { cfg.Busy = func() { ends <- struct{}{} } })
	for _, path := range []string{"/v1/token", "/nothing"} {
		l.ask(alice, "GET", path, "")
		select {
		case <-ends:
		case <-time.After(patience):
			t.Fatalf("%s: not told", path)
		}
	}
}
