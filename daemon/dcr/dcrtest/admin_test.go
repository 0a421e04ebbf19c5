package dcrtest_test

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tvpassd/tvpassd/daemon/dcr/dcrtest"
)

// admin carries out a command that must work.
func (l *lab) admin(t *testing.T, method, path, body string) {
	t.Helper()
	w := httptest.NewRecorder()
	l.Admin().ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
	if w.Code != http.StatusNoContent {
		t.Fatalf("%s %s %s: %d %s, want 204", method, path, body, w.Code, w.Body)
	}
}

func TestAdminRevoke(t *testing.T) {
	l := newLab(t)
	id1, secret1 := l.register(t)
	id2, secret2 := l.register(t)
	access := l.token(t, id1, secret1)

	l.admin(t, "POST", "/revoke", `{"client_id":"`+id1+`"}`)
	wantRefusal(t, l, tokenRequest(t, id1, secret1), "invalid_client", "revoked")
	l.token(t, id2, secret2)
	l.admin(t, "POST", "/revoke", "")
	wantRefusal(t, l, tokenRequest(t, id2, secret2), "invalid_client", "revoked")
	id3, secret3 := l.register(t)
	l.token(t, id3, secret3)

	if got := l.send(apiRequest(t, access)).Code; got != 200 {
		t.Errorf("the token of a revoked client: %d, want 200", got)
	}
	l.admin(t, "POST", "/revoke-tokens", "{}")
	if got := l.send(apiRequest(t, access)).Code; got != 401 {
		t.Errorf("a revoked token: %d, want 401", got)
	}
	l.admin(t, "POST", "/unauthorize", `{"client_id":"`+id3+`"}`)
	wantRefusal(t, l, tokenRequest(t, id3, secret3), "unauthorized_client", "unauthorized")
}

func TestAdminStatement(t *testing.T) {
	l := newLab(t)
	id, secret := l.register(t)
	l.admin(t, "POST", "/statement", `{"approved":false}`)
	wantRefusal(t, l, registration(t), "unapproved_software_statement", "unapproved")
	l.token(t, id, secret)
	l.admin(t, "POST", "/statement", `{"approved":true}`)
	l.register(t)
}

func TestAdminClockAndLife(t *testing.T) {
	l := newLab(t)
	id, secret := l.register(t)
	l.admin(t, "POST", "/clock", `{"offset":"-48h"}`)
	l.admin(t, "POST", "/token-life", `{"life":"90s"}`)
	w := l.send(tokenRequest(t, id, secret))
	if got := w.Header().Get("Date"); got != "Sat, 30 May 2026 12:00:00 GMT" {
		t.Errorf("Date %q", got)
	}
	got := object(t, w)
	if got["expires_in"] != 90.0 || got["created_at"] != float64(labStart.Add(-48*time.Hour).UnixMilli()) {
		t.Errorf("expires_in %v, created_at %v", got["expires_in"], got["created_at"])
	}
}

func TestAdminFaultAndThrottle(t *testing.T) {
	l := newLab(t)
	l.admin(t, "POST", "/fault", `{"path":"register","kind":"429","count":1,"retry_after":"7","delay":"1ms"}`)
	if w := l.send(registration(t)); w.Code != 429 || w.Header().Get("Retry-After") != "7" {
		t.Errorf("%d, Retry-After %q, want 429 and 7", w.Code, w.Header().Get("Retry-After"))
	}
	l.register(t)
	l.admin(t, "POST", "/fault", `{"kind":"status","status":500}`)
	if got := l.send(registration(t)).Code; got != 500 {
		t.Errorf("%d, want 500", got)
	}
	l.admin(t, "DELETE", "/fault", "")
	l.register(t)
	l.admin(t, "POST", "/throttle", `{"on":true}`)
	for range 11 {
		l.register(t)
	}
	if got := l.send(registration(t)).Code; got != 429 {
		t.Errorf("%d, want 429", got)
	}
	l.admin(t, "POST", "/throttle", `{"on":false}`)
	l.register(t)
}

func TestAdminRequests(t *testing.T) {
	l := newLab(t, func(c *dcrtest.Config) { c.ClockOffset = time.Hour })
	get := func(path string, into any) {
		t.Helper()
		w := httptest.NewRecorder()
		l.Admin().ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if err := json.Unmarshal(w.Body.Bytes(), into); err != nil || w.Code != 200 {
			t.Fatalf("%s: %d %s %v", path, w.Code, w.Body, err)
		}
	}
	var none []dcrtest.Request
	if get("/requests", &none); none == nil {
		t.Error("no requests are null, want []")
	}

	id, secret := l.register(t)
	access := l.token(t, id, secret)
	l.send(apiRequest(t, access))
	l.send(apiRequest(t, "x"))
	var requests []dcrtest.Request
	get("/requests", &requests)
	common := dcrtest.Request{At: labStart, RemoteAddr: "192.0.2.1:1234", DeviceInfo: decoded(t, goodDevice())}
	row := func(method, path string, status int, code, client, agent string) dcrtest.Request {
		r := common
		r.Method, r.Path, r.Status, r.Error, r.ClientID, r.UserAgent = method, path, status, code, client, agent
		if strings.HasPrefix(path, "/api/") {
			r.Operation = "configuration"
		}
		return r
	}
	for i := range requests { // TestRecordedRequest looks at these
		requests[i].Header, requests[i].BodySize, requests[i].BodySHA256 = nil, 0, ""
	}
	want := []dcrtest.Request{
		row("POST", "/o/client/register", 201, "", id, "tvpassd/test"),
		row("POST", "/o/client/token", 201, "", id, "tvpassd/test"),
		row("GET", "/api/v2/REF30/configuration", 200, "", id, ""),
		row("GET", "/api/v2/REF30/configuration", 401, "invalid_access_token_client_application", "", ""),
	}
	if diff := cmp.Diff(want, requests); diff != "" {
		t.Error(diff)
	}

	var counts map[string]int
	get("/counts", &counts)
	if diff := cmp.Diff(map[string]int{"register": 1, "token": 1, "api": 2, "throttled": 0}, counts); diff != "" {
		t.Error(diff)
	}
	l.admin(t, "DELETE", "/requests", "")
	get("/requests", &requests)
	get("/counts", &counts)
	if len(requests) != 0 || counts["api"] != 0 {
		t.Errorf("after clearing: %v %v", requests, counts)
	}
}

