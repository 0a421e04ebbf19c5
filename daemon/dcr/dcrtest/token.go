package dcrtest

import (
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"time"
)

// token is what stands behind an access token.
type token struct {
	clientID string
	expires  time.Time // by the server's clock
}

// token answers POST /o/client/token ("Retrieve access token").
func (s *Server) token(c *call) answer {
	if c.Method != http.MethodPost {
		return notPost()
	}
	if why := c.malformed("application/x-www-form-urlencoded"); why != "" {
		return refuse(codeInvalidRequest, why)
	}
	if c.Header.Get("Authorization") != "" {
		return refuse(codeInvalidRequest, "an Authorization header beside the form: two ways of authenticating the client")
	}
	form, why := parseForm(c.body)
	if why != "" {
		return refuse(codeInvalidRequest, why)
	}
	id := form["client_id"]
	c.log.ClientID = id
	if form["grant_type"] != grantType {
		return refuse(codeUnsupportedGrant, "the grant_type is not "+grantType)
	}
	known := s.clients[id]
	switch {
	case known == nil:
		c.log.ClientID = "" // a client that got this wrong may have sent its secret
		return refuse(codeInvalidClient, "the client_id is unknown")
	case known.revoked:
		return refuse(codeInvalidClient, "the client was revoked")
	case known.secret != form["client_secret"]:
		return refuse(codeInvalidClient, "the client_secret is wrong")
	case known.unauthorized:
		return refuse(codeUnauthorizedClient, "the client is set to be unauthorized")
	}
	return s.issue(c, id)
}

// issue makes an access token of a client.
func (s *Server) issue(c *call, clientID string) answer {
	id, err := uuid(s.cfg.Random)
	if err != nil {
		return broken(err)
	}
	expires := c.now.Add(s.tokenLife)
	access, err := accessToken(s.cfg.Random, id, clientID, expires)
	if err != nil {
		return broken(err)
	}
	// Expired tokens are dropped. A test that turns the clock back finds them
	// unknown, as with any server.
	maps.DeleteFunc(s.tokens, func(_ string, t token) bool { return !t.expires.After(c.now) })
	s.tokens[access] = token{clientID: clientID, expires: expires}
	return jsonAnswer(s.cfg.TokenStatus, map[string]any{
		"id":           id,
		"access_token": access,
		"created_at":   c.now.UnixMilli(),
		"expires_in":   int64(s.tokenLife / time.Second),
		"token_type":   "bearer",
	})
}

// accessToken makes a token of the form and size of Adobe's: a JWS signed by a
// long RSA key. Clients must not look into it, so its signature is random,
// which makes it hard to guess.
func accessToken(random io.Reader, id, clientID string, expires time.Time) (string, error) {
	signature := make([]byte, 256)
	if _, err := io.ReadFull(random, signature); err != nil {
		return "", fmt.Errorf("draw an access token: %w", err)
	}
	claims := map[string]any{"iss": "passsim", "jti": id, "sub": clientID, "exp": expires.Unix(), "scopes": scope}
	return part(map[string]any{"alg": "RS256", "typ": "JWT"}) + "." + part(claims) + "." +
		base64.RawURLEncoding.EncodeToString(signature), nil
}

// parseForm reads the three parameters. Each must be there once, and nothing
// else; why is what is wrong.
func parseForm(body []byte) (form map[string]string, why string) {
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, "the body is not a form" // the error would quote the body
	}
	form = map[string]string{"client_id": "", "client_secret": "", "grant_type": ""}
	for name, given := range values {
		if _, ok := form[name]; !ok {
			return nil, "the form has an unsupported parameter"
		}
		if len(given) > 1 {
			return nil, name + " is repeated"
		}
		form[name] = given[0]
	}
	for name, value := range form {
		if value == "" {
			return nil, fmt.Sprintf("%s is missing or empty", name)
		}
	}
	return form, ""
}
