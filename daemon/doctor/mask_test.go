package doctor

import (
	"strings"
	"testing"
)

func TestMask(t *testing.T) {
	const jwt = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiI0YjY2In0.RIOM-zwvXPvCLPK0yPrMKaeWLBjl"
	for text, want := range map[string]string{
		"software_statement = \"" + jwt + "\"\nid = \"x\"":                  "software_statement = \"[masked]\"\nid = \"x\"",
		"software_statement = \"\"\"\nabc\n  def\n\"\"\"\nid = 1":           "software_statement = \"\"\"[masked]\"\"\"\nid = 1",
		"\"software_statement\" = 'short'":                                  "\"software_statement\" = '[masked]'",
		"app = [{id = \"x\", software_statement = \"ab.cd.ef\", a = 1}]":    "app = [{id = \"x\", software_statement = \"[masked]\", a = 1}]",
		"software_statement = \"no end\nid = \"x\"":                         "software_statement = \"[masked]\nid = \"x\"",
		"software_statement_file = \"ref30.jwt\"":                           "software_statement_file = \"ref30.jwt\"",
		"proxy = \"http://me:p/ss@word@proxy:3128\"":                        "proxy = \"http://[masked]@proxy:3128\"",
		"see https://sp.auth.adobe.com/o/client/token":                      "see https://sp.auth.adobe.com/o/client/token",
		"Authorization: Bearer abc":                                         "Authorization: Bearer [masked]",
		`msg="the answer was {\"client_secret\":\"s3c\", \"a\":1}"`:         `msg="the answer was {\"client_secret\":\"[masked]\", \"a\":1}"`,
		"client_id=a&client_secret=b&grant_type=client_credentials":         "client_id=[masked]&client_secret=[masked]&grant_type=client_credentials",
		`"client_id": "4f3a****"`:                                           `"client_id": "4f3a****"`,
		"half a token: " + jwt[30:] + " there":                              "half a token: [masked] there",
		"part: RIOM-zwvXPvCLPK0yPrMKaeWLBjlcqR8":                            "part: [masked]",
		"begin: eyJhbGciOiJSUz":                                             "begin: [masked]",
		"the bearer of bad news, and the password: is missing":              "the bearer [masked] bad news, and the password: [masked] missing",
		"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.": "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.",
		"a known one":                "a [masked] one",
		"a key alone: client_secret": "a key alone: client_secret",
	} {
		if got := Mask(text, "known", ""); got != want {
			t.Errorf("%q becomes\n%q, want\n%q", text, got, want)
		}
	}
}

// Whatever stands around a secret, it is gone, and masking again changes nothing more.
func FuzzMask(f *testing.F) {
	f.Add("msg=", "")
	f.Add("software_statement = \"\"\"", "\"\"\"")
	f.Add("\u0130 client_secret: ", "&")
	f.Fuzz(func(t *testing.T, before, after string) {
		const jwt = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiI0YjY2In0.RIOM-zwvXPvCLPK0yPrMKaeWLBjl"
		got := Mask(before + jwt + after)
		for part := range strings.SplitSeq(jwt, ".") {
			if strings.Contains(got, part) && !strings.Contains(before+after, part) {
				t.Errorf("%q is in %q", part, got)
			}
		}
	})
}
