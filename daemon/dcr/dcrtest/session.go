package dcrtest

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	apiPrefix   = "/api/v2/"
	sessionLife = 30 * time.Minute
	codeLength  = 7
	partner     = "Apple" // the one partner for single sign-on
)

// Session is a sign-in that a person has begun on a device, and completes in a
// browser.
type Session struct {
	Code     string `json:"code"`
	Provider string `json:"provider"`
	MVPD     string `json:"mvpd"` // "" until it is chosen
	SignedIn bool   `json:"signed_in"`
}

// session is what stands behind a code.
type session struct {
	Session
	id       string
	viewer   viewer
	params   map[string]string // mvpd, domainName, redirectUrl: those that are known
	device   map[string]any
	created  time.Time
	replaced bool // by a newer one of the same viewer
}

// viewer is who a profile belongs to. To the server, new client credentials or
// another device identifier are another viewer: so a device that registers
// again signs people out.
type viewer struct{ clientID, device, provider string }

func (c *call) viewer() viewer {
	return viewer{c.log.ClientID, c.Header.Get("AP-Device-Identifier"), c.params["provider"]}
}

// sessionParams are what a sign-in needs.
func sessionParams() []string { return []string{"mvpd", "domainName", "redirectUrl"} }

// createSession answers POST {provider}/sessions: with a code to sign in with,
// or with the news that the viewer is signed in already.
func (s *Server) createSession(c *call) answer {
	params, why := c.sessionForm()
	if why != "" {
		return s.refuseAPI(why, "the form of a session")
	}
	if mvpd := params["mvpd"]; mvpd != "" && s.profiles[c.viewer()][mvpd].valid(c.now) {
		return s.sessionAnswer(c, &session{params: params}, "authorize", "direct", "authenticated",
			apiPrefix+c.params["provider"]+"/decisions/authorize/"+mvpd)
	}
	n, err := s.newSession(c, params)
	if err != nil {
		return broken(err)
	}
	return s.sessionState(c, n)
}

// newSession makes a session, which replaces the viewer's earlier ones.
func (s *Server) newSession(c *call, params map[string]string) (*session, error) {
	code, err := newCode(s.cfg.Random)
	if err != nil {
		return nil, err
	}
	id, err := uuid(s.cfg.Random)
	if err != nil {
		return nil, err
	}
	maps.DeleteFunc(s.sessions, func(_ string, old *session) bool { return c.now.Sub(old.created) > 2*sessionLife })
	for _, old := range s.sessions {
		old.replaced = old.replaced || old.viewer == c.viewer()
	}
	device, _ := deviceInfo(c.Header)
	n := &session{id: id, viewer: c.viewer(), params: params, device: device, created: c.now}
	n.Session = Session{Code: code, Provider: c.params["provider"], MVPD: params["mvpd"]}
	s.sessions[code] = n
	return n, nil
}

// resumeSession answers POST {provider}/sessions/{code}, which adds what is
// missing.
func (s *Server) resumeSession(c *call) answer {
	n, refusal := s.session(c)
	if n == nil {
		return refusal
	}
	params, why := c.sessionForm()
	if why != "" {
		return s.refuseAPI(why, "the form of a session")
	}
	maps.Copy(n.params, params)
	n.MVPD = n.params["mvpd"]
	return s.sessionState(c, n)
}

// sessionState says what to do next in a session.
func (s *Server) sessionState(c *call, n *session) answer {
	if len(n.missing()) > 0 {
		return s.sessionAnswer(c, n, "resume", "direct", "none", apiPrefix+n.Provider+"/sessions/"+n.Code)
	}
	return s.sessionAnswer(c, n, "authenticate", "interactive", "none", apiPrefix+"authenticate/"+n.Provider+"/"+n.Code)
}

// sessionAnswer is a SessionResponse. Its url is relative to the endpoint.
func (s *Server) sessionAnswer(c *call, n *session, action, kind, reason, url string) answer {
	id := n.id
	if id == "" {
		var err error
		if id, err = uuid(s.cfg.Random); err != nil {
			return broken(err)
		}
	}
	v := map[string]any{
		"actionName": action, "actionType": kind, "reasonType": reason, "url": url,
		"sessionId": id, "serviceProvider": c.params["provider"],
	}
	if mvpd := n.params["mvpd"]; mvpd != "" {
		v["mvpd"] = mvpd
	}
	if n.Code != "" {
		v["code"], v["missingParameters"] = n.Code, n.missing()
		v["notBefore"], v["notAfter"] = millis(n.created), millis(n.created.Add(sessionLife))
	}
	return apiAnswer(200, v)
}

func (n *session) missing() []string {
	missing := []string{}
	for _, name := range sessionParams() {
		if n.params[name] == "" {
			missing = append(missing, name)
		}
	}
	return missing
}

// showSession answers GET {provider}/sessions/{code}.
func (s *Server) showSession(c *call) answer {
	n, refusal := s.session(c)
	if n == nil {
		return refusal
	}
	existing := maps.Clone(n.params)
	existing["serviceProvider"] = n.Provider
	return apiAnswer(200, map[string]any{
		"existingParameters": existing, "missingParameters": n.missing(),
		"notBefore": millis(n.created), "notAfter": millis(n.created.Add(sessionLife)),
		"device": map[string]any{
			"type": n.device["primaryHardwareType"], "model": n.device["model"], "applicationId": n.device["applicationId"],
		},
	})
}

