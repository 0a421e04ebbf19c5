package server

import (
	"encoding/json"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/tvpassd/tvpassd/ipc"
)

// appendToken appends the token object to b. plain means that the access token
// needs no escapes. It is written by hand because every request of every player
// comes through here, on devices where reflection is slow.
func appendToken(b []byte, t ipc.Token, plain bool) []byte {
	b = appendString(append(b, `{"app":`...), t.App)
	b = append(b, `,"access_token":`...)
	if plain {
		b = appendPlain(b, t.AccessToken)
	} else {
		b = appendString(b, t.AccessToken)
	}
	b = appendString(append(b, `,"token_type":`...), t.TokenType)
	if t.ID != "" {
		b = appendString(append(b, `,"id":`...), t.ID)
	}
	b = t.IssuedAt.UTC().AppendFormat(append(b, `,"issued_at":"`...), time.RFC3339)
	b = t.ExpiresAt.UTC().AppendFormat(append(b, `","expires_at":"`...), time.RFC3339)
	b = strconv.AppendInt(append(b, `","expires_in":`...), t.ExpiresIn, 10)
	return append(b, '}')
}

// appendString appends s as a JSON string.
func appendString(b []byte, s string) []byte {
	if !plain(s) {
		quoted, _ := json.Marshal(s) // a string never fails
		return append(b, quoted...)
	}
	return appendPlain(b, s)
}

// plain reports whether s needs no escapes in JSON.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

func appendPlain(b []byte, s string) []byte {
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
