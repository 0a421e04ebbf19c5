package dcrtest_test

import (
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tvpassd/tvpassd/daemon/dcr/dcrtest"
)

// player is a client of the protected APIs with an access token.
type player struct {
	*lab
	t      *testing.T
	access string
}

func newPlayer(t *testing.T, change ...func(*dcrtest.Config)) *player {
	l := newLab(t, change...)
	id, secret := l.register(t)
	return &player{l, t, l.token(t, id, secret)}
}

// request makes a request to a path behind /api/v2/. A body is JSON if it
// begins so, else a form.
func (p *player) request(call, body string) *http.Request {
	p.t.Helper()
	method, path, _ := strings.Cut(call, " ")
	r := apiRequest(p.t, p.access)
	r.Method, r.Body = method, io.NopCloser(strings.NewReader(body))
	u, err := url.Parse("/api/v2/" + path)
	if err != nil {
		p.t.Fatal(err)
	}
	r.URL = u
	switch {
	case strings.HasPrefix(body, "{"):
		r.Header.Set("Content-Type", "application/json")
	case body != "":
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return r
}

// call makes a request and expects a status.
func (p *player) call(call, body string, status int) map[string]any {
	p.t.Helper()
	w := p.send(p.request(call, body))
	if w.Code != status {
		p.t.Fatalf("%s: %d %s, want %d; log: %s", call, w.Code, w.Body, status, p.log)
	}
	return object(p.t, w)
}

// at walks down an object.
func at(v any, path ...any) any {
	for _, step := range path {
		switch key := step.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[key]
		case int:
			l, _ := v.([]any)
			if key >= len(l) {
				return nil
			}
			v = l[key]
		}
	}
	return v
}

const signIn = "mvpd=Cablevision&domainName=adobe.com&redirectUrl=https%3A%2F%2Ftv.example%2Fdone"

// A sign-in from its session to the profile.
func TestSignIn(t *testing.T) {
	p := newPlayer(t)
	c := p.call("GET REF30/configuration", "", 200)
	if at(c, "requestor", "id") != "REF30" || at(c, "requestor", "mvpds", 0, "id") != "Cablevision" ||
		at(c, "requestor", "mvpds", 41, "id") == nil {
		t.Errorf("configuration %v", c)
	}
	s := p.call("POST REF30/sessions", signIn, 200)
	code, _ := s["code"].(string)
	if len(code) != 7 || s["url"] != "/api/v2/authenticate/REF30/"+code || s["actionName"] != "authenticate" ||
		s["actionType"] != "interactive" || s["mvpd"] != "Cablevision" || s["serviceProvider"] != "REF30" ||
		s["sessionId"] == "" || s["reasonType"] != "none" {
		t.Errorf("session %v", s)
	}
	show := p.call("GET REF30/sessions/"+code, "", 200)
	if at(show, "existingParameters", "domainName") != "adobe.com" || len(show["missingParameters"].([]any)) != 0 ||
		at(show, "device", "model") != "Box 4K" {
		t.Errorf("session status %v", show)
	}
	for range 2 {
		if got := p.call("GET REF30/profiles/code/"+code, "", 200); len(got["profiles"].(map[string]any)) != 0 {
			t.Errorf("before the sign-in: %v", got)
		}
	}
	p.admin(t, "POST", "/sign-in", `{"code":"`+code+`"}`)
	got := p.call("GET REF30/profiles/code/"+code, "", 200)
	if at(got, "profiles", "Cablevision", "type") != "regular" ||
		at(got, "profiles", "Cablevision", "attributes", "userID", "value") == nil {
		t.Errorf("after the sign-in: %v", got)
	}
	for _, path := range []string{"REF30/profiles", "REF30/profiles/Cablevision"} {
		if diff := cmp.Diff(got, p.call("GET "+path, "", 200)); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
	}
	if got := p.call("GET REF30/profiles/SimTV_01", "", 200); len(got["profiles"].(map[string]any)) != 0 {
		t.Errorf("another MVPD: %v", got)
	}
	again := p.call("POST REF30/sessions", signIn, 200)
	if again["actionName"] != "authorize" || again["reasonType"] != "authenticated" ||
		again["url"] != "/api/v2/REF30/decisions/authorize/Cablevision" ||
		again["code"] != nil {
		t.Errorf("a session when signed in: %v", again)
	}
}

