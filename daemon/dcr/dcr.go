// Package dcr speaks Dynamic Client Registration (RFC 7591, as Adobe Pass has
// it): it turns a software statement into client credentials, and client
// credentials into an access token.
//
// It owns the wire: how the server is reached, one HTTP exchange for each call,
// what counts as an answer, and a typed error for everything else. Players'
// requests to the REST API V2 go the same way (see [Client.Send]). It remembers
// nothing but connections, TLS sessions and the server's last good address. It
// never repeats a call: that is the broker's decision.
package dcr

import (
	"context"
	"encoding/json"
	"net/url"
	"time"
)

// RegisterRequest asks for client credentials.
type RegisterRequest struct {
	SoftwareStatement string
	RedirectURI       string // "" leaves it out
	ApplicationID     string // for X-Device-Info; "" leaves it out
}

// Credentials are the answer to a registration. A server must give id and
// secret; the rest is kept if it is given.
type Credentials struct {
	ClientID     string
	ClientSecret string
	IssuedAt     time.Time
	RedirectURIs []string
	GrantTypes   []string
	Scopes       []string

	Date time.Time // the server's clock, if the connection vouches for it; else zero
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
	ID          string        // "" if the server gave none
	ExpiresIn   time.Duration // more than zero, from when the request was sent
	CreatedAt   time.Time     // by the server's clock; zero if it did not say. Not checked: it may be any time.

	Date time.Time // as in Credentials
}

// Register makes one call to /o/client/register ("Retrieve client
// credentials"). Its error is an *Error.
func (c *Client) Register(ctx context.Context, r RegisterRequest) (Credentials, error) {
	body, err := json.Marshal(struct {
		SoftwareStatement string `json:"software_statement"`
		RedirectURI       string `json:"redirect_uri,omitempty"`
	}{r.SoftwareStatement, r.RedirectURI})
	if err != nil {
		return Credentials{}, &Error{Kind: ServerError, Detail: "the registration can't be encoded", err: err}
	}
	ans, err := c.exchange(ctx, exchange{
		path: "/o/client/register", contentType: "application/json;charset=utf-8",
		body: string(body), applicationID: r.ApplicationID, private: []string{r.SoftwareStatement},
	})
	if err != nil {
		return Credentials{}, err
	}
	return ans.credentials()
}

// Token makes one call to /o/client/token ("Retrieve access token"). Its error
// is an *Error. The credentials go in the body: the server refuses two ways of
// authentication at once, and a URL is no place for a secret.
func (c *Client) Token(ctx context.Context, r TokenRequest) (Token, error) {
	form := url.Values{
		"client_id": {r.ClientID}, "client_secret": {r.ClientSecret}, "grant_type": {"client_credentials"},
	}
	ans, err := c.exchange(ctx, exchange{
		path: "/o/client/token", contentType: "application/x-www-form-urlencoded",
		body: form.Encode(), applicationID: r.ApplicationID, private: []string{r.ClientID, r.ClientSecret},
	})
	if err != nil {
		return Token{}, err
	}
	return ans.token()
}
