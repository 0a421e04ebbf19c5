package config

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
)

// Statement holds claims of a software statement. Without its issuer's key nothing
// proves them. Claims that are missing or of the wrong type are left out.
type Statement struct {
	Issuer, Name string // iss, software_name
	IssuedAt     time.Time
}

// ParseStatement reads a software statement: a JWS in compact form ("Dynamic
// client registration flow", RFC 7515), that is three base64url parts of which
// the first two are JSON objects. The error describes what text is instead and
// shows nothing of it.
func ParseStatement(text string) (Statement, error) {
	if text == "" {
		return Statement{}, errors.New("is empty: copy the software statement from the TVE Dashboard")
	}
	if len(text) > maxStatement {
		return Statement{}, fmt.Errorf("is longer than %d KiB, so it is not a software statement: "+
			"copy that from the TVE Dashboard", maxStatement>>10)
	}
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return Statement{}, malformed("it needs 2 dots and has %d", len(parts)-1)
	}
	var raw [3][]byte
	for i, part := range parts {
		var err error
		raw[i], err = base64.RawURLEncoding.DecodeString(part)
		if err != nil || part == "" || strings.ContainsAny(part, "\r\n") { // the decoder would skip these
			return Statement{}, malformed("part %d of 3 is not base64url", i+1)
		}
	}
	var claims map[string]json.RawMessage
	for i, name := range []string{"header", "payload"} {
		claims = nil
		if err := json.Unmarshal(raw[i], &claims); err != nil || claims == nil {
			return Statement{}, malformed("its %s is not a JSON object", name)
		}
	}
	s := Statement{Issuer: stringClaim(claims["iss"]), Name: stringClaim(claims["software_name"])}
	var issued float64
	if json.Unmarshal(claims["iat"], &issued) == nil && issued > 0 && issued < 1<<40 {
		s.IssuedAt = time.Unix(int64(issued), 0).UTC()
	}
	return s, nil
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("is not a software statement ("+format+"): copy all of it from the TVE Dashboard again", args...)
}

// stringClaim returns a claim in a form that can be shown.
func stringClaim(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) != nil {
		return ""
	}
	return printable(text)
}

// parseStatement removes the white space that copying and editors add.
func parseStatement(text string) (string, error) {
	text = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}, text)
	_, err := ParseStatement(text)
	return text, err
}

// statementPath returns parse for a path that could be the statement itself by
// mistake.
func statementPath(parse func(string) (string, error)) func(string) (string, error) {
	return func(s string) (string, error) {
		if strings.HasPrefix(s, "eyJ") {
			return "", errors.New("contains the statement itself: write the path of its file, or software_statement = \"…\"")
		}
		return parse(s)
	}
}
