package config

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"
)

// compact makes a JWS out of three parts.
func compact(header, payload, signature string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(header)) + "." + encode([]byte(payload)) + "." + encode([]byte(signature))
}

func TestParseStatement(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       Statement
	}{
		{"as a whole", labStatement, Statement{"lab", "Ref30", time.Unix(1767225600, 0).UTC()}},
		{"without claims", compact("{}", "{}", "x"), Statement{}},
		{"claims of other types", compact("{}", `{"iss":5,"software_name":["x"],"iat":"now"}`, "x"), Statement{}},
		{"a time out of range", compact("{}", `{"iat":1e300}`, "x"), Statement{}},
		{"a fraction of a second", compact("{}", `{"iat":1.5}`, "x"), Statement{IssuedAt: time.Unix(1, 0).UTC()}},
		{"claims for a terminal", compact("{}", `{"iss":"\u001b[2Ja\nb"}`, "x"), Statement{Issuer: "[2Jab"}},
		{"a long claim", compact("{}", `{"iss":"`+strings.Repeat("é", 100)+`"}`, "x"),
			Statement{Issuer: strings.Repeat("é", 50) + "…"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseStatement(tt.text)
			if err != nil {
				t.Fatal(err)
			}
			expect(t, got, tt.want)
		})
	}
}

func TestMalformedStatement(t *testing.T) {
	bad := func(why string) string {
		return "is not a software statement (" + why + "): copy all of it from the TVE Dashboard again"
	}
	for _, tt := range []struct{ name, text, want string }{
		{"empty", "", "is empty: copy the software statement from the TVE Dashboard"},
		{"one part", "hidden", bad("it needs 2 dots and has 0")},
		{"encrypted", "a.b.c.d.e", bad("it needs 2 dots and has 4")},
		{"no signature", compact(`{"alg":"none"}`, "{}", ""), bad("part 3 of 3 is not base64url")},
		{"white space", labStatement[:20] + "\n" + labStatement[20:], bad("part 1 of 3 is not base64url")},
		{"padded", "e30=.e30=.AA==", bad("part 1 of 3 is not base64url")},
		{"the other alphabet", "e30.e30.+/+/", bad("part 3 of 3 is not base64url")},
		{"in quotes", `"` + labStatement + `"`, bad("part 1 of 3 is not base64url")},
		{"not JSON", compact("hidden", "{}", "x"), bad("its header is not a JSON object")},
		{"null", compact("{}", "null", "x"), bad("its payload is not a JSON object")},
		{"a list", compact("{}", "[]", "x"), bad("its payload is not a JSON object")},
		{"cut off", compact("{}", `{"iss":"hidden`, "x"), bad("its payload is not a JSON object")},
		{"long", strings.Repeat("a", maxStatement+1),
			"is longer than 64 KiB, so it is not a software statement: copy that from the TVE Dashboard"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseStatement(tt.text)
			expect(t, fmt.Sprint(err), tt.want)
			expect(t, got, Statement{})
		})
	}
}
