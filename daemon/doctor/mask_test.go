package doctor

import (
	"strings"
	"testing"
)

func TestMask(t *testing.T) {
	const jwt = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiI0YjY2In0.RIOM-zwvXPvCLPK0yPrMKaeWLBjl"
	for _, tt := range [][2]string{
		{"software_statement = \"" + jwt + "\"\nid = \"x\"", "software_statement = \"[masked]\"\nid = \"x\""},
		{"software_statement = \"\"\"\nabc\n  def\n\"\"\"\nid = 1",
			"software_statement = \"\"\"[masked]\"\"\"\nid = 1"},
		{"\"software_statement\" = 'short'", "\"software_statement\" = '[masked]'"},
		{"app = [{id = \"x\", software_statement = \"ab.cd.ef\", a = 1}]",
			"app = [{id = \"x\", software_statement = \"[masked]\", a = 1}]"},
		{"software_statement = \"no end\nid = \"x\"", "software_statement = \"[masked]\nid = \"x\""},
		{"software_statement_file = \"ref30.jwt\"", "software_statement_file = \"ref30.jwt\""},
		{"proxy = \"http://me:p/ss@word@proxy:3128\"", "proxy = \"http://[masked]@proxy:3128\""},
		{"see https://sp.auth.adobe.com/o/client/token", "see https://sp.auth.adobe.com/o/client/token"},
		{"Authorization: Bearer abc", "Authorization: Bearer [masked]"},
		{`msg="the answer was {\"client_secret\":\"s3c\", \"a\":1}"`,
			`msg="the answer was {\"client_secret\":\"[masked]\", \"a\":1}"`},
		{"client_id=a&client_secret=b&grant_type=client_credentials",
			"client_id=[masked]&client_secret=[masked]&grant_type=client_credentials"},
		{`"client_id": "4f3a****"`, `"client_id": "4f3a****"`},
		{"half a token: " + jwt[30:] + " there", "half a token: [masked] there"},
		{"part: RIOM-zwvXPvCLPK0yPrMKaeWLBjlcqR8", "part: [masked]"},
		{"begin: eyJhbGciOiJSUz", "begin: [masked]"},
		{"the bearer of bad news, and the password: is missing",
			"the bearer [masked] bad news, and the password: [masked] missing"},
		{"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.", "0123****."},
		{"a hash: 0123456789abcdef0123456789abcdef01234567", "a hash: 0123456789abcdef0123456789abcdef01234567"},
		{`"header": "fingerprint ZmQyZTJj0GQ5YTQ4="`, `"header": "fingerprint ****"`},
		{"psk = 'one' wifi_secret=two api-key: three", "psk = '[masked]' wifi_secret=[masked] api-key: [masked]"},
		{`{"token":"one","passwd":"two"}`, `{"token":"[masked]","passwd":"[masked]"}`},
		{`"id": "token:ref30", "token_expires_in": 5`, `"id": "token:ref30", "token_expires_in": 5`},
		{"proxy me:one@proxy:3128 refuses", "proxy [masked]@proxy:3128 refuses"},
		{"via http://me:o n\"e@proxy to socks5://a:b@c", "via http://[masked]@c"},
		{"user@1000.service at 12:30", "user@1000.service at 12:30"},
		{"a known one", "a [masked] one"},
		{"a key alone: client_secret", "a key alone: client_secret"},
	} {
		text, want := tt[0], tt[1]
		if got := NewMasker("known", "").Mask(text); got != want {
			t.Errorf("%q becomes\n%q, want\n%q", text, got, want)
		}
	}
}

// FuzzMask puts secrets into any text. They are gone, and masking the result again
// changes nothing.
func FuzzMask(f *testing.F) {
	for _, before := range []string{
		"", "msg=", "software_statement = \"\"\"", "\u0130 client_secret: ", "{\"a\":\"", "http://me:", "[masked",
	} {
		f.Add(before, "")
		f.Add(before, "\"\"\"")
		f.Add(before, "@proxy\n&")
	}
	m := NewMasker()
	f.Fuzz(func(t *testing.T, before, after string) {
		const jwt = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiI0YjY2In0.RIOM-zwvXPvCLPK0yPrMKaeWLBjl"
		for _, tt := range []struct {
			text    string
			secrets []string
		}{
			{jwt, strings.Split(jwt, ".")},
			{"\npassword = \"hunter2 hunter3\" ", []string{"hunter2", "hunter3"}},
			{"\nwifi_psk=hunter2 ", []string{"hunter2"}},
			{"\n\"client_secret\": \"hunter2\", ", []string{"hunter2"}},
			{"\n{\\\"access_token\\\":\\\"hunter2\\\"} ", []string{"hunter2"}},
			{" http://me:hunter2 \"hunter3@proxy ", []string{"hunter2", "hunter3"}},
			{" me:hunter2/hunter3@proxy ", []string{"hunter2", "hunter3"}},
		} {
			got := m.Mask(before + tt.text + after)
			for _, secret := range tt.secrets {
				if strings.Contains(got, secret) && !strings.Contains(before+after, secret) {
					t.Errorf("%q is in %q", secret, got)
				}
			}
			if again := m.Mask(got); strings.Count(again, masked) > strings.Count(got, masked) {
				t.Errorf("%q becomes %q", got, again)
			}
		}
	})
}
