package config

import (
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// labStatement has the form of a statement of the TVE Dashboard.
const labStatement = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9." +
	"eyJpc3MiOiJsYWIiLCJzdWIiOiJsYWItMSIsImlhdCI6MTc2NzIyNTYwMCwic29mdHdhcmVfbmFtZSI6IlJlZjMwIn0.c2VjcmV0LXNpZ25hdHVyZQ"

// labNames has one user and a few groups.
var labNames = names{
	user:  labLookup("user", map[string]uint32{"player": 1001}),
	group: labLookup("group", map[string]uint32{"tvpass": 900, "ref30": 901, "wheel": 10}),
}

func labLookup(what string, ids map[string]uint32) func(string) (uint32, error) {
	return func(name string) (uint32, error) {
		id, ok := ids[name]
		if !ok {
			return 0, &missingError{what: what, name: name}
		}
		return id, nil
	}
}

// lay makes a directory of files and returns its path.
func lay(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func loadDir(dir string) (*Config, error) {
	return load(filepath.Join(dir, "config.toml"), "", labNames)
}

func mustLoad(t *testing.T, files map[string]string) (c *Config, dir string) {
	t.Helper()
	dir = lay(t, files)
	c, err := loadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return c, dir
}

// mine is a file of the test's user that has an id.
func mine(file string) Holder { return Holder{file, uint32(os.Geteuid())} }

func number(n uint32) *uint32 { return &n }

func defaults() *Config {
	return &Config{
		Endpoint: "https://sp.auth.adobe.com",
		StateDir: "/var/lib/tvpassd",
		LogLevel: slog.LevelInfo,
		Socket:   Socket{Path: "/run/tvpassd/tvpassd.sock", Mode: 0o660, Group: number(900)},
		HTTP:     HTTP{Timeout: 15 * time.Second},
		Gateway:  Gateway{Enabled: true, Timeout: 30 * time.Second},
		Device:   map[string]any{},
		Holders:  map[string]Holder{},
	}
}

func expect(t *testing.T, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Config{}), cmpopts.IgnoreFields(Error{}, "Err")); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestDefaults(t *testing.T) {
	dir := t.TempDir()
	got, err := load("", filepath.Join(dir, "config.toml"), labNames)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, got, defaults())

	for name, content := range map[string]string{
		"empty": "", "only a BOM": "\uFEFF", "only a comment": "# nothing yet",
		"empty tables": "[socket]\r\n[http]\r\n[device]",
	} {
		t.Run(name, func(t *testing.T) {
			got, dir := mustLoad(t, map[string]string{"config.toml": content})
			want := defaults()
			want.File = filepath.Join(dir, "config.toml")
			expect(t, got, want)
		})
	}
}

