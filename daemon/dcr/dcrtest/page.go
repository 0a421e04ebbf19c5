package dcrtest

import (
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// The pages of a TV provider. They are outside the throttle.
const (
	loginPath  = "/mvpd/login"
	logoutPath = "/adobe-services/logout"
)

// authenticate answers GET authenticate/{provider}/{code}, which a person opens
// in a browser: it leads to the TV provider's page.
func (s *Server) authenticate(c *call) answer {
	n, refusal := s.session(c)
	switch {
	case n == nil:
		return refusal
	case len(n.missing()) > 0:
		return s.refuseAPI("invalid_parameter_mvpd", "the session lacks "+strings.Join(n.missing(), ", "))
	}
	return found(loginPath + "?" + url.Values{"code": {n.Code}}.Encode())
}

// found redirects a browser.
func found(to string) answer {
	a := answer{status: http.StatusFound}
	a.header().Set("Location", to)
	return a
}

// page answers what a browser asks of a TV provider; false if there is no such
// page.
func (s *Server) page(c *call) (answer, bool) {
	code := c.URL.Query().Get("code")
	switch {
	case c.URL.Path == logoutPath:
		if to := c.URL.Query().Get("redirectUrl"); opens(to) {
			return found(to), true
		}
		return html("You are signed out", "", ""), true
	case c.URL.Path != loginPath:
		return answer{}, false
	case c.Method != http.MethodPost:
		n := s.sessions[code]
		if n == nil {
			return html("This code is not valid", "", ""), true
		}
		return html("Sign in with "+n.MVPD, code, "Sign in"), true
	}
	if err := s.signIn(code, "", c.now); err != nil {
		return html("This code is not valid", "", ""), true
	}
	if to := s.sessions[code].params["redirectUrl"]; opens(to) {
		return found(to), true
	}
	return html("You are signed in: go back to your television", "", ""), true
}

// opens reports whether a browser can be sent to a URL; an app's own scheme is
// not for it.
func opens(to string) bool {
	u, err := url.Parse(to)
	return err == nil && slices.Contains([]string{"http", "https"}, u.Scheme)
}

// html returns a page with a button, unless that is "".
func html(title, code, button string) answer {
	const page = `<!DOCTYPE html>
<title>{{.Title}}</title>
<h1>{{.Title}}</h1>
{{if .Button}}<form method="post" action="{{.Action}}"><button>{{.Button}}</button></form>
{{end}}`
	var body strings.Builder
	err := template.Must(template.New("").Parse(page)).Execute(&body, map[string]string{
		"Title": title, "Button": button, "Action": loginPath + "?" + url.Values{"code": {code}}.Encode(),
	})
	if err != nil {
		return broken(err)
	}
	return htmlAnswer(http.StatusOK, body.String())
}
