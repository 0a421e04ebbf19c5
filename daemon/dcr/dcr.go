// Package dcr speaks Dynamic Client Registration (RFC 7591, as Adobe Pass has it): a software statement becomes client
// credentials, client credentials become an access token.
//
// It owns the wire: one HTTP exchange for each call, what counts as an answer, and a typed error for all else. It remembers
// nothing but connections and TLS sessions, and never repeats a call by itself: that is the broker's to decide.
package dcr

import (
	"context"
	"encoding/json"
	"net/url"
	"strings"
	"time"
)

// RegisterRequest asks for client credentials.
type RegisterRequest struct {
	SoftwareStatement string
	RedirectURI       string // "" leaves it out
	ApplicationID     string // for X-Device-Info; "" leaves it out
}

// Credentials are the answer to a registration. A server must give id and secret; the rest is kept when given.
type Credentials struct {
	ClientID     string
	ClientSecret string
	IssuedAt     time.Time
	RedirectURIs []string
	GrantTypes   []string
	Scopes       []string

	Date time.Time // the server's clock, where the connection vouches for it; else zero
}

// TokenRequest asks for an access token.
type TokenRequest struct {
	ClientID      string
	ClientSecret  string
	ApplicationID string // for X-Device-Info; "" leaves it out
}

// Token is an access token.
type Token struct {
	AccessToken string
	ID          string        // "" where the server gave none
	ExpiresIn   time.Duration // more than zero, from when the request was sent

	Date time.Time // as in Credentials
}

// maxLife bounds what a server can say of a token's life, so that no sum with it overflows.
const maxLife = 366 * 24 * time.Hour

// Register makes one call to /o/client/register ("Retrieve client credentials"). Its error is an *Error.
func (c *Client) Register(ctx context.Context, r RegisterRequest) (Credentials, error) {
	body, err := json.Marshal(struct {
		SoftwareStatement string `json:"software_statement"`
		RedirectURI       string `json:"redirect_uri,omitempty"`
	}{r.SoftwareStatement, r.RedirectURI})
	if err != nil {
		return Credentials{}, &Error{Kind: ServerError, Detail: "the registration can't be written down", err: err}
	}
	ans, err := c.exchange(ctx, exchange{
		path: "/o/client/register", contentType: "application/json;charset=utf-8", body: string(body), applicationID: r.ApplicationID,
	})
	if err != nil {
		return Credentials{}, err
	}
	cred := Credentials{ClientID: ans.text("client_id"), ClientSecret: ans.text("client_secret"), Date: ans.date}
	if cred.ClientID == "" || cred.ClientSecret == "" {
		return Credentials{}, ans.unusable("without a client_id and a client_secret")
	}
	if at := ans.number("client_id_issued_at"); at > 0 && at < 1<<40 {
		cred.IssuedAt = time.Unix(int64(at), 0).UTC()
	}
	cred.RedirectURIs, cred.GrantTypes, cred.Scopes = ans.texts("redirect_uris"), ans.texts("grant_types"), ans.texts("scopes")
	return cred, nil
}

// Token makes one call to /o/client/token ("Retrieve access token"). Its error is an *Error. The credentials go in the
// body: the server refuses two ways of authentication at once, and a URL is no place for a secret.
func (c *Client) Token(ctx context.Context, r TokenRequest) (Token, error) {
	form := url.Values{
		"client_id": {r.ClientID}, "client_secret": {r.ClientSecret}, "grant_type": {"client_credentials"},
	}
	ans, err := c.exchange(ctx, exchange{
		path: "/o/client/token", contentType: "application/x-www-form-urlencoded", body: form.Encode(), applicationID: r.ApplicationID,
	})
	if err != nil {
		return Token{}, err
	}
	tok := Token{AccessToken: ans.text("access_token"), ID: ans.text("id"), Date: ans.date}
	if tok.AccessToken == "" || strings.ContainsFunc(tok.AccessToken, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return Token{}, ans.unusable("without an access_token that fits into a header")
	}
	life := ans.number("expires_in")
	if life <= 0 {
		return Token{}, ans.unusable("without an expires_in above zero")
	}
	if kind, given := ans.fields["token_type"]; given && !strings.EqualFold(text(kind), "bearer") {
		return Token{}, ans.unusable("with a token_type other than bearer")
	}
	tok.ExpiresIn = maxLife
	if life < maxLife.Seconds() {
		tok.ExpiresIn = time.Duration(life * float64(time.Second))
	}
	if tok.ExpiresIn <= 0 {
		return Token{}, ans.unusable("without an expires_in above zero")
	}
	return tok, nil
}