// Decisions take a sign-in, and end with the logout, which acts once.
func TestDecisions(t *testing.T) {
	p := newPlayer(t)
	p.call("POST REF30/decisions/authorize/Cablevision", `{"resources":["REF30"]}`, 403)
	code := p.call("POST REF30/sessions", signIn, 200)["code"].(string)
	if err := p.SignIn(code, ""); err != nil {
		t.Fatal(err)
	}
	pre := p.call("POST REF30/decisions/preauthorize/Cablevision", `{"resources":["REF30","denied-1"]}`, 200)
	if at(pre, "decisions", 0, "authorized") != true || at(pre, "decisions", 0, "token") != nil ||
		at(pre, "decisions", 1, "authorized") != false ||
		at(pre, "decisions", 1, "error", "code") != "preauthorization_denied_by_mvpd" {
		t.Errorf("preauthorize %v", pre)
	}
	auth := p.call(
		"POST REF30/decisions/authorize/Cablevision",
		`{"resources":["REF30","denied-1","parental-2"]}`,
		200,
	)
	token, _ := at(auth, "decisions", 0, "token", "serializedToken").(string)
	raw, err := base64.StdEncoding.DecodeString(token)
	if err != nil || !strings.Contains(string(raw), "<resourceID>REF30<") ||
		at(auth, "decisions", 0, "source") != "mvpd" ||
		at(auth, "decisions", 1, "error", "code") != "authorization_denied_by_mvpd" ||
		at(auth, "decisions", 2, "error", "code") != "authorization_denied_by_parental_controls" {
		t.Errorf("authorize %v", auth)
	}
	out := p.call("GET REF30/logout/Cablevision?redirectUrl=app:x", "", 200)
	if at(out, "logouts", "Cablevision", "actionName") != "logout" ||
		!strings.HasPrefix(at(out, "logouts", "Cablevision", "url").(string), "/adobe-services/logout?") {
		t.Errorf("logout %v", out)
	}
	out = p.call("GET REF30/logout/Cablevision", "", 200)
	if at(out, "logouts", "Cablevision", "actionName") != "invalid" ||
		at(out, "logouts", "Cablevision", "url") != nil {
		t.Errorf("the second logout %v", out)
	}
	p.call("POST REF30/decisions/authorize/Cablevision", `{"resources":["REF30"]}`, 403)
}

// A session may begin without parameters, and gets them later, from another
// device too.
func TestResume(t *testing.T) {
	p := newPlayer(t)
	s := p.call("POST REF30/sessions", "", 200)
	code, _ := s["code"].(string)
	if s["actionName"] != "resume" || s["actionType"] != "direct" || s["url"] != "/api/v2/REF30/sessions/"+code ||
		len(s["missingParameters"].([]any)) != 3 {
		t.Errorf("session %v", s)
	}
	r := p.request("POST REF30/sessions/"+code, signIn)
	r.Header.Set(
		"AP-Device-Identifier",
		"fingerprint "+base64.StdEncoding.EncodeToString([]byte(strings.Repeat("a", 64))),
	)
	w := p.send(r)
	if got := object(t, w); w.Code != 200 || got["actionName"] != "authenticate" || got["code"] != code {
		t.Errorf("%d %v", w.Code, got)
	}
	p.admin(t, "POST", "/sign-in", `{"code":"`+code+`","mvpd":"SimTV_07"}`)
	if got := p.call("GET REF30/profiles", "", 200); at(got, "profiles", "SimTV_07") == nil {
		t.Errorf("profiles %v", got)
	}
	want := []dcrtest.Session{{Code: code, Provider: "REF30", MVPD: "SimTV_07", SignedIn: true}}
	if diff := cmp.Diff(want, p.Sessions()); diff != "" {
		t.Error(diff)
	}
	p.admin(t, "POST", "/sign-out", "")
	if got := p.call("GET REF30/profiles", "", 200); len(got["profiles"].(map[string]any)) != 0 {
		t.Errorf("after the sign-out: %v", got)
	}
}

// New credentials or another device identifier make a viewer's profiles
// unreachable.
func TestRegisteringAnewSignsOut(t *testing.T) {
	p := newPlayer(t)
	code := p.call("POST REF30/sessions", signIn, 200)["code"].(string)
	if err := p.SignIn(code, ""); err != nil {
		t.Fatal(err)
	}
	profiles := func() int { return len(p.call("GET REF30/profiles", "", 200)["profiles"].(map[string]any)) }
	if profiles() != 1 {
		t.Error("not signed in")
	}
	id, secret := p.register(t)
	p.access = p.token(t, id, secret)
	if profiles() != 0 {
		t.Error("new credentials are still signed in")
	}
}

func TestPartner(t *testing.T) {
	p := newPlayer(t)
	with := p.request("POST REF30/sessions/sso/Apple", "domainName=adobe.com&redirectUrl=app:x")
	with.Header.Set("AP-Partner-Framework-Status", "e30=")
	w := p.send(with)
	got := object(t, w)
	if w.Code != 200 || got["actionName"] != "partner_profile" || got["url"] != "/api/v2/REF30/profiles/sso/Apple" ||
		at(got, "authenticationRequest", "request") == nil {
		t.Errorf("%d %v", w.Code, got)
	}
	got = p.call("POST REF30/sessions/sso/Apple", "domainName=adobe.com&redirectUrl=app:x", 200)
	if got["actionName"] != "resume" {
		t.Errorf("without the framework's status: %v", got)
	}
	saml := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("<saml>", 1000)))
	got = p.call("POST REF30/profiles/sso/Apple", url.Values{"SAMLResponse": {saml}}.Encode(), 201)
	if at(got, "profiles", "Cablevision", "type") != "appleSSO" {
		t.Errorf("profile %v", got)
	}
	p.call("POST REF30/decisions/authorize/Cablevision", `{"resources":["REF30"]}`, 200)
}

// A temporary pass needs no sign-in, and its clock starts with the first
// authorization.
func TestTemporaryPass(t *testing.T) {
	p := newPlayer(t)
	decide := func(what string) any {
		d := p.call("POST REF30/decisions/"+what+"/TempPass_SIM", `{"resources":["REF30"]}`, 200)
		if at(d, "decisions", 0, "source") != "temppass" {
			t.Errorf("%s: %v", what, d)
		}
		return at(d, "decisions", 0, "error", "code")
	}
	p.call("GET REF30/profiles/TempPass_SIM", "", 403)
	for range 2 {
		if got := decide("preauthorize"); got != nil {
			t.Error(got)
		}
		p.wait(time.Hour)
	}
	if got := decide("authorize"); got != nil {
		t.Error(got)
	}
	p.wait(10 * time.Minute)
	if got := decide("authorize"); got != "temporary_access_duration_limit_exceeded" {
		t.Error(got)
	}
}

