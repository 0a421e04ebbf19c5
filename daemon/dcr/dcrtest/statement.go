package dcrtest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
)

// labKey signs lab statements. It is not a secret: Adobe's servers use a key of
// their own.
const labKey = "passsim lab key, worthless anywhere else"

// labIssued is constant, so that the statement of a name is the same in every
// run.
var labIssued = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// Statement returns a software statement that the simulator accepts: a JWS in
// compact form like those of the TVE Dashboard ("Dynamic client registration
// flow"), but issued by and for the lab. The same name gives the same
// statement.
func Statement(name string) string {
	id := sha256.Sum256([]byte(name))
	softwareID := fmt.Sprintf("lab-%x", id[:8])
	signed := part(map[string]any{"alg": "HS256", "typ": "JWT"}) + "." + part(map[string]any{
		"iss":           "passsim lab (not Adobe)",
		"sub":           softwareID,
		"iat":           labIssued.Unix(),
		"software_id":   softwareID,
		"software_name": name,
	})
	return signed + "." + base64.RawURLEncoding.EncodeToString(sign(signed))
}

// part returns a JSON part of a JWS. Maps of strings and numbers can always be
// encoded.
func part(v map[string]any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("encode a part of a JWS: %v", err))
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

func sign(signed string) []byte {
	mac := hmac.New(sha256.New, []byte(labKey))
	mac.Write([]byte(signed)) // never fails
	return mac.Sum(nil)
}

// checkStatement returns what is wrong with a software statement. The error
// never quotes it.
func checkStatement(statement string) error {
	if strings.ContainsFunc(statement, unicode.IsSpace) {
		return errors.New("the software statement has white space in it")
	}
	parts := strings.Split(statement, ".")
	if len(parts) != 3 {
		return fmt.Errorf("the software statement has %d parts, not 3", len(parts))
	}
	var raw [3][]byte
	for i, p := range parts {
		var err error
		if raw[i], err = base64.RawURLEncoding.Strict().DecodeString(p); err != nil {
			return fmt.Errorf("part %d of the software statement is not base64url", i+1)
		}
	}
	for i, name := range []string{"header", "payload"} {
		if _, err := decodeObject(raw[i]); err != nil {
			return fmt.Errorf("the software statement's %s %w", name, err)
		}
	}
	if !hmac.Equal(raw[2], sign(parts[0]+"."+parts[1])) {
		return errors.New("the software statement is not signed by this lab")
	}
	return nil
}
