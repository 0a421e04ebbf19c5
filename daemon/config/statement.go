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

// maxStatement bounds a software statement, in bytes; a real one has less than 2 KiB.
const maxStatement = 64 << 10

// Statement is what can be told of a software statement without its issuer's key. It proves nothing. Claims that are not
// there, or not of the type they should be, are left out.
type Statement struct {
	Issuer, Subject, Name string // iss, sub, software_name
	IssuedAt              time.Time
}

// ParseStatement checks that a software statement is a JWS in compact form ("Dynamic client registration flow", RFC 7515):
// three base64url parts with JSON objects in the first two. The error says what it is instead, and shows nothing of it.
func ParseStatement(text string) (Statement, error) {
	if text == "" {
		return Statement{}, errors.New("is empty: put the statement there that the TVE Dashboard gave you")
	}
	if len(text) > maxStatement {
		return Statement{}, fmt.Errorf("is longer than %d KiB: no software statement is", maxStatement>>10)
	}
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return Statement{}, malformed("is no software statement: those have 3 parts with dots between them, not %d", len(parts))
	}
	var raw [3][]byte
	for i, part := range parts {
		var err error
		raw[i], err = base64.RawURLEncoding.DecodeString(part)
		if err != nil || part == "" || strings.ContainsAny(part, "\r\n") { // which the decoder would skip
			return Statement{}, malformed("is no software statement: part %d of 3 is not base64url", i+1)
		}
	}
	var claims map[string]json.RawMessage
	for i, name := range []string{"header", "payload"} {
		claims = nil
		if err := json.Unmarshal(raw[i], &claims); err != nil || claims == nil {
			return Statement{}, malformed("is no software statement: its %s is no JSON object", name)
		}
	}
	s := Statement{Issuer: claim(claims["iss"]), Subject: claim(claims["sub"]), Name: claim(claims["software_name"])}
	var issued float64
	if json.Unmarshal(claims["iat"], &issued) == nil && issued > 0 && issued < 1<<40 {
		s.IssuedAt = time.Unix(int64(issued), 0).UTC()
	}
	return s, nil
}

func malformed(format string, args ...any) error {
	return fmt.Errorf(format+": copy it again as a whole from the TVE Dashboard", args...)
}

// claim gives a string to show, whoever made it up.
func claim(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) != nil {
		return ""
	}
	return printable(text)
}

// parseStatement drops the white space that copying and editors add, and checks the rest.
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

// statementFile is the path of a software statement.
func (d *document) statementFile(s string) (string, error) {
	if strings.HasPrefix(s, "eyJ") {
		return "", errors.New("holds the statement itself: that goes into software_statement, and here a path")
	}
	return d.path(s)
}

// readStatement reads a software statement. The errors don't name the file.
func readStatement(file string) (string, error) {
	data, err := readFile(file, maxStatement)
	if err != nil {
		return "", errors.New(reason(err))
	}
	return parseStatement(string(data))
}
