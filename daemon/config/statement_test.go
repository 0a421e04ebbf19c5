package config

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"
)

// compact makes a JWS of three parts.
func compact(header, payload, signature string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(header)) + "." + encode([]byte(payload)) + "." + encode([]byte(signature))
}

func TestParseStatement(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       Statement
	}{
		{"as a whole", labStatement, Statement{"lab", "lab-1", "Ref30", time.Unix(1767225600, 0).UTC()}},
		{"without claims", compact("{}", "{}", "x"), Statement{}},
		{"claims of other types", compact("{}", `{"iss":5,"sub":null,"software_name":["x"],"iat":"now"}`, "x"), Statement{}},
		{"a time out of range", compact("{}", `{"iat":1e300}`, "x"), Statement{}},
		{"a fraction of a second", compact("{}", `{"iat":1.5}`, "x"), Statement{IssuedAt: time.Unix(1, 0).UTC()}},
		{"claims for a terminal", compact("{}", `{"iss":"\u001b[2Ja\nb"}`, "x"), Statement{Issuer: "[2Jab"}},
		{"a long claim", compact("{}", `{"sub":"`+strings.Repeat("é", 100)+`"}`, "x"), Statement{Subject: strings.Repeat("é", 50) + "…"}},
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
	const again = ": copy it again as a whole from the TVE Dashboard"
	for _, tt := range []struct{ name, text, want string }{
		{"empty", "", "is empty: put the statement there that the TVE Dashboard gave you"},
		{"one part", "hidden", "is no software statement: those have 3 parts with dots between them, not 1" + again},
		{"encrypted", "a.b.c.d.e", "is no software statement: those have 3 parts with dots between them, not 5" + again},
		{"no signature", compact(`{"alg":"none"}`, "{}", ""), "is no software statement: part 3 of 3 is not base64url" + again},
		{"white space", labStatement[:20] + "\n" + labStatement[20:], "is no software statement: part 1 of 3 is not base64url" + again},
		{"padded", "e30=.e30=.AA==", "is no software statement: part 1 of 3 is not base64url" + again},
		{"the other alphabet", "e30.e30.+/+/", "is no software statement: part 3 of 3 is not base64url" + again},
		{"in quotes", `"` + labStatement + `"`, "is no software statement: part 1 of 3 is not base64url" + again},
		{"no JSON", compact("hidden", "{}", "x"), "is no software statement: its header is no JSON object" + again},
		{"null", compact("{}", "null", "x"), "is no software statement: its payload is no JSON object" + again},
		{"a list", compact("{}", "[]", "x"), "is no software statement: its payload is no JSON object" + again},
		{"cut off", compact("{}", `{"iss":"hidden`, "x"), "is no software statement: its payload is no JSON object" + again},
		{"long", strings.Repeat("a", maxStatement+1), "is longer than 64 KiB: no software statement is"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseStatement(tt.text)
			expect(t, fmt.Sprint(err), tt.want)
			expect(t, got, Statement{})
		})
	}
}
