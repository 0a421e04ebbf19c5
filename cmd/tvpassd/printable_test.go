package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"plain, ünï, 電視\n\t": "plain, ünï, 電視\n\t",
		"\x1b[2Jgone":        `\u001b[2Jgone`,
		"a\u202eb\u200bc":    `a\u202eb\u200bc`,
		"bell\a back\b\r":    `bell\u0007 back\u0008\u000d`,
		"\xff\x9b1m":         "\uFFFD\uFFFD1m",
		"tag\U000E0041":      `tag\udb40\udc41`,
	} {
		if got := printable(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add("a\x1b[31m\u202e\xff")
	f.Fuzz(func(t *testing.T, text string) {
		if got := printable(text); strings.ContainsAny(got, "\x1b\a\b\r\u202e\u2066\u200b\u009b\x7f") {
			t.Errorf("%q: %q", text, got)
		}
		object, err := json.Marshal(strings.ToValidUTF8(text, ""))
		if err != nil {
			t.Fatal(err)
		}
		var back string
		if err := json.Unmarshal([]byte(printable(string(object))), &back); err != nil ||
			back != strings.ToValidUTF8(text, "") {
			t.Errorf("%q comes back from JSON as %q, %v", text, back, err)
		}
	})
}

// Text that others chose never reaches a terminal unchanged: a name in apps.d,
// a value of the hardware, an error about either.
func TestNothingReachesTheTerminalRaw(t *testing.T) {
	l := newLab(t)
	evil := "\x1b]0;owned\a\u202e\u200b"
	l.write("apps.d/00-"+evil+".toml", "[[app]]\nid = \"x\"\n")
	l.configure("", "[device]", `model = "Box\u001b[2J\u202e"`, `version = "1"`)
	l.up()
	for _, args := range [][]string{
		{"status"}, {"status", "--json"}, {"device"}, {"device", "--json"}, {"device", "--all"},
		{"config", "check"}, {"doctor"},
		{"token", "--app", evil}, {"refresh", "--app", evil}, {evil}, {"config", evil},
	} {
		r := l.run(args...)
		if out := r.stdout + r.stderr; strings.ContainsAny(out, "\x1b\a\u202e\u200b") {
			t.Errorf("tvpassd %s prints %q", strings.Join(args, " "), out)
		}
	}
	l.must(os.Remove(l.path("apps.d/00-" + evil + ".toml")))
}
