package main

import (
	"strings"
	"testing"
)

// Each command says how it ends and shows one call, and `help CMD` is its
// --help.
func TestHelpOfEachCommand(t *testing.T) {
	t.Parallel()
	for _, c := range commands() {
		r := exec1(t, c.name, "--help")
		r.expect(t, 0, "exit status:\n  0   ", "\n  64  wrong usage\n", "\nexample:\n  ", "tvpassd "+c.name)
		if other := exec1(t, "help", c.name); other != r {
			t.Errorf("help %s: %+v, but --help: %+v", c.name, other, r)
		}
		for line := range strings.Lines(r.stdout) {
			if len(line) > 100 {
				t.Errorf("%s: wider than a page: %q", c.name, line)
			}
		}
	}
	exec1(t, "help", "status").expect(t, 0, "4   no permission on the socket")
	exec1(t, "help", "run").expect(t, 0, "78  configuration or state unusable")
	exec1(t, "help").expect(t, 0, "usage: tvpassd [--config FILE] [--socket PATH] COMMAND", "tvpassd help COMMAND")
}

// What each example shows can be typed: its command and flags exist.
func TestExamplesOfTheHelp(t *testing.T) {
	t.Parallel()
	for _, c := range commands() {
		set := (&env{}).flagSet(c.name)
		c.flags(set)
		_, behind, _ := strings.Cut(c.example, "tvpassd "+c.name)
		behind, _, _ = strings.Cut(behind, "|")
		behind, _, _ = strings.Cut(behind, "&&")
		words := strings.Fields(behind)
		for len(words) > 0 {
			if err := set.Parse(words); err != nil {
				t.Errorf("%s: %v", c.example, err)
				break
			}
			if words = set.Args(); len(words) > 0 {
				words = words[1:]
			}
		}
	}
}

// A word that is nearly a command is answered with that command.
func TestNearestCommand(t *testing.T) {
	t.Parallel()
	for typed, want := range map[string]string{
		"statsu": "status", "stauts": "status", "stat": "status", "Status": "status", "tokens": "token", "tokne": "token",
		"header": "headers", "docter": "doctor", "relaod": "reload", "inst": "install", "unistall": "uninstall",
		"conf": "config", "vresion": "version", "rn": "run", "nonsense": "", "x": "", "purge": "", "zz": "",
	} {
		_, err := find(typed)
		got := err.Error()
		if suggested := strings.Contains(got, "did you mean"); suggested != (want != "") || !strings.Contains(got, want) {
			t.Errorf("%q: %s; want %q", typed, got, want)
		}
	}
	exec1(t, "statsu").expect(t, 64, `unknown command "statsu": did you mean status?`)
	exec1(t, "help", "statsu").expect(t, 64, "did you mean status?")
}
