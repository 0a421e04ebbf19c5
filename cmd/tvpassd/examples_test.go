package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The players in scripts/examples, each with what it takes to build and run it.
var examplePlayers = []struct {
	source   string
	packages string   // of Debian
	build    []string // what makes the program player of the source; nil where the source is run
}{
	{"player.c", "gcc libc6-dev libcurl4-openssl-dev", []string{"gcc", "-Wall", "-Wextra", "-Werror", "-O2", "-o", "player", "player.c", "-lcurl"}},
	{"player.cpp", "g++ libc6-dev libcurl4-openssl-dev", []string{"g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", "-O2", "-o", "player", "player.cpp", "-lcurl"}},
	{"player.py", "python3", nil},
	{"player.mjs", "nodejs", nil},
	{"player.sh", "curl", nil},
}

// Every example does what docs/players.md asks of a player.
func TestExamplePlayers(t *testing.T) {
	for _, example := range examplePlayers {
		t.Run(example.source, func(t *testing.T) {
			l := newLab(t, "-no-throttle") // it is the test that says when there is a 429
			p := &examplePlayer{lab: l, program: l.path("player")}
			source, err := os.ReadFile(filepath.Join("..", "..", "scripts", "examples", example.source))
			l.must(err)
			if n := strings.Count(string(source), "\n"); n >= 80 {
				t.Errorf("%d lines: an example is read in one sitting", n)
			}
			if example.build == nil {
				p.program = l.path(example.source) // its ending says which language it is in
				l.program(example.source, string(source))
			} else {
				l.write(example.source, string(source))
				build := exec.Command(example.build[0], example.build[1:]...)
				build.Dir = l.dir
				if out, err := build.CombinedOutput(); err != nil {
					t.Fatalf("%v: this takes apt-get install %s\n%s", err, example.packages, out)
				}
			}
			if r := l.exec(nil, "", p.program); r.code == 126 || r.code == 127 || r.code == 0 || !strings.Contains(r.stderr, "usage: ") {
				t.Fatalf("exit %d; this takes apt-get install %s\n%s", r.code, example.packages, r.stderr)
			}
			p.meetsADaemonWithoutAToken()
			p.meetsTheThrottle()
			p.meetsARevokedToken()
			p.saysWhatToDo()
		})
	}
}

type examplePlayer struct {
	*lab
	program string
}

func (p *examplePlayer) args(app string) []string {
	return []string{p.path("sock"), app, p.endpoint + "/api/v2/demo/configuration", p.path("ca.pem")}
}

// succeeds runs the player, and wants the server's answer printed, after calls that were answered so.
func (p *examplePlayer) succeeds(statuses ...int) []request {
	p.t.Helper()
	p.order("DELETE", "/requests", "")
	r := p.exec(nil, "", p.program, p.args("ref30")...)
	if r.code != 0 || !strings.HasPrefix(r.stdout, `{"requestor":`) || r.stderr != "" {
		p.t.Errorf("exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	return p.calls(statuses...)
}

// fails wants the player to end with one line that holds some words.
func (p *examplePlayer) fails(app string, words ...string) {
	p.t.Helper()
	r := p.exec(nil, "", p.program, p.args(app)...)
	r.expect(p.t, 1, words...)
	if r.stdout != "" || strings.Count(r.stderr, "\n") != 1 {
		p.t.Errorf("not one line of error: %q, %q", r.stdout, r.stderr)
	}
}

// calls are the protected calls that came to the server; they were answered so.
func (p *examplePlayer) calls(statuses ...int) []request {
	p.t.Helper()
	all := p.requests("/api/v2/demo/configuration")
	same := len(all) == len(statuses)
	for i := 0; same && i < len(all); i++ {
		same = all[i].Status == statuses[i]
	}
	if !same {
		p.t.Fatalf("the calls are %v, want %v", all, statuses)
	}
	return all
}

func (p *examplePlayer) meetsADaemonWithoutAToken() {
	p.t.Helper()
	p.fails("ref30", "start tvpassd")
	p.order("POST", "/fault", `{"kind":"status","status":503}`)
	p.up()
	player := p.start(p.program, p.args("ref30")...)
	p.t.Cleanup(player.kill)
	player.until("503 of the daemon", func() bool {
		return strings.Contains(p.curl("/v1/metrics").stdout, `tvpassd_token_requests_total{app="ref30",outcome="server_error"}`)
	})
	p.calls() // none without a token
	p.order("DELETE", "/fault", "")
	if code := player.exit(); code != 0 || !strings.HasPrefix(player.stderr.String(), `{"requestor":`) {
		p.t.Fatalf("exit %d\n%s", code, player.stderr)
	}
	p.calls(200)
}

func (p *examplePlayer) meetsTheThrottle() {
	p.t.Helper()
	p.succeeds(200)
	p.order("POST", "/fault", `{"path":"api","kind":"429","count":1}`)
	p.order("POST", "/fault", `{"path":"api","kind":"429","count":1,"retry_after":"3"}`)
	calls := p.succeeds(429, 429, 200)
	if first, second := calls[1].At.Sub(calls[0].At), calls[2].At.Sub(calls[1].At); first < time.Second || second < 3*time.Second {
		p.t.Errorf("it waits %v after a 429, and %v where that asks for 3 s", first, second)
	}
}

func (p *examplePlayer) meetsARevokedToken() {
	p.t.Helper()
	p.order("POST", "/revoke-tokens", "")
	p.succeeds(401, 200)
	if n := len(p.requests("/token")); n != 1 {
		p.t.Errorf("%d token requests for one report", n)
	}
	// One report in five minutes counts. There is nothing left but to tell a person.
	p.order("POST", "/revoke-tokens", "")
	p.order("DELETE", "/requests", "")
	p.fails("ref30", "answered 401")
	p.calls(401, 401)
}

func (p *examplePlayer) saysWhatToDo() {
	p.t.Helper()
	p.fails("no-such-app", "unknown_app", "tvpassd status")
	p.order("POST", "/fault", `{"path":"api","kind":"error","code":"network_received_error","count":1}`)
	p.fails("ref30", "answered 403", "network_received_error", "Enhanced error codes")
	p.order("POST", "/fault", `{"path":"api","kind":"429","count":1,"retry_after":"600"}`)
	p.fails("ref30", "answered 429", "in a minute")
	p.order("POST", "/fault", `{"path":"api","kind":"reset","count":1}`)
	p.fails("ref30", "check ")
}
