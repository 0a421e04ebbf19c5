package dcrtest_test

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// A person signs in with a browser, at the url of the session.
func TestPages(t *testing.T) {
	p := newPlayer(t)
	server := httptest.NewServer(p.lab)
	t.Cleanup(server.Close)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar}
	read := func(resp *http.Response, err error) (string, *url.URL) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("%d %s %v", resp.StatusCode, body, err)
		}
		return string(body), resp.Request.URL
	}
	done := httptest.NewServer(
		http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "back") }),
	)
	t.Cleanup(done.Close)
	for redirect, want := range map[string]string{"app:x": "go back to your television", done.URL: "back"} {
		form := url.Values{"mvpd": {"Cablevision"}, "domainName": {"adobe.com"}, "redirectUrl": {redirect}}
		s := p.call("POST REF30/sessions", form.Encode(), 200)
		page, at := read(browser.Get(server.URL + s["url"].(string)))
		if !strings.Contains(page, "Sign in with Cablevision") || !strings.Contains(page, `method="post"`) {
			t.Errorf("page %s", page)
		}
		if page, _ := read(browser.Post(at.String(), "", nil)); !strings.Contains(page, want) {
			t.Errorf("after the sign-in: %s", page)
		}
		if got := p.call("GET REF30/profiles/code/"+s["code"].(string), "", 200); len(
			got["profiles"].(map[string]any),
		) != 1 {
			t.Errorf("profiles %v", got)
		}
		out := p.call("GET REF30/logout/Cablevision?redirectUrl="+url.QueryEscape(redirect), "", 200)
		logout := out["logouts"].(map[string]any)["Cablevision"].(map[string]any)["url"].(string)
		if page, _ := read(browser.Get(server.URL + logout)); redirect == done.URL && page != "back" ||
			redirect != done.URL && !strings.Contains(page, "signed out") {
			t.Errorf("after the logout: %s", page)
		}
	}
	for range 2 {
		if page, _ := read(browser.Post(server.URL+"/mvpd/login?code=NOSUCH1", "", nil)); !strings.Contains(
			page,
			"not valid",
		) {
			t.Errorf("a code that does not exist: %s", page)
		}
	}
}
