package main

import (
	"encoding/json"
	"strings"
	"syscall"
	"testing"
)

// What a shell player may ask of a token: to wait for one, and how long it
// lives.
func TestTokenFlags(t *testing.T) {
	l := newLab(t, "-token-life", "1h")
	l.up()
	token := l.token()
	l.run("token", "--wait", "1m", "--min-ttl", "10m").expect(t, 0, token+"\n")
	l.run("headers", "--wait", "1m", "--min-ttl", "10m").expect(t, 0, "Authorization: Bearer "+token)
	for _, flags := range [][]string{{"--wait", "61s"}, {"--wait", "-1s"}, {"--wait", "5"}, {"--min-ttl", "-1s"}} {
		for _, command := range []string{"token", "headers"} {
			l.run(append([]string{command}, flags...)...).expect(t, 64, flags[0][2:])
		}
	}
	// Without a token --wait 0s says at once why, and a longer one waits.
	l.daemon.stop()
	l.addApp("other", "")
	l.order("POST", "/fault", `{"path":"token","kind":"status","status":503}`)
	l.up()
	l.daemon.until("failure of the other app", func() bool {
		return strings.Contains(l.run("token", "--app", "other", "--wait", "0s").stderr, "server_error")
	})
	waiting := l.start(programs.tvpassd, "token", "--app", "other", "--wait", "60s", "--config", l.path("config.toml"))
	t.Cleanup(waiting.kill)
	l.order("DELETE", "/fault", "")
	if code := waiting.exit(); code != 0 {
		t.Errorf("exit %d: %s", code, waiting.stderr)
	}
}

// A shell player reports a refused token, which goes over standard input: every
// user can read a command line.
func TestReportCommand(t *testing.T) {
	l := newLab(t)
	d := l.up()
	first := l.token()
	report := func(code int, stdin, want string, flags ...string) {
		t.Helper()
		args := append([]string{"report", "--config", l.path("config.toml")}, flags...)
		l.exec(nil, stdin, programs.tvpassd, args...).expect(t, code, want)
	}
	report(64, "", "no token on standard input")
	report(64, first, "unexpected argument", "more")
	report(0, "another", "none\n")
	report(0, first, "none\n", "--status", "403")
	report(0, "another", "none\n", "--status", "429")
	const throttled = "a player reports that the server throttles this device"
	if strings.Contains(d.stderr.String(), throttled) {
		t.Error("a report without the token counts")
	}
	report(0, first, "none\n", "--status", "429")
	d.until("report of a 429", func() bool { return strings.Contains(d.stderr.String(), throttled) })
	report(0, first+"\n", "refresh\n", "--app", "ref30")
	if l.token() == first {
		t.Error("the refused token is served")
	}
	l.addApp("other", "")
	l.run("reload").expect(t, 0)
	report(1, first, "name one with --app")
}

// watch prints a line for each event, until it is interrupted or the daemon
// ends.
func TestWatchCommand(t *testing.T) {
	l := newLab(t)
	d := l.up()
	first := l.token()
	start := func() *process {
		w := l.start(programs.tvpassd, "watch", "--config", l.path("config.toml"))
		t.Cleanup(w.kill)
		w.until("token", func() bool { return strings.Contains(w.stderr.String(), "\ntoken {") })
		return w
	}
	w := start()
	l.run("refresh", "--app", "ref30").expect(t, 0)
	var lines []string
	w.until("second token", func() bool {
		lines = strings.SplitAfter(w.stderr.String(), "\n")
		return strings.Count(w.stderr.String(), "\ntoken {") > 1 && lines[len(lines)-1] == ""
	})
	tokens := map[string]bool{}
	for _, line := range lines[:len(lines)-1] {
		name, data, _ := strings.Cut(line, " ")
		var event struct {
			App    string
			Access string `json:"access_token"`
		}
		if err := json.Unmarshal([]byte(data), &event); err != nil || event.App != "ref30" {
			t.Errorf("%v in %q", err, line)
		}
		if name == "token" {
			tokens[event.Access] = true
		}
	}
	if !tokens[first] || len(tokens) != 2 {
		t.Errorf("%d tokens in\n%s", len(tokens), w.stderr)
	}
	l.must(w.cmd.Process.Signal(syscall.SIGINT))
	if code := w.exit(); code != 0 {
		t.Errorf("exit %d when interrupted\n%s", code, w.stderr)
	}
	w = start()
	d.stop()
	if code := w.exit(); code != 1 || !strings.Contains(w.stderr.String(), "the daemon ended the watch") {
		t.Errorf("exit %d when the daemon ends\n%s", code, w.stderr)
	}
}
