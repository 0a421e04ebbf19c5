package config

import (
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

// FuzzLoad reads any text as config.toml and as a file in apps.d. Only valid
// settings are accepted, and every fault is one printable line about an existing
// line of the file.
func FuzzLoad(f *testing.F) {
	example, err := os.ReadFile("../../scripts/config.toml")
	if err != nil {
		f.Fatal(err)
	}
	settings := regexp.MustCompile(`(?m)^(# .*|#|)\n`).ReplaceAll(example,
		nil) // the fuzzer spends its time on shortening long inputs
	for _, config := range []string{
		"", "\uFEFF", string(settings), strings.ReplaceAll(string(settings), "#", ""),
		"[[app]]\nid = \"own\"\nsoftware_statement = \"e30.e30.AA\"", "socket = { path = \"x\", mode = \"0666\" }\r\n",
		"http.proxy = \"socks5://a:b@c\"\nendpoint = \"http://[::1]:8080/\"", "app = [{ id = \"a\" }, 5]",
		"[[app]]\n[[app]]\n[app.x.y]",
		"\"\" = 1\n[\"\"]\n\"\" = 2", "[device]\nconnectionIp = \"::1\"\ndiagonalScreenSize = nan",
		"[socket]\ngroup = 1\nmode = 0o660",
	} {
		f.Add(config, "[[app]]\nid = \"x\"\nsoftware_statement = \"e30.e30.AA\"\nallow_users = [1, \"2\", \"player\"]")
		f.Add("", config)
	}
	dir := f.TempDir()
	files := []string{filepath.Join(dir, "config.toml"), filepath.Join(dir, "apps.d", "a.toml")}
	if err := os.Mkdir(filepath.Dir(files[1]), 0o700); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, config, app string) {
		for i, content := range []string{config, app} {
			if err := os.WriteFile(files[i], []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if path := socketPath(files[0]); !filepath.IsAbs(path) {
			t.Errorf("the path of the socket is %q", path)
		}
		c, err := loadDir(dir)
		if err != nil {
			joined, ok := err.(interface{ Unwrap() []error })
			if !ok {
				t.Fatalf("%T", err)
			}
			for _, err := range joined.Unwrap() {
				checkFault(t, err, files[0], config)
			}
			return
		}
		checkConfig(t, c)
		if len(c.Bad) > 1 {
			t.Errorf("one file is bad %d times", len(c.Bad))
		}
		for _, bad := range c.Bad {
			checkFault(t, bad, files[1], app)
		}
	})
}

func checkFault(t *testing.T, err error, file, content string) {
	fault, ok := errors.AsType[*Error](err)
	if !ok || fault.File != file {
		t.Fatalf("not of %s: %v", file, err)
	}
	if fault.Line < 0 || fault.Line > strings.Count(content, "\n")+1 {
		t.Errorf("there is no line %d", fault.Line)
	}
	if fault.Line == 0 && len(content) <= maxFile && !strings.HasPrefix(fault.Detail, "the default of ") {
		t.Errorf("no line: %v", err)
	}
	if fault.Detail == "" || strings.ContainsFunc(fault.Detail, func(r rune) bool { return !unicode.IsPrint(r) }) {
		t.Errorf("not one printable line: %q", fault.Detail)
	}
}

func checkConfig(t *testing.T, c *Config) {
	if !strings.HasPrefix(c.Endpoint, "https://") && !strings.HasPrefix(c.Endpoint, "http://") ||
		strings.HasSuffix(c.Endpoint, "/") {
		t.Errorf("the endpoint %q", c.Endpoint)
	}
	if again, err := parseEndpoint(c.Endpoint); again != c.Endpoint || err != nil {
		t.Errorf("the endpoint %q becomes %q, %v", c.Endpoint, again, err)
	}
	for _, path := range []string{c.StateDir, c.Socket.Path} {
		if !filepath.IsAbs(path) || strings.ContainsRune(path, 0) {
			t.Errorf("the path %q", path)
		}
	}
	if len(c.Socket.Path) > maxSocketPath || c.Socket.Mode == 0 || c.Socket.Mode > 0o777 || c.HTTP.Timeout <= 0 {
		t.Errorf("out of bounds: %+v, %+v", c.Socket, c.HTTP)
	}
	last := ""
	for _, app := range c.Apps {
		if _, err := ParseStatement(app.SoftwareStatement); err != nil {
			t.Errorf("the statement of %q: %v", app.ID, err)
		}
		if app.ID <= last {
			t.Errorf("%q stands after %q", app.ID, last)
		}
		last = app.ID
	}
}

func FuzzParseStatement(f *testing.F) {
	for _, text := range []string{"", labStatement, "e30.e30.AA", "e30=.e30.AA", "..", "e30.bnVsbA.AA",
		labStatement + "\n",
		compact("{}", `{"iss":"\u001b","sub":"\ud800","iat":1e18,"software_name":{}}`, "x")} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseStatement(text)
		if err != nil {
			if s != (Statement{}) {
				t.Errorf("claims of an invalid statement: %v", s)
			}
			return
		}
		for _, claim := range []string{s.Issuer, s.Name} {
			if strings.ContainsFunc(claim, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("not printable: %q", claim)
			}
		}
		rest := strings.Trim(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")
		parts := strings.Split(text, ".")
		if rest != "" || len(parts) != 3 {
			t.Fatalf("%q is not a JWS", text)
		}
		for _, part := range parts {
			if raw, err := base64.RawURLEncoding.DecodeString(part); err != nil || len(raw) == 0 {
				t.Errorf("%q is not base64url", part)
			}
		}
	})
}