// decoded returns a map as JSON decodes it.
func decoded(t *testing.T, v map[string]any) map[string]any {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var back map[string]any
	if err := json.Unmarshal(raw, &back); err != nil {
		t.Fatal(err)
	}
	return back
}

func TestAdminBadInput(t *testing.T) {
	for _, tc := range []struct {
		request, body string
		status        int
		why           string
	}{
		{"POST /fault", "", 400, "kind"},
		{"POST /fault", `{"kind":"nonsense"}`, 400, "nonsense"},
		{"POST /fault", `{"kind":"reset","colour":"red"}`, 400, "colour"},
		{"POST /fault", `{"kind":"reset","count":"two"}`, 400, "count"},
		{"POST /fault", `{"kind":"reset","delay":"5"}`, 400, "unit"},
		{"POST /fault", `{"kind":"reset"}{}`, 400, "behind"},
		{"POST /fault", `{`, 400, "EOF"},
		{"POST /revoke", `{"client_id":"x"}`, 400, "no client"},
		{"POST /unauthorize", `{}`, 400, "no client"},
		{"POST /statement", `{}`, 400, "approved"},
		{"POST /clock", `{"offset":"tomorrow"}`, 400, "tomorrow"},
		{"POST /clock", ``, 400, "offset"},
		{"POST /token-life", `{"life":"-1s"}`, 400, "life"},
		{"POST /throttle", `{}`, 400, "on is missing"},
		{"POST /revoke-tokens", `{"client_id":"x"}`, 400, "client_id"},
		{"POST /sign-in", `{"code":"NOSUCH1"}`, 400, "no such code"},
		{"GET /fault", "", 405, ""},
		{"GET /nonsense", "", 404, ""},
	} {
		method, path, _ := strings.Cut(tc.request, " ")
		w := httptest.NewRecorder()
		newLab(t).Admin().ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(tc.body)))
		if w.Code != tc.status || !strings.Contains(w.Body.String(), tc.why) {
			t.Errorf("%s %s: %d %s, want %d about %q", tc.request, tc.body, w.Code, w.Body, tc.status, tc.why)
		}
	}
}

// The log of requests holds no secret, and shows what a forwarder did.
func TestRecordedRequest(t *testing.T) {
	l := newLab(t)
	id, secret := l.register(t)
	access := l.token(t, id, secret)
	r := apiRequest(t, access)
	r.Method, r.URL.RawQuery, r.Body = "POST", "a=b", io.NopCloser(strings.NewReader("host: a\r\n"))
	r.Header.Add("X-Odd", "1")
	r.Header.Add("X-Odd", "2")
	l.send(r)
	last := l.Requests()[2]
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte("host: a\r\n")))
	if last.Query != "a=b" || last.BodySize != 9 || last.BodySHA256 != sum || len(last.Header["X-Odd"]) != 2 {
		t.Errorf("remembered as %+v", last)
	}
	raw, err := json.Marshal(l.Requests())
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{access, secret} {
		if strings.Contains(string(raw), text) {
			t.Errorf("%.20s... is kept", text)
		}
	}
	if want := fmt.Sprintf("sha256 %x", sha256.Sum256([]byte("Bearer "+access))); last.Header.Get(
		"Authorization",
	) != want {
		t.Errorf("Authorization is kept as %q, want %q", last.Header.Get("Authorization"), want)
	}
}

// Credentials that could not be drawn at random are not issued.
func TestRandomFails(t *testing.T) {
	l := newLab(t, func(c *dcrtest.Config) { c.Random = iotest.ErrReader(errors.New("no entropy")) })
	if w := l.send(registration(t)); w.Code != 500 || !strings.Contains(l.log.String(), "no entropy") {
		t.Errorf("%d %s; log: %s", w.Code, w.Body, l.log)
	}
}

// The log of requests is limited, the counts are not.
func TestLongRun(t *testing.T) {
	l := newLab(t)
	for range 10_050 {
		l.send(httptest.NewRequest("GET", "/api/v2/a", nil))
	}
	if got, counts := len(l.Requests()), l.Counts(); got != 10_000 || counts.API != 10_050 {
		t.Errorf("%d requests remembered, %d counted", got, counts.API)
	}
}
