package client

import (
	"cmp"
	"context"
	"time"
)

// TokenSource gives access tokens in the shape of golang.org/x/oauth2. Ask it before each call, and keep nothing:
// oauth2.ReuseTokenSource would go on with a token that the daemon has replaced. The daemon answers from memory.
//
// The zero value works for whoever may use one app. It is safe for concurrent use.
type TokenSource struct {
	Client  *Client         // nil asks at ipc.DefaultSocket
	App     string          // "" is the one app that the caller may use
	Context context.Context // of every call; nil has no end

	own Client
}

// Token is an access token with the fields of an oauth2.Token.
type Token struct {
	AccessToken string
	TokenType   string    // bearer
	Expiry      time.Time // by the clock of the box
}

// Token returns a token. Its errors are those of Client.
func (s *TokenSource) Token() (Token, error) {
	tok, err := cmp.Or(s.Client, &s.own).Token(cmp.Or(s.Context, context.Background()), s.App, nil)
	return Token{tok.AccessToken, tok.TokenType, tok.ExpiresAt}, err
}
