package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The players in scripts/examples, each with what it takes to build and run it.
var examplePlayers = []struct {
	source   string
	packages string   // of Debian
	build    []string // what makes the program player of the source; nil where the source is run
}{
	{"player.c", "gcc libc6-dev libcurl4-openssl-dev",
		[]string{"gcc", "-Wall", "-Wextra", "-Werror", "-O2", "-o", "player", "player.c", "-lcurl"}},
	{"player.cpp", "g++ libc6-dev libcurl4-openssl-dev",
		[]string{"g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", "-O2", "-o", "player", "player.cpp", "-lcurl"}},
	{"player.py", "python3", nil},
	{"player.mjs", "nodejs", nil},
	{"player.sh", "curl", nil},
}

// Every example makes a call through the gateway with one request, as
// docs/players.md asks of a player.
func TestExamplePlayers(t *testing.T) {
	for _, example := range examplePlayers {
		t.Run(example.source, func(t *testing.T) {
			l := newLab(t, "-no-throttle") // it is the test that says when there is a 429
			p := &examplePlayer{lab: l, program: l.path("player")}
			source, err := os.ReadFile(filepath.Join("..", "..", "scripts", "examples", example.source))
			l.must(err)
			if n := strings.Count(string(source), "\n"); n > 60 {
				t.Errorf("%d lines: an example is read in one sitting", n)
			}
			if example.build == nil {
				p.program = l.path(example.source) // its ending says which language it is in
				l.must(os.WriteFile(p.program, source, 0o755))
			} else {
				l.write(example.source, string(source))
				build := exec.Command(example.build[0], example.build[1:]...)
				build.Dir = l.dir
				if out, err := build.CombinedOutput(); err != nil {
					t.Fatalf("%v: this takes apt-get install %s\n%s", err, example.packages, out)
				}
			}
			if r := l.exec(nil, "", p.program); r.code == 126 || r.code == 127 || r.code == 0 ||
				!strings.Contains(r.stderr, "usage: ") {
				t.Fatalf("exit %d; this takes apt-get install %s\n%s", r.code, example.packages, r.stderr)
			}
			p.meetsADaemonWithoutAToken()
			p.meetsTheServersRefusals()
			p.signsIn()
			p.saysWhatToDo()
		})
	}
}

type examplePlayer struct {
	*lab
	program string
}

// call has the player make a call; a body is its last argument.
func (p *examplePlayer) call(app, path string, body ...string) result {
	p.t.Helper()
	return p.exec(nil, "", p.program, append([]string{p.path("sock"), app, path}, body...)...)
}