func TestNamedFileMustExist(t *testing.T) {
	dir := t.TempDir()
	_, err := loadDir(dir)
	want := dir + "/config.toml: can't be read: no such file or directory"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// everything is a config.toml that has every key. STATEMENT stands for a statement.
const everything = `
environment = "prequal-staging"
endpoint    = "HTTPS://Pass.Example:443/base//"
state_dir   = "state"
log_level   = "debug"
accept_volatile_state = true

[socket]
path  = "run/s.sock"
group = "901"
mode  = "660"
admin_group = 10

[http]
ca_file = "ca.pem"
proxy   = "http://me:hidden@proxy:3128"
timeout = "1m30s"

[gateway]
enabled = false
timeout = "2m"

[device]
primaryHardwareType = "SetTopBox"
displayWidth = 1920
connectionSecure = true

[[app]]
id = "zz"
software_statement = """
STATEMENT
"""
redirect_uri = "adobepass://com.programmer"
application_id = "REF30"
allow_users = ["player", 1002, "1003"]

[[app]]
id = "nobody"
software_statement_file = "one.jwt"
allow_users = []
hand_out_token = false
`

func TestEverything(t *testing.T) {
	got, dir := mustLoad(t, map[string]string{
		"config.toml":        strings.Replace(everything, "STATEMENT", labStatement[:20]+"\n  "+labStatement[20:], 1),
		"one.jwt":            "\uFEFF" + labStatement[:50] + "\r\n" + labStatement[50:] + "\n",
		"apps.d/10-own.toml": "[[app]]\nid = \"aa\"\nsoftware_statement_file = \"two.jwt\"\nallow_groups = [\"ref30\"]",
		"apps.d/two.jwt":     labStatement,
	})
	proxy := got.HTTP.Proxy
	got.HTTP.Proxy = nil
	if proxy == nil || proxy.String() != "http://me:hidden@proxy:3128" {
		t.Errorf("the proxy is %v", proxy)
	}
	expect(t, got, &Config{
		File:     dir + "/config.toml",
		Endpoint: "https://pass.example/base",
		StateDir: dir + "/state",
		LogLevel: slog.LevelDebug,
		Socket:   Socket{Path: dir + "/run/s.sock", Mode: 0o660, Group: number(901), AdminGroup: number(10)},
		HTTP:     HTTP{CAFile: dir + "/ca.pem", Timeout: 90 * time.Second},
		Gateway:  Gateway{Timeout: 2 * time.Minute},
		Device: map[string]any{"primaryHardwareType": "SetTopBox", "displayWidth": int64(1920),
			"connectionSecure": true},
		AcceptVolatileState: true,
		Holders: map[string]Holder{
			"aa": mine(dir + "/apps.d/10-own.toml"), "nobody": mine(dir + "/config.toml"), "zz": mine(dir + "/config.toml"),
		},
		Apps: []App{{
			ID: "aa", SoftwareStatement: labStatement, File: dir + "/apps.d/10-own.toml",
			StatementFile: dir + "/apps.d/two.jwt",
			Groups:        []uint32{901}, HandOutToken: true,
		}, {
			ID: "nobody", SoftwareStatement: labStatement, File: dir + "/config.toml", StatementFile: dir + "/one.jwt",
			Users: []uint32{},
		}, {
			ID: "zz", SoftwareStatement: labStatement, RedirectURI: "adobepass://com.programmer", ApplicationID: "REF30",
			File: dir + "/config.toml", Users: []uint32{1001, 1002, 1003},
			HandOutToken: true,
		}},
	})
}

// TestExample reads the file that packages install: as it is, and with every
// setting uncommented.
func TestExample(t *testing.T) {
	example, err := os.ReadFile("../../scripts/config.toml")
	if err != nil {
		t.Fatal(err)
	}
	got, dir := mustLoad(t, map[string]string{"config.toml": string(example)})
	want := defaults()
	want.File = dir + "/config.toml"
	expect(t, got, want)

	got, dir = mustLoad(t, map[string]string{
		"config.toml":      regexp.MustCompile(`(?m)^#([a-z\[])`).ReplaceAllString(string(example), "$1"),
		"apps.d/ref30.jwt": labStatement,
	})
	want.File = dir + "/config.toml"
	want.Holders = map[string]Holder{"ref30": mine(want.File)}
	want.Device = map[string]any{"primaryHardwareType": "SetTopBox", "model": "STB-1", "manufacturer": "Example Devices"}
	want.Apps = []App{{
		ID: "ref30", SoftwareStatement: labStatement, RedirectURI: "adobepass://com.programmer", ApplicationID: "REF30",
		File: want.File, StatementFile: dir + "/apps.d/ref30.jwt", Users: []uint32{1001}, Groups: []uint32{901},
		HandOutToken: true,
	}}
	expect(t, got, want)

	d := &document{file: want.File, files: new(Disk).files(), names: labNames}
	d.config()
	for _, table := range d.tables {
		for _, key := range table.known {
			if table.label != "[device]" && !regexp.MustCompile(`(?m)^#(`+key+` = |\[+`+key+`\])`).Match(example) {
				t.Errorf("%s is not in it", table.name(key))
			}
		}
	}
}
