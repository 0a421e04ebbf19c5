package dcrtest

import (
	"net/http"
	"slices"
	"strings"
)

// helpURL is the page that the errors lead to.
const helpURL = "https://experienceleague.adobe.com/docs/pass/authentication/auth-features/error-reportn/" +
	"enhanced-error-codes.html"

// operation is one of REST API V2.
type operation struct {
	name   string // as faults and the log of requests call it
	method string
	path   string // behind /api/v2/, with names of parameters in braces
	answer func(*Server, *call) answer
}

// operations are those of Adobe's "REST API V2". The first whose path fits a
// request answers it.
func operations() []operation {
	return []operation{
		{"authenticate", "GET", "authenticate/{provider}/{code}", (*Server).authenticate},
		{"configuration", "GET", "{provider}/configuration", (*Server).configuration},
		{"sessions", "POST", "{provider}/sessions", (*Server).createSession},
		{"sso", "POST", "{provider}/sessions/sso/{partner}", (*Server).partnerRequest},
		{"sessions", "POST", "{provider}/sessions/{code}", (*Server).resumeSession},
		{"sessions", "GET", "{provider}/sessions/{code}", (*Server).showSession},
		{"profiles", "GET", "{provider}/profiles", (*Server).showProfiles},
		{"sso", "POST", "{provider}/profiles/sso/{partner}", (*Server).partnerProfile},
		{"profiles_code", "GET", "{provider}/profiles/code/{code}", (*Server).codeProfile},
		{"profiles", "GET", "{provider}/profiles/{mvpd}", (*Server).showProfiles},
		{"preauthorize", "POST", "{provider}/decisions/preauthorize/{mvpd}", (*Server).preauthorize},
		{"authorize", "POST", "{provider}/decisions/authorize/{mvpd}", (*Server).authorize},
		{"logout", "GET", "{provider}/logout/{mvpd}", (*Server).logout},
	}
}

// operationNames lists the names once each.
func operationNames() []string {
	var names []string
	for _, op := range operations() {
		names = append(names, op.name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// operationOf returns the operation that a request asks for; false if there is
// none. Its method is another one if only the path fits.
func operationOf(r *http.Request) (op operation, params map[string]string, ok bool) {
	path := strings.Split(strings.TrimPrefix(r.URL.Path, apiPrefix), "/")
	for _, candidate := range operations() {
		values, fits := match(strings.Split(candidate.path, "/"), path)
		if fits && (!ok || candidate.method == r.Method) {
			op, params, ok = candidate, values, true
		}
		if ok && op.method == r.Method {
			break
		}
	}
	return op, params, ok
}

// match compares a path with a pattern, and returns the values of its
// parameters.
func match(pattern, path []string) (map[string]string, bool) {
	if len(pattern) != len(path) {
		return nil, false
	}
	values := map[string]string{}
	for i, part := range pattern {
		name, isParam := strings.CutPrefix(part, "{")
		switch {
		case isParam && path[i] != "":
			values[strings.TrimSuffix(name, "}")] = path[i]
		case part != path[i]:
			return nil, false
		}
	}
	return values, true
}

// api answers everything under /api/v2/. It judges the headers that the
// checklist of "REST API V2" wants on every request, though some pages make two
// of them optional.
func (s *Server) api(c *call) answer {
	op, params, ok := operationOf(c.Request)
	c.params = params
	if ok && op.name == "authenticate" { // a browser opens it, without the headers
		return op.answer(s, c)
	}
	if why := s.checkBearer(c); why != "" {
		return s.refuseAPI("invalid_access_token_client_application", why)
	}
	if err := checkIdentifier(c.Header); err != nil {
		return s.refuseAPI("invalid_header_device_identifier", err.Error())
	}
	if _, err := deviceInfo(c.Header); err != nil {
		return s.refuseAPI("invalid_header_device_info", err.Error())
	}
	switch {
	case !ok:
		return s.refuseAPI("not_found", "there is no such operation")
	case op.method != c.Method:
		a := s.refuseAPI("method_not_allowed", "the method is not "+op.method)
		a.header().Set("Allow", op.method)
		return a
	case c.bodyErr != nil || len(c.body) > maxAPIBody:
		return s.refuseAPI("malformed_authz_request", "the body broke off, or is too long")
	case len(s.cfg.Providers) > 0 && !slices.Contains(s.cfg.Providers, c.params["provider"]):
		return s.refuseAPI("invalid_access_token_service_provider", "the service provider is another client's")
	}
	if mvpd, given := c.params["mvpd"]; given && !knownMVPD(mvpd) {
		return s.refuseAPI("invalid_parameter_mvpd", "the MVPD is not in the configuration")
	}
	return op.answer(s, c)
}

// checkBearer returns what is wrong with the access token, "" if nothing is.
func (s *Server) checkBearer(c *call) string {
	access, ok := strings.CutPrefix(c.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return "there is no Authorization: Bearer header"
	}
	if len(c.Header.Values("Authorization")) > 1 {
		return "there are several Authorization headers"
	}
	t, ok := s.tokens[access]
	if !ok {
		return "the access token is unknown"
	}
	c.log.ClientID = t.clientID
	if !t.expires.After(c.now) {
		return "the access token has expired"
	}
	return ""
}
