package dcr

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// The longest values that are accepted. Real tokens have 1 kB, ids and secrets
// 36 bytes.
const (
	maxToken = 16 << 10
	maxName  = 4 << 10
)

// forbidden is the rest of what an error says about a value.
const forbidden = "or has characters that RFC 6749 forbids"

// maxLife bounds what a server can say of a token's life, so that no sum with
// it overflows.
const maxLife = 366 * 24 * time.Hour

// credentials returns the credentials in an answer.
func (a *answer) credentials() (Credentials, error) {
	cred := Credentials{ClientID: a.text("client_id"), ClientSecret: a.text("client_secret"), Date: a.date}
	switch {
	case cred.ClientID == "" || cred.ClientSecret == "":
		return Credentials{}, a.unusable("without a client_id and a client_secret")
	case !allowed(cred.ClientID, maxName) || !allowed(cred.ClientSecret, maxName):
		return Credentials{}, a.unusable("with a client_id or client_secret that is longer than 4 KiB, " + forbidden)
	}
	cred.IssuedAt = a.instant("client_id_issued_at")
	cred.RedirectURIs = a.texts("redirect_uris")
	cred.GrantTypes, cred.Scopes = a.texts("grant_types"), a.texts("scopes")
	return cred, nil
}

// token returns the access token in an answer.
func (a *answer) token() (Token, error) {
	tok := Token{
		AccessToken: a.text("access_token"), ID: a.text("id"),
		ExpiresIn: maxLife, CreatedAt: a.instant("created_at"), Date: a.date,
	}
	if life := a.number("expires_in"); life < maxLife.Seconds() {
		tok.ExpiresIn = time.Duration(life * float64(time.Second))
	}
	switch {
	case tok.AccessToken == "" || strings.Contains(tok.AccessToken, " "):
		return Token{}, a.unusable("without an access_token that fits into a header")
	case !allowed(tok.AccessToken, maxToken):
		return Token{}, a.unusable("with an access_token that is longer than 16 KiB, " + forbidden)
	case !allowed(tok.ID, maxName):
		return Token{}, a.unusable("with an id that is longer than 4 KiB, " + forbidden)
	case tok.ExpiresIn <= 0:
		return Token{}, a.unusable("without an expires_in above zero")
	case !bearer(a.fields["token_type"]):
		return Token{}, a.unusable("with a token_type other than bearer")
	}
	return tok, nil
}

// allowed reports whether a value has at most so many bytes, all of them
// printable ASCII (RFC 6749, appendix A).
func allowed(value string, most int) bool {
	return len(value) <= most && !strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' })
}

// bearer reports whether a token_type is bearer, or left open.
func bearer(tokenType json.RawMessage) bool {
	if tokenType == nil {
		return true
	}
	var kind string
	err := json.Unmarshal(tokenType, &kind)
	return err == nil && (kind == "" || strings.EqualFold(kind, "bearer"))
}

// unusable is the error of an answer that lacks what the call needs.
func (a *answer) unusable(what string) *Error {
	detail := fmt.Sprintf("the server answers HTTP %d %s", a.status, what)
	return &Error{Kind: ServerError, Status: a.status, Detail: detail, Date: a.date}
}

// text returns a field that is a string; "" for any other.
func (a *answer) text(name string) string {
	var s string
	if json.Unmarshal(a.fields[name], &s) != nil {
		return ""
	}
	return s
}

// number returns a field that is a number, or a string that holds one; 0 for
// any other.
func (a *answer) number(name string) float64 {
	raw := a.fields[name]
	if s := a.text(name); s != "" {
		raw = []byte(s)
	}
	var f float64
	if json.Unmarshal(raw, &f) != nil {
		return 0
	}
	return f
}

// instant returns a field that is a time in seconds or milliseconds since the
// epoch, as their size tells; the zero time for any other.
func (a *answer) instant(name string) time.Time {
	const mostSeconds = 1e11 // the year 5138; as milliseconds, 1973
	n := int64(a.number(name))
	if n > 0 && n < mostSeconds {
		n *= 1000
	}
	if n <= 0 || n >= 1000*mostSeconds {
		return time.Time{}
	}
	return time.UnixMilli(n).UTC()
}

// texts returns a field that is a list of strings; nil for any other, and for
// one that is too long to keep.
func (a *answer) texts(name string) []string {
	var list []string
	if len(a.fields[name]) > maxName || json.Unmarshal(a.fields[name], &list) != nil {
		return nil
	}
	return list
}
