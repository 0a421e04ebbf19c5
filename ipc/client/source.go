package client

import (
	"cmp"
	"context"
	"time"
)

// TokenSource returns access tokens in the shape of golang.org/x/oauth2. Call it
// before each request and keep no token: oauth2.ReuseTokenSource would go on with
// one that the daemon has replaced. The daemon answers from memory.
//
// The zero value works for a user who may use exactly one app. It is safe for
// concurrent use.
type TokenSource struct {
	Client  *Client         // nil uses ipc.DefaultSocket
	App     string          // "" is the one app that the caller may use
	Context context.Context // of every request; nil is never done

	own Client
}

// Token is an access token with the fields of an oauth2.Token.
type Token struct {
	AccessToken string
	TokenType   string    // bearer
	Expiry      time.Time // by the clock of the device
}

// Token returns a token. Its errors are those of [Client].
func (s *TokenSource) Token() (Token, error) {
	tok, err := cmp.Or(s.Client, &s.own).Token(cmp.Or(s.Context, context.Background()), s.App, nil)
	return Token{tok.AccessToken, tok.TokenType, tok.ExpiresAt}, err
}