// session returns the session of the code in the path, or the refusal of one
// that is not valid. Any device of the service provider may use the code: a
// phone helps to sign a television in.
func (s *Server) session(c *call) (*session, answer) {
	n := s.sessions[c.params["code"]]
	switch {
	case n == nil || n.Provider != c.params["provider"]:
		return nil, s.refuseAPI("invalid_parameter_code", "the code is unknown")
	case n.replaced:
		return nil, s.refuseAPI("authentication_session_invalidated", "a newer code has replaced this one")
	case !c.now.Before(n.created.Add(sessionLife)):
		return nil, s.refuseAPI("authentication_session_expired", "the code has expired")
	}
	return n, answer{}
}

// sessionForm reads the form of a session; code is the error if it can't be
// read.
func (c *call) sessionForm() (params map[string]string, code string) {
	params = map[string]string{}
	if len(c.body) == 0 {
		return params, ""
	}
	if wrongContentType(c.Header, "application/x-www-form-urlencoded") != "" {
		return nil, "malformed_authz_request"
	}
	form, err := url.ParseQuery(string(c.body))
	if err != nil {
		return nil, "malformed_authz_request"
	}
	for _, name := range sessionParams() {
		if value := form.Get(name); value != "" {
			params[name] = value
		}
	}
	if mvpd := params["mvpd"]; mvpd != "" && !knownMVPD(mvpd) {
		return nil, "invalid_parameter_mvpd"
	}
	if to, err := url.Parse(params["redirectUrl"]); params["redirectUrl"] != "" && (err != nil || !to.IsAbs()) {
		return nil, "invalid_parameter_redirect_url"
	}
	return params, ""
}

// partnerRequest answers POST {provider}/sessions/sso/{partner}: a request for
// the partner to sign, or a session of the ordinary kind if the partner's
// framework has not said that it may.
func (s *Server) partnerRequest(c *call) answer {
	if c.params["partner"] != partner {
		return s.refuseAPI("invalid_parameter_partner", "the partner is not "+partner)
	}
	params, why := c.sessionForm()
	if why != "" {
		return s.refuseAPI(why, "the form of a session")
	}
	if c.Header.Get("AP-Partner-Framework-Status") == "" {
		n, err := s.newSession(c, params)
		if err != nil {
			return broken(err)
		}
		return s.sessionState(c, n)
	}
	id, err := uuid(s.cfg.Random)
	if err != nil {
		return broken(err)
	}
	const saml = `<samlp:AuthnRequest xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" ID="_%s" Version="2.0"/>`
	request := fmt.Sprintf(saml, id)
	return apiAnswer(200, map[string]any{
		"actionName": "partner_profile", "actionType": "partner_interactive", "reasonType": "none",
		"url":       apiPrefix + c.params["provider"] + "/profiles/sso/" + partner,
		"sessionId": id, "serviceProvider": c.params["provider"], "mvpd": regularMVPD,
		"authenticationRequest": map[string]any{
			"type": "saml", "request": base64.StdEncoding.EncodeToString([]byte(request)),
			"attributesNames": []string{"eduPersonPrincipalName"},
		},
	})
}

// SignIn completes a sign-in, as a person does in the browser. mvpd may be ""
// if the session has one.
func (s *Server) SignIn(code, mvpd string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.signIn(code, mvpd, s.now())
}

func (s *Server) signIn(code, mvpd string, now time.Time) error {
	n := s.sessions[code]
	if n == nil || n.replaced || !now.Before(n.created.Add(sessionLife)) {
		return errors.New("there is no such code, or it is not valid any more")
	}
	if mvpd == "" {
		mvpd = n.MVPD
	}
	if !knownMVPD(mvpd) {
		return fmt.Errorf("mvpd %q is not in the configuration", mvpd)
	}
	n.MVPD, n.SignedIn, n.params["mvpd"] = mvpd, true, mvpd
	s.addProfile(n.viewer, mvpd, "regular", now)
	return nil
}

// SignOut signs every viewer out.
func (s *Server) SignOut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.profiles)
}

// Sessions returns the sessions whose codes are valid, in the order of their
// codes.
func (s *Server) Sessions() []Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := []Session{}
	for _, n := range s.sessions {
		if !n.replaced && s.now().Before(n.created.Add(sessionLife)) {
			list = append(list, n.Session)
		}
	}
	slices.SortFunc(list, func(a, b Session) int { return strings.Compare(a.Code, b.Code) })
	return list
}

// newCode draws a code that a person can type. Every letter in it can be told
// from the others.
func newCode(random io.Reader) (string, error) {
	const letters = "BCDFGHJKMNPQRSTVWXYZ23456789"
	b := make([]byte, codeLength)
	if _, err := io.ReadFull(random, b); err != nil {
		return "", fmt.Errorf("draw a code: %w", err)
	}
	for i := range b {
		b[i] = letters[int(b[i])%len(letters)]
	}
	return string(b), nil
}

// millis is a time as sessions have it: milliseconds in a string.
func millis(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }
