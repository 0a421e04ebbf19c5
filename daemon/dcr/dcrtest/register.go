package dcrtest

import (
	"encoding/hex"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

const (
	grantType = "client_credentials"
	scope     = "api:client:v2"
)

// The codes of "Retrieve client credentials" and "Retrieve access token".
const (
	codeInvalidRequest      = "invalid_request"
	codeInvalidRedirect     = "invalid_redirect_uri"
	codeInvalidStatement    = "invalid_software_statement"
	codeUnapprovedStatement = "unapproved_software_statement"
	codeInvalidClient       = "invalid_client"
	codeUnauthorizedClient  = "unauthorized_client"
	codeUnsupportedGrant    = "unsupported_grant_type"
)

// client is what a registration creates.
type client struct {
	secret       string
	revoked      bool // the server no longer knows it
	unauthorized bool // it may not ask for tokens
}

// refuse returns an answer of the client endpoints: 400 with a code.
func refuse(code, why string) answer {
	a := jsonAnswer(http.StatusBadRequest, map[string]string{"error": code})
	a.code, a.why = code, why
	return a
}

// register answers POST /o/client/register ("Retrieve client credentials").
func (s *Server) register(c *call) answer {
	if c.Method != http.MethodPost {
		return notPost()
	}
	if why := c.malformed("application/json"); why != "" {
		return refuse(codeInvalidRequest, why)
	}
	body, err := decodeObject(c.body)
	if err != nil {
		return refuse(codeInvalidRequest, "the body "+err.Error())
	}
	if a, ok := s.checkRegistration(body); !ok {
		return a
	}
	id, err := uuid(s.cfg.Random)
	if err != nil {
		return broken(err)
	}
	secret, err := uuid(s.cfg.Random)
	if err != nil {
		return broken(err)
	}
	s.clients[id] = &client{secret: secret}
	c.log.ClientID = id
	redirects := []string{}
	if uri, ok := body["redirect_uri"].(string); ok {
		redirects = append(redirects, uri)
	}
	return jsonAnswer(http.StatusCreated, map[string]any{
		"client_id":           id,
		"client_secret":       secret,
		"client_id_issued_at": c.now.Unix(),
		"redirect_uris":       redirects,
		"grant_types":         []string{grantType},
		"scopes":              []string{scope},
	})
}

// checkRegistration judges the parameters of a registration.
func (s *Server) checkRegistration(body map[string]any) (answer, bool) {
	for name, value := range body {
		if name != "software_statement" && name != "redirect_uri" {
			return refuse(codeInvalidRequest, "the body has an unsupported parameter"), false
		}
		if _, ok := value.(string); !ok {
			return refuse(codeInvalidRequest, name+" is not a string"), false
		}
	}
	statement, _ := body["software_statement"].(string)
	if statement == "" {
		return refuse(codeInvalidRequest, "software_statement is missing or empty"), false
	}
	if err := checkStatement(statement); err != nil {
		return refuse(codeInvalidStatement, err.Error()), false
	}
	if s.unapproved {
		return refuse(codeUnapprovedStatement, "statements are set to be unapproved"), false
	}
	if uri, ok := body["redirect_uri"].(string); ok {
		if u, err := url.Parse(uri); err != nil || !u.IsAbs() || u.Fragment != "" {
			return refuse(codeInvalidRedirect, "redirect_uri is not an absolute URI without fragment"), false
		}
	}
	return answer{}, true
}

// malformed returns what is wrong with the form of a request to a client
// endpoint, "" if nothing is.
func (c *call) malformed(contentType string) string {
	if c.URL.RawQuery != "" {
		return "there are parameters in the URL: secrets do not belong there"
	}
	if why := wrongContentType(c.Header, contentType); why != "" {
		return why
	}
	if _, err := deviceInfo(c.Header); err != nil {
		return err.Error()
	}
	if c.bodyErr != nil {
		return "the body broke off"
	}
	if len(c.body) > maxBody {
		return fmt.Sprintf("the body is longer than %d bytes", maxBody)
	}
	return ""
}

// wrongContentType returns what is wrong with a Content-Type, "" if nothing is.
// The only parameter allowed is a charset of UTF-8.
func wrongContentType(h http.Header, want string) string {
	values := h.Values("Content-Type")
	if len(values) != 1 {
		return fmt.Sprintf("there are %d Content-Type headers, not 1", len(values))
	}
	media, params, err := mime.ParseMediaType(values[0])
	if err != nil || media != want {
		return "the Content-Type is not " + want
	}
	for name, value := range params {
		if name != "charset" || !slices.Contains([]string{"utf-8", "utf8"}, strings.ToLower(value)) {
			return "the Content-Type has a parameter other than charset=utf-8"
		}
	}
	return ""
}

// uuid draws a random UUID, the form of ids in Adobe's samples.
func uuid(random io.Reader) (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", fmt.Errorf("draw an id: %w", err)
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	x := hex.EncodeToString(b[:])
	return strings.Join([]string{x[:8], x[8:12], x[12:16], x[16:20], x[20:]}, "-"), nil
}