func TestV2Refusals(t *testing.T) {
	p := newPlayer(
		t,
		func(c *dcrtest.Config) { c.TokenLife, c.Providers = 24*time.Hour*100, []string{"REF30", "REF31"} },
	)
	tooMany := `{"resources":["a"` + strings.Repeat(`,"a"`, 100) + `]}`
	expired := p.call("POST REF31/sessions", signIn, 200)["code"].(string)
	p.wait(30 * time.Minute)
	replaced := p.call("POST REF30/sessions", signIn, 200)["code"].(string)
	code := p.call("POST REF30/sessions", "", 200)["code"].(string)
	for _, tc := range []struct {
		call, body string
		status     int
		code       string
	}{
		{"GET OTHER/configuration", "", 401, "invalid_access_token_service_provider"},
		{"GET REF30/profiles/NoSuchTV", "", 400, "invalid_parameter_mvpd"},
		{"GET REF30/logout/NoSuchTV", "", 400, "invalid_parameter_mvpd"},
		{"POST REF30/sessions", "mvpd=NoSuchTV", 400, "invalid_parameter_mvpd"},
		{"POST REF30/sessions", "redirectUrl=nowhere", 400, "invalid_parameter_redirect_url"},
		{"POST REF30/sessions", `{"mvpd":"Cablevision"}`, 400, "malformed_authz_request"},
		{"POST REF30/sessions", "a=%zz", 400, "malformed_authz_request"},
		{"POST REF30/sessions/NOSUCH1", signIn, 400, "invalid_parameter_code"},
		{"GET REF31/sessions/" + code, "", 400, "invalid_parameter_code"},
		{"GET REF31/sessions/" + expired, "", 410, "authentication_session_expired"},
		{"GET REF30/profiles/code/" + replaced, "", 410, "authentication_session_invalidated"},
		{"POST REF30/sessions/sso/Roku", "", 400, "invalid_parameter_partner"},
		{"POST REF30/profiles/sso/Apple", "SAMLResponse=-", 400, "invalid_parameter_saml_response"},
		{"POST REF30/profiles/sso/Roku", "SAMLResponse=eA==", 400, "invalid_parameter_partner"},
		{"POST REF30/decisions/authorize/Cablevision", "", 400, "invalid_parameter_resources"},
		{"POST REF30/decisions/authorize/Cablevision", "{}", 400, "invalid_parameter_resources"},
		{"POST REF30/decisions/authorize/Cablevision", `{"resources":[]}`, 400, "invalid_parameter_resources"},
		{"POST REF30/decisions/authorize/Cablevision", `{"resources":[1]}`, 400, "invalid_parameter_resources"},
		{"POST REF30/decisions/authorize/Cablevision", tooMany, 403, "too_many_resources"},
		{"POST REF30/decisions/authorize/Cablevision", `{"resources":["a"]}`, 403, "authenticated_profile_missing"},
		{"POST REF30/configuration", "", 405, "method_not_allowed"},
		{"DELETE REF30/sessions/" + code, "", 405, "method_not_allowed"},
		{"GET REF30/nonsense", "", 404, "not_found"},
		{"GET REF30/profiles/", "", 404, "not_found"},
		{"GET authenticate/REF30/NOSUCH1", "", 400, "invalid_parameter_code"},
		{"GET authenticate/REF30/" + code, "", 400, "invalid_parameter_mvpd"},
		{"POST REF30/decisions/preauthorize/SimTV_01", strings.Repeat("{", 256<<10+1), 400, "malformed_authz_request"},
	} {
		r := p.request(tc.call, tc.body)
		w := p.send(r)
		got := object(t, w)
		if w.Code != tc.status || got["code"] != tc.code || got["status"] != float64(tc.status) ||
			w.Header().Get("Cache-Control") != "" {
			t.Errorf("%s: %d %v, want %d %s", tc.call, w.Code, got, tc.status, tc.code)
		}
	}
}

func TestSignInRefusals(t *testing.T) {
	p := newPlayer(t, func(c *dcrtest.Config) { c.TokenLife = 24 * time.Hour * 100 })
	replaced := p.call("POST REF30/sessions", signIn, 200)["code"].(string)
	code := p.call("POST REF30/sessions", "", 200)["code"].(string)
	if err := p.SignIn(replaced, ""); err == nil {
		t.Error("a code that was replaced can be signed in with")
	}
	if err := p.SignIn(code, "NoSuchTV"); err == nil {
		t.Error("an MVPD that does not exist can be signed in with")
	}
	if err := p.SignIn(code, "Cablevision"); err != nil {
		t.Error(err)
	}
	p.wait(31 * 24 * time.Hour)
	wantEnhanced(
		t,
		p.lab,
		p.request("POST REF30/decisions/authorize/Cablevision", `{"resources":["a"]}`),
		403,
		"authenticated_profile_expired",
		"authentication",
		"expired",
	)
}

// The throttle goes by X-Forwarded-For where there is one, so a device must not
// send it.
func TestForwardedFor(t *testing.T) {
	l := newLab(t, throttled)
	from := func(forwarded string) int {
		r := validate()
		r.Header.Set("X-Forwarded-For", forwarded)
		return l.send(r).Code
	}
	for range 11 {
		from("203.0.113.1, 10.0.0.1")
	}
	for forwarded, want := range map[string]int{"203.0.113.1": 429, "203.0.113.2": 200, "": 200} {
		if got := from(forwarded); got != want {
			t.Errorf("%q: %d, want %d", forwarded, got, want)
		}
	}
}
