package dcrtest_test

import (
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tvpassd/tvpassd/daemon/dcr/dcrtest"
)

func TestRegister(t *testing.T) {
	statement := dcrtest.Statement("ref30")
	for name, tc := range map[string]struct {
		contentType, body string
		redirects         []any
	}{
		"statement alone": {"application/json", `{"software_statement":"` + statement + `"}`, []any{}},
		"redirect URI": {"application/json; charset=UTF-8", `{"software_statement":"` + statement +
			`","redirect_uri":"adobepass://com.programmer"}`, []any{"adobepass://com.programmer"}},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			w := l.send(post(t, "/o/client/register", tc.contentType, tc.body))
			if w.Code != http.StatusCreated {
				t.Fatalf("%d %s, want 201; log: %s", w.Code, w.Body, l.log)
			}
			if got := w.Header().Get("Content-Type"); !strings.HasPrefix(got, "application/json") {
				t.Errorf("Content-Type %q", got)
			}
			got := object(t, w)
			for _, key := range []string{"client_id", "client_secret"} {
				if len(got[key].(string)) != 36 {
					t.Errorf("%s %q is no UUID", key, got[key])
				}
				delete(got, key)
			}
			want := map[string]any{
				"client_id_issued_at": float64(labStart.Unix()),
				"redirect_uris":       tc.redirects,
				"grant_types":         []any{"client_credentials"},
				"scopes":              []any{"api:client:v2"},
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Every registration makes another pair, like the real server: that is why a
// lost answer hurts.
func TestRegisterTwice(t *testing.T) {
	l := newLab(t)
	id1, secret1 := l.register(t)
	id2, secret2 := l.register(t)
	if id1 == id2 || secret1 == secret2 {
		t.Errorf("two registrations gave %s and %s, and secrets equal: %v", id1, id2, secret1 == secret2)
	}
	l.token(t, id1, secret1)
	l.token(t, id2, secret2)
}

func TestRegisterRefusals(t *testing.T) {
	statement := dcrtest.Statement("ref30")
	parts := strings.Split(statement, ".")
	other := strings.Split(dcrtest.Statement("other"), ".")
	part := base64.RawURLEncoding.EncodeToString
	body := func(statement string) string { return `{"software_statement":"` + statement + `"}` }
	redirect := func(uri string) string {
		return `{"software_statement":"` + statement + `","redirect_uri":` + uri + `}`
	}
	for name, tc := range map[string]struct {
		body      string
		code, why string
	}{
		"no JSON":               {"software_statement=x", "invalid_request", "not a JSON object"},
		"empty body":            {"", "invalid_request", "not a JSON object"},
		"an array":              {"[]", "invalid_request", "not a JSON object"},
		"cut off":               {`{"software_statement":"` + statement, "invalid_request", "not a JSON object"},
		"something behind":      {body(statement) + "{}", "invalid_request", "behind its JSON object"},
		"not UTF-8":             {body("\xff"), "invalid_request", "UTF-8"},
		"statement repeated":    {body(statement + `","software_statement":"` + statement), "invalid_request", "repeats"},
		"statement missing":     {"{}", "invalid_request", "missing"},
		"statement empty":       {body(""), "invalid_request", "missing or empty"},
		"statement no string":   {`{"software_statement":7}`, "invalid_request", "not a string"},
		"unsupported parameter": {body(statement + `","scope":"x`), "invalid_request", "unsupported"},
		"too long":              {body(strings.Repeat("x", 65<<10)), "invalid_request", "longer"},
		"line feed behind":      {body(statement + `\n`), "invalid_software_statement", "white space"},
		"blank inside": {
			body(parts[0] + ". " + parts[1] + "." + parts[2]), "invalid_software_statement", "white space",
		},
		"two parts":     {body(parts[0] + "." + parts[1]), "invalid_software_statement", "2 parts"},
		"not base64url": {body(parts[0] + "." + parts[1] + ".++++"), "invalid_software_statement", "part 3"},
		"header no object": {
			body(part([]byte("7")) + "." + parts[1] + "." + parts[2]), "invalid_software_statement", "header",
		},
		"payload no object": {
			body(parts[0] + "." + part([]byte("x")) + "." + parts[2]), "invalid_software_statement", "payload",
		},
		"payload of another": {
			body(parts[0] + "." + other[1] + "." + parts[2]), "invalid_software_statement", "not signed",
		},
		"signature empty":          {body(parts[0] + "." + parts[1] + "."), "invalid_software_statement", "not signed"},
		"redirect URI relative":    {redirect(`"/back"`), "invalid_redirect_uri", "absolute"},
		"redirect URI empty":       {redirect(`""`), "invalid_redirect_uri", "absolute"},
		"redirect URI no URI":      {redirect(`"http://[::1"`), "invalid_redirect_uri", "absolute"},
		"redirect URI no string":   {redirect(`["a://b"]`), "invalid_request", "redirect_uri is not a string"},
		"redirect URI is null":     {redirect(`null`), "invalid_request", "redirect_uri is not a string"},
		"redirect URI w. fragment": {redirect(`"a://b#c"`), "invalid_redirect_uri", "fragment"},
	} {
		t.Run(name, func(t *testing.T) {
			wantRefusal(t, newLab(t), post(t, "/o/client/register", "application/json", tc.body), tc.code, tc.why)
		})
	}
}

func TestToken(t *testing.T) {
	for _, status := range []int{201, 200} {
		l := newLab(t, func(c *dcrtest.Config) { c.TokenStatus, c.ClockOffset = status, time.Hour })
		id, secret := l.register(t)
		w := l.send(tokenRequest(t, id, secret))
		if w.Code != status {
			t.Fatalf("%d %s, want %d", w.Code, w.Body, status)
		}
		got := object(t, w)
		for _, key := range []string{"id", "access_token"} {
			if text, _ := got[key].(string); text == "" {
				t.Errorf("%s is %v", key, got[key])
			}
			delete(got, key)
		}
		want := map[string]any{
			"created_at": float64(labStart.Add(time.Hour).UnixMilli()),
			"expires_in": float64(6 * 3600),
			"token_type": "bearer",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if got := w.Header().Get("Date"); got != "Mon, 01 Jun 2026 13:00:00 GMT" {
			t.Errorf("Date %q does not follow the server's clock", got)
		}
	}
}

// spoil changes a token request. Its form is the good body.
type spoil func(t *testing.T, l *lab, r *http.Request, form string)

// body replaces the body.
func body(change func(t *testing.T, good string) string) spoil {
	return func(t *testing.T, _ *lab, r *http.Request, form string) {
		r.Body = io.NopCloser(strings.NewReader(change(t, form)))
	}
}

func only(text string) spoil { return body(func(*testing.T, string) string { return text }) }

func more(tail string) spoil {
	return body(func(_ *testing.T, good string) string { return good + tail })
}

func swap(old, other string) spoil {
	return body(func(t *testing.T, good string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("the good form has no %q", old)
		}
		return strings.Replace(good, old, other, 1)
	})
}

// onServer changes the server, given the client's id.
func onServer(does func(l *lab, id string)) spoil {
	return func(_ *testing.T, l *lab, _ *http.Request, _ string) { does(l, l.Requests()[0].ClientID) }
}

type tokenRefusal struct {
	spoil     spoil
	code, why string
}

func (tc tokenRefusal) test(t *testing.T) {
	l := newLab(t)
	id, secret := l.register(t)
	r := tokenRequest(t, id, secret)
	form, err := io.ReadAll(tokenRequest(t, id, secret).Body)
	if err != nil {
		t.Fatal(err)
	}
	tc.spoil(t, l, r, string(form))
	wantRefusal(t, l, r, tc.code, tc.why)
	if log := l.log.String(); strings.Contains(log, secret) {
		t.Errorf("the log has the secret: %s", log)
	}
}

func TestTokenFormRefusals(t *testing.T) {
	testEach(t, map[string]tokenRefusal{
		"no form": {only("%zz"), "invalid_request", "not a form"},
		"JSON":    {only(`{"grant_type":"client_credentials"}`), "invalid_request", "unsupported"},
		"empty":   {only(""), "invalid_request", "missing"},
		"client_id missing": {
			only("client_secret=x&grant_type=client_credentials"), "invalid_request", "client_id is missing",
		},
		"client_secret empty": {
			only("client_id=x&client_secret=&grant_type=client_credentials"), "invalid_request",
			"client_secret is missing or empty",
		},
		"grant_type missing": {
			swap("&grant_type=client_credentials", ""), "invalid_request", "grant_type is missing",
		},
		"grant_type repeated":    {more("&grant_type=client_credentials"), "invalid_request", "repeated"},
		"client_secret repeated": {more("&client_secret=x"), "invalid_request", "repeated"},
		"unsupported parameter":  {more("&scope=x"), "invalid_request", "unsupported"},
		"too long":               {more(strings.Repeat("x", 64<<10)), "invalid_request", "longer"},
		"another grant type":     {swap("client_credentials", "password"), "unsupported_grant_type", "grant_type"},
		"two ways to sign in": {
			func(_ *testing.T, _ *lab, r *http.Request, _ string) { r.Header.Set("Authorization", "Basic eA==") },
			"invalid_request", "two ways",
		},
		"body breaks off": {
			func(_ *testing.T, _ *lab, r *http.Request, form string) {
				r.Body = io.NopCloser(io.MultiReader(strings.NewReader(form), iotest.ErrReader(io.ErrUnexpectedEOF)))
			}, "invalid_request", "broke off",
		},
		"parameters in the URL": {
			func(_ *testing.T, _ *lab, r *http.Request, form string) { r.URL.RawQuery = form }, "invalid_request", "URL",
		},
	})
}

func TestTokenClientRefusals(t *testing.T) {
	testEach(t, map[string]tokenRefusal{
		"unknown client": {swap("client_id=", "client_id=0"), "invalid_client", "unknown"},
		"wrong secret":   {swap("client_secret=", "client_secret=0"), "invalid_client", "wrong"},
		"revoked":        {onServer(func(l *lab, id string) { l.Revoke(id) }), "invalid_client", "revoked"},
		"unauthorized": {
			onServer(func(l *lab, id string) { l.Unauthorize(id) }), "unauthorized_client", "unauthorized",
		},
		"unauthorized and revoked": {
			onServer(func(l *lab, id string) { l.Unauthorize(id); l.RevokeAll() }), "invalid_client", "revoked",
		},
	})
}

// Both client endpoints refuse the same faults of a request.
func TestClientEndpointRefusals(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(r *http.Request)
		why    string
	}{
		"no Content-Type":   {func(r *http.Request) { r.Header.Del("Content-Type") }, "Content-Type"},
		"two Content-Types": {func(r *http.Request) { r.Header.Add("Content-Type", "text/plain") }, "2 Content-Type"},
		"another Content-Type": {
			func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, "Content-Type is not",
		},
		"another charset":   {func(r *http.Request) { r.Header["Content-Type"][0] += ";charset=latin1" }, "charset"},
		"another parameter": {func(r *http.Request) { r.Header["Content-Type"][0] += ";boundary=utf-8" }, "charset"},
		"a broken Content-Type": {
			func(r *http.Request) { r.Header.Set("Content-Type", "application/json;;=") }, "Content-Type is not",
		},
		"no device info":    {func(r *http.Request) { r.Header.Del("X-Device-Info") }, "0 X-Device-Info"},
		"a bad device info": {func(r *http.Request) { r.Header.Set("X-Device-Info", "e30=") }, "missing"},
		"a query":           {func(r *http.Request) { r.URL.RawQuery = "a=b" }, "URL"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			reg := registration(t)
			reg.Header.Set("Content-Type", "application/json")
			tc.change(reg)
			wantRefusal(t, l, reg, "invalid_request", tc.why)
			id, secret := l.register(t)
			tok := tokenRequest(t, id, secret)
			tc.change(tok)
			wantRefusal(t, l, tok, "invalid_request", tc.why)
		})
	}
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
		for _, path := range []string{"/o/client/register", "/o/client/token"} {
			r := post(t, path, "application/json", "{}")
			r.Method = method
			w := newLab(t).send(r)
			if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "POST" {
				t.Errorf("%s %s: %d, Allow %q", method, path, w.Code, w.Header().Get("Allow"))
			}
		}
	}
}

// wantRefusal expects a 400 with a code, and the reason in the log.
func wantRefusal(t *testing.T, l *lab, r *http.Request, code, why string) {
	t.Helper()
	l.log.Reset()
	w := l.send(r)
	if diff := cmp.Diff(map[string]any{"error": code}, object(t, w)); w.Code != http.StatusBadRequest || diff != "" {
		t.Errorf("%s %s: %d %s, want 400 %s; log: %s", r.Method, r.URL.Path, w.Code, w.Body, code, l.log)
	}
	if !strings.Contains(l.log.String(), why) || l.log.Len() == 0 {
		t.Errorf("the log does not say %q: %s", why, l.log)
	}
	if got := l.Requests(); got[len(got)-1].Error != code || got[len(got)-1].Status != 400 {
		t.Errorf("remembered as %+v", got[len(got)-1])
	}
}