// succeeds makes a call, wants its answer printed, and returns it.
func (p *examplePlayer) succeeds(path, answer string, body ...string) string {
	p.t.Helper()
	r := p.call("ref30", path, body...)
	if r.code != 0 || !strings.Contains(r.stdout, answer) || r.stderr != "" {
		p.t.Errorf("%s: exit %d\n%s%s", path, r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// fails wants the player to end with one line that holds some words.
func (p *examplePlayer) fails(app string, words ...string) {
	p.t.Helper()
	r := p.call(app, "REF30/configuration")
	r.expect(p.t, 1, words...)
	if r.stdout != "" || strings.Count(r.stderr, "\n") != 1 {
		p.t.Errorf("not one line of error: %q, %q", r.stdout, r.stderr)
	}
}

// calls wants the calls that came to the server to have been answered so.
func (p *examplePlayer) calls(statuses ...int) {
	p.t.Helper()
	var got []int
	for _, r := range p.requests("/api/v2/REF30/configuration") {
		got = append(got, r.Status)
	}
	if !slices.Equal(got, statuses) {
		p.t.Errorf("the calls were answered %v, want %v", got, statuses)
	}
}

func (p *examplePlayer) meetsADaemonWithoutAToken() {
	p.t.Helper()
	p.fails("ref30", "start tvpassd")
	p.order("POST", "/fault", `{"path":"token","kind":"status","status":503,"count":1}`)
	p.up()
	p.succeeds("REF30/configuration", `{"requestor":`) // the daemon fetches a token meanwhile
	p.calls(200)
}

// meetsTheServersRefusals makes the player send one request, while the daemon
// deals with the throttle and with a token that the server has forgotten.
func (p *examplePlayer) meetsTheServersRefusals() {
	p.t.Helper()
	p.order("DELETE", "/requests", "")
	p.order("POST", "/fault", `{"path":"api","kind":"429","count":1}`)
	p.succeeds("REF30/configuration", `{"requestor":`)
	p.order("POST", "/revoke-tokens", "")
	p.succeeds("REF30/configuration", `{"requestor":`)
	p.calls(429, 200, 401, 200)
	// Only one 401 in five minutes counts as a dead token. All that is left is to
	// tell a person.
	p.order("POST", "/revoke-tokens", "")
	p.fails("ref30", "401", "TVE Dashboard")
	p.run("refresh", "--app", "ref30").expect(p.t, 0)
	p.daemon.until("a new token", func() bool { return p.curl("/v1/apps/ref30/api/v2/REF30/profiles").code == 200 })
}

// signsIn plays a sign-in up to a decision: forms and JSON arrive as such.
func (p *examplePlayer) signsIn() {
	p.t.Helper()
	session := p.succeeds("REF30/sessions", `"code":"`,
		"mvpd=Cablevision&domainName=adobe.com&redirectUrl=https%3A%2F%2Ftv.example%2Fdone")
	code := field(p.t, session, "code")
	p.succeeds("REF30/profiles/code/"+code, `{"profiles":{}}`)
	p.order("POST", "/sign-in", `{"code":"`+code+`"}`)
	p.succeeds("REF30/profiles/code/"+code, `"Cablevision":{`)
	p.succeeds("REF30/decisions/authorize/Cablevision", `"serializedToken":"`, `{"resources":["REF30"]}`)
}

func (p *examplePlayer) saysWhatToDo() {
	p.t.Helper()
	p.fails("no-such-app", "unknown_app", "docs/players.md")
	p.order("POST", "/fault", `{"path":"api","kind":"truncated","count":1}`) // an answer that is cut
	p.fails("ref30", "start tvpassd")
	p.order("POST", "/fault", `{"path":"api","kind":"error","code":"network_received_error","count":1}`)
	p.fails("ref30", "403", "network_received_error", "docs/players.md")
	p.order("POST", "/fault", `{"path":"api","kind":"429","retry_after":"600","count":1}`)
	p.fails("ref30", "503", "throttled")
}

// oldCurl stands before curl in PATH. It refuses what curl 7.69 does not know,
// which Yocto's dunfell has, and leaves the rest to curl.
const oldCurl = `#!/bin/sh
for arg; do
	case $arg in
	--json | --fail-with-body | --url-query | --variable | --retry-all-errors | *%header* | *%{json* | *%{header_json*)
		echo "curl: option $arg: is unknown" >&2
		exit 2 ;;
	esac
done
exec "$REAL_CURL" "$@"
`

// The player in shell works with a curl of 2020.
func TestShellPlayerWithAnOldCurl(t *testing.T) {
	l := newLab(t)
	l.up()
	curl, err := exec.LookPath("curl")
	l.must(err)
	l.must(os.Mkdir(l.path("bin"), 0o755))
	l.must(os.WriteFile(l.path("bin/curl"), []byte(oldCurl), 0o755))
	player := []string{"REAL_CURL=" + curl, "PATH=" + l.path("bin") + ":" + os.Getenv("PATH"),
		"../../scripts/examples/player.sh", l.path("sock"), "ref30"}
	l.exec(nil, "", "env", append(player, "REF30/configuration")...).expect(t, 0, `{"requestor":`)
	l.exec(nil, "", "env", append(player, "REF30/sessions", "mvpd=Cablevision")...).expect(t, 0, `"code":"`)
	l.exec(nil, "", "env", append(player[:2:2], "curl", "--json", "{}")...).expect(t, 2, "is unknown")
}
