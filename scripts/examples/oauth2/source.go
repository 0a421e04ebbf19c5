// Package oauth2 hands the tokens of tvpassd to programs that are written for
// golang.org/x/oauth2. It is a module of its own: tvpassd does not depend on that
// one. Copy it.
package oauth2

import (
	"golang.org/x/oauth2"

	"github.com/tvpassd/tvpassd/ipc/client"
)

// Source is an oauth2.TokenSource. Do not wrap it in oauth2.ReuseTokenSource, nor
// use it with oauth2.NewClient, which does: a token that was kept may have been
// replaced. The zero value works for a user who may use exactly one app.
type Source struct{ client.TokenSource }

var _ oauth2.TokenSource = (*Source)(nil)

// Token asks the daemon, which answers from memory.
func (s *Source) Token() (*oauth2.Token, error) {
	tok, err := s.TokenSource.Token()
	if err != nil {
		return nil, err
	}
	return &oauth2.Token{AccessToken: tok.AccessToken, TokenType: tok.TokenType, Expiry: tok.Expiry}, nil
}
