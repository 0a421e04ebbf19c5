package main

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
)

// tvpassd api makes calls as curl would: bodies of every kind, headers, the
// server's answer byte for byte, and exit status 1 for any but a 2xx.
func TestAPICommand(t *testing.T) {
	l := newLab(t, "-no-throttle")
	l.up()
	l.token()
	api := func(code int, stdin string, want string, args ...string) result {
		t.Helper()
		args = append([]string{"api", "--config", l.path("config.toml")}, args...)
		r := l.exec(nil, stdin, programs.tvpassd, args...)
		r.expect(t, code, want)
		return r
	}
	const form = "mvpd=Cablevision&domainName=adobe.com&redirectUrl=https%3A%2F%2Ftv.example%2Fdone"
	const resources = `{"resources":["REF30","denied-1"]}`
	configuration := api(0, "", `{"requestor":`, "REF30/configuration").stdout
	for _, path := range []string{"/REF30/configuration", "/api/v2/REF30/configuration", "api/v2/REF30/configuration"} {
		if r := api(0, "", "", "--app", "ref30", path); r.stdout != configuration || r.stderr != "" {
			t.Errorf("%s: another answer: %+v", path, r)
		}
	}
	l.write("form", form)
	api(0, "", `"code":"`, "-d", form, "REF30/sessions")
	api(0, "", `"code":"`, "-d", "@"+l.path("form"), "REF30/sessions")
	code := field(t, api(0, form, `"code":"`, "-d", "-", "REF30/sessions").stdout, "code")
	l.order("POST", "/sign-in", `{"code":"`+code+`"}`)
	api(0, "", `"Cablevision"`, "REF30/profiles/code/"+code)
	api(0, "", `"serializedToken"`, "-d", resources, "REF30/decisions/authorize/Cablevision")
	api(0, "", `"logout"`, "REF30/logout/Cablevision?redirectUrl=app%3Ax")

	// A refusal is printed, and said in words.
	r := api(1, "", "tvpassd: the server answered 403 Forbidden: authenticated_profile_missing: There is no",
		"-d", resources, "REF30/decisions/authorize/Cablevision")
	if !json.Valid([]byte(r.stdout)) || field(t, r.stdout, "code") != "authenticated_profile_missing" {
		t.Errorf("the server's answer was not printed: %q", r.stdout)
	}
	api(1, "", "405 Method Not Allowed", "-X", "POST", "REF30/configuration")
	for _, method := range []string{"PUT", "HEAD"} {
		api(1, "", "tvpassd: method_not_allowed", "-X", method, "REF30/configuration")
	}
	api(1, "", "tvpassd: not_for_gateway", "authenticate/REF30/"+code)
	api(1, "", "tvpassd: invalid_parameter", "REF30/../x")
	api(1, "", "tvpassd: unknown_app", "--app", "none", "REF30/configuration")
	api(1, "", "no such file", "-d", "@/nonexistent", "REF30/sessions")
	for _, args := range [][]string{{}, {"a", "b"}, {"-H", "no colon", "a"}} {
		api(64, "", "tvpassd: ", args...)
	}
	api(1, "", "400 Bad Request: malformed_authz_request", "-H", "Content-Type: text/plain", "-d", form, "REF30/sessions")
	l.order("POST", "/fault", `{"path":"api","kind":"status","status":500,"count":1}`)
	api(1, "", "tvpassd: the server answered 500 Internal Server Error\n", "REF30/configuration")
}

// Several bodies are one form, and a long refusal is printed whole.
func TestAPICommandBodies(t *testing.T) {
	page := strings.Repeat("a long page ", 200<<10)
	l := newAPILab(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		io.WriteString(w, page)
	})
	l.up()
	l.token()
	l.write("part", "b=2")
	r := l.run("api", "-d", "a=1", "-d", "@"+l.path("part"), "-d", "c=3", "REF30/sessions")
	r.expect(t, 1, "tvpassd: the server answered 403 Forbidden\n")
	if r.stdout != page {
		t.Errorf("%d bytes of %d were printed", len(r.stdout), len(page))
	}
	if got := l.calls()[0].body; got != "a=1&b=2&c=3" {
		t.Errorf("the server got %q", got)
	}
}

// Headers go along, and Prefer is the daemon's.
func TestAPICommandWaits(t *testing.T) {
	l := newLab(t, "-fault", "path=token kind=hang")
	l.up()
	r := l.run("api", "-H", "Prefer: wait=0", "REF30/configuration")
	r.expect(t, 1, "tvpassd: ")
	if n := len(l.requests("/configuration")); n > 0 || strings.Count(r.stderr, "\n") != 1 {
		t.Errorf("%d calls, %q", n, r.stderr)
	}
}
