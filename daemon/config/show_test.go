package config

import (
	"strings"
	"testing"
)

// TestShow reads files that have faults: those are the ones that people send to
// others.
func TestShow(t *testing.T) {
	for _, tt := range []struct{ name, file, want string }{
		{"all is well", "# a comment with hidden\nlog_level = \"debug\" # hidden\n\n" +
			"[http]\nproxy = \"http://proxy:3128\"\ntimeout = '5s'\n" +
			"[[app]]\nid = \"x\"\nsoftware_statement_file = \"x.jwt\"\nallow_users = [\"player\", 5]\n",
			"log_level = \"debug\"\n[http]\nproxy = \"http://proxy:3128\"\ntimeout = \"5s\"\n" +
				"[[app]]\nid = \"x\"\nsoftware_statement_file = \"x.jwt\"\nallow_users = [\"player\", 5]\n"},
		{"a statement", "[[app]]\nid = \"x\"\nsoftware_statement = \"hidden.hidden.hidden\"",
			"[[app]]\nid = \"x\"\nsoftware_statement = \"[left out]\"\n"},
		{"proxy", "[http]\nproxy = \"http://me:hidden@proxy:3128\"", "[http]\nproxy = \"http://[left out]@proxy:3128\"\n"},
		{"proxy without scheme", "http.proxy = \"me:hidden@proxy:3128\"", "[http]\nproxy = \"[left out]\"\n"},
		{"proxy with a blank", "[http]\nproxy = \"http://me:hid hidden@proxy\"", "[http]\nproxy = \"[left out]\"\n"},
		{"proxy with a slash", "[http]\nproxy = \"http://me:hidden/hidden@proxy\"", "[http]\nproxy = \"[left out]\"\n"},
		{"proxy with a quote", "log_level = \"info\"\n[http]\nproxy = \"http://me:hid\"hidden@proxy\"\ntimeout = \"5s\"",
			"log_level = \"info\"\n[http]\n# line 3: not valid TOML; the rest is left out\n"},
		{"proxy in a list", "[http]\nproxy = [\"http://me:hidden@proxy\"]", "[http]\nproxy = \"[left out]\"\n"},
		{"proxy without quotes", "[http]\nproxy = http://me:hidden@proxy",
			"[http]\n# line 2: not valid TOML; the rest is left out\n"},
		{"proxy at the top", "proxy = \"http://me:hidden@proxy\"", "# line 1: an unknown key is left out\n"},
		{"unknown keys", "psk = \"hidden\"\n[http]\ntoken = 'hidden'\nsecret = [\"hidden\"]\n[wifi]\npsk = \"hidden\"\n" +
			"[a.b]\nc = \"hidden\"",
			"# line 1: an unknown key is left out\n# line 5: an unknown key is left out\n" +
				"# line 7: an unknown key is left out\n" +
				"[http]\n# line 3: an unknown key is left out\n# line 4: an unknown key is left out\n"},
		{"endpoint", "endpoint = \"https://me:hidden@pass.example\"", "endpoint = \"[left out]\"\n"},
		{"endpoint with a key", "endpoint = \"https://pass.example/?key=hidden\"", "endpoint = \"[left out]\"\n"},
		{"a value out of place", "log_level = \"hidden\"\nstate_dir = 5",
			"log_level = \"[left out]\"\nstate_dir = \"[left out]\"\n"},
		{"tables out of place", "http = \"hidden\"\napp = [\"hidden\"]\nlog_level = { hidden = \"hidden\" }\n",
			"app = \"[left out]\"\nlog_level = \"[left out]\"\n"},
		{"inline", "http = { proxy = \"http://me:hidden@proxy\", x = \"hidden\" }\n" +
			"app = [{ id = \"x\", software_statement = \"hidden\" }]",
			"[http]\nproxy = \"http://[left out]@proxy\"\n# line 1: an unknown key is left out\n" +
				"[[app]]\nid = \"[left out]\"\nsoftware_statement = \"[left out]\"\n"},
		{"no TOML at all", "root:*:20228:0:99999:7:::\n", "# line 1: not valid TOML; the rest is left out\n"},
		{"nothing", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			shown := Show([]byte(tt.file), false)
			expect(t, shown.Text, tt.want)
			if strings.Contains(shown.Text, "hidden") {
				t.Error("a secret is shown")
			}
		})
	}
	expect(t, Show([]byte("log_level = \"hidden\"\n[[app]]\nid = \"x\"\n"), true).Text,
		"# line 1: an unknown key is left out\n[[app]]\nid = \"x\"\n")
}

func TestShowNamesTheSecrets(t *testing.T) {
	for file, want := range map[string]string{
		"[http]\nproxy = \"http://me:hidden@proxy\"":       "hidden",
		"[http]\nproxy = \"me:hidden@proxy\"":              "hidden",
		"[http]\nproxy = \"http://me:hid/d:e@n@proxy\"":    "hid/d:e@n",
		"[[app]]\nsoftware_statement = \"one.two.three\"":  "two",
		"[[app]]\nsoftware_statement = \"one.two.three\"#": "one.two.three",
	} {
		found := false
		for _, secret := range Show([]byte(file), false).Secrets {
			found = found || secret == want
		}
		if !found {
			t.Errorf("%q is not among the secrets of %q", want, file)
		}
	}
}

// FuzzShow puts a secret into any file, at a place whose value is never shown.
func FuzzShow(f *testing.F) {
	for _, before := range []string{"", "# ", "psk = '", "[http]\nproxy = \"me:", "[http]\nproxy = \"http://me:",
		"[[app]]\nsoftware_statement = \"", "[x]\ny = [\""} {
		f.Add(before, "'\n")
		f.Add(before, "@proxy\"")
		f.Add(before, "\"]\n[[app]]\nid = \"x\"")
	}
	f.Fuzz(func(t *testing.T, before, after string) {
		const secret = "hunter2secret"
		for _, inApps := range []bool{false, true} {
			shown := Show([]byte(before+secret+after), inApps).Text
			if !strings.Contains(shown, secret) {
				continue
			}
			// Then it is the value of a known key that holds no secret.
			line := shown[strings.LastIndex(shown[:strings.Index(shown, secret)], "\n")+1:]
			key, _, _ := strings.Cut(line, " =")
			if strings.HasPrefix(line, "#") || key == "proxy" && strings.Contains(line, "@") || key == "software_statement" ||
				strings.Contains(key, secret) {
				t.Errorf("%q shows the secret:\n%s", before+secret+after, shown)
			}
		}
	})
}
