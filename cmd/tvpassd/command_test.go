package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tvpassd/tvpassd/ipc/client"
)

// exec runs a command outside of any lab.
func exec1(t *testing.T, args ...string) result {
	t.Helper()
	return (&lab{t: t}).exec(nil, "", programs.tvpassd, args...)
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{}, {"nonsense"}, {"--nonsense"}, {"status", "--nonsense"}, {"status", "more"}, {"config"}, {"config", "chekc"},
		{"config", "check", "more"}, {"refresh"}, {"reset"}, {"run", "more"}, {"token", "ref30"}, {"device", "--root"},
	} {
		if r := exec1(t, args...); r.code != 64 || r.stdout != "" || r.stderr == "" {
			t.Errorf("tvpassd %q: exit %d, stdout %q, stderr %q; want 64 and a word on stderr", args, r.code, r.stdout,
				r.stderr)
		}
	}
	r := exec1(t, "--help")
	r.expect(t, 0, "tvpassd [--config FILE] [--socket PATH] COMMAND")
	for _, c := range commands() {
		if !strings.Contains(r.stdout, "\n  "+c.name+" ") {
			t.Errorf("the help has no %s", c.name)
		}
		exec1(t, c.name, "--help").expect(t, 0, c.does, "  --socket PATH")
	}
	for line := range strings.Lines(r.stdout) {
		if len(line) > 81 {
			t.Errorf("wider than a console: %q", line)
		}
	}
	exec1(t, "version").expect(t, 0, "tvpassd 1.2.3 (commit ", "built 2026-01-01T00:00:00Z", "go1.", "linux/")
}

// Without a daemon every command says so, and what to do.
func TestNotRunning(t *testing.T) {
	t.Parallel()
	sock := filepath.Join(t.TempDir(), "sock")
	for _, args := range [][]string{{"token"}, {"headers"}, {"refresh", "--app", "x"}, {"reload"},
		{"reset", "--yes", "--app", "x"}} {
		r := exec1(t, append(args, "--socket", sock)...)
		r.expect(t, 1, "tvpassd is not running", "tvpassd start")
		if strings.Count(r.stderr, "\n") != 1 {
			t.Errorf("%s: not one line: %q", args[0], r.stderr)
		}
	}
	exec1(t, "--socket", sock, "status").expect(t, 3, "not running\n", "tvpassd start")
	r := exec1(t, "status", "--json", "--socket", sock)
	if r.code != 3 || field(t, r.stdout, "health") != "not_running" || field(t, r.stdout, "detail") == "" {
		t.Errorf("exit %d, %s", r.code, r.stdout)
	}
	l, err := net.Listen("unix", sock) // somebody who does not answer as the daemon would
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("hello\n"))
			c.Close()
		}
	}()
	defer l.Close()
	exec1(t, "status", "--socket", sock).expect(t, 3, "not running\n  ask tvpassd: ")
	deaf := filepath.Join(t.TempDir(), "deaf") // somebody who listens and never answers
	d, err := net.Listen("unix", deaf)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	exec1(t, "status", "--socket", deaf).expect(t, 3, "not running\n", "no answer on ", "`tvpassd doctor` finds the")
}

// A daemon that answers others needs no restart: that would wait for the disk, too.
func TestARequestThatTakesTooLong(t *testing.T) {
	sock := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	busy := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/status" {
			<-r.Context().Done()
		}
		fmt.Fprint(w, "{}")
	})}
	go busy.Serve(l)
	defer busy.Close()
	e := &env{ctx: t.Context(), socket: sock}
	const want = "not done within 1ms, though tvpassd runs: it may wait for a slow disk, see `tvpassd status`"
	for deadline := time.Now().Add(patience); err == nil || err.Error() != want; { // this machine may be slow, too
		if time.Now().After(deadline) {
			t.Fatalf("got %v", err)
		}
		err = e.ask(time.Millisecond, func(ctx context.Context, c *client.Client) error { return c.Reload(ctx) })
	}
}

func TestStatus(t *testing.T) {
	l := newLab(t)
	l.configure("") // a device without a model
	l.up()
	l.token()
	r := l.run("status")
	r.expect(t, 1, "tvpassd 1.2.3: degraded, up ", "  endpoint  "+l.endpoint, "app ref30: ready, token good for 5h5",
		"warning ")
	for line := range strings.Lines(r.stdout) {
		if len(line) > 81 && !strings.Contains(line, l.endpoint) {
			t.Errorf("wider than a console: %q", line)
		}
		if strings.IndexFunc(line, func(r rune) bool { return r > 126 || r < 32 && r != '\n' }) >= 0 {
			t.Errorf("more than ASCII: %q", line)
		}
	}
	var st struct {
		Health   string
		Version  string
		Device   struct{ Sources any }
		Clock    struct{ Set bool }
		Throttle struct{ Open bool }
		Storage  struct{ OK bool }
		Apps     []struct {
			App, State    string
			Client        string `json:"client_id"`
			Registrations int
			LastError     any `json:"last_error"`
			Left          int `json:"token_expires_in"`
			Next          int `json:"next_refresh_in"`
		}
	}
	r = l.run("status", "--json")
	l.must(json.Unmarshal([]byte(r.stdout), &st))
	app := st.Apps[0]
	if r.code != 1 || st.Health != "degraded" || st.Version != "1.2.3" || st.Device.Sources != nil || !st.Clock.Set ||
		!st.Storage.OK ||
		app.App != "ref30" || app.State != "ready" || app.Registrations != 1 || app.LastError != nil ||
		app.Left < 21000 || app.Next < 4200 || app.Next > 14400 ||
		!strings.HasSuffix(app.Client, "****") {
		t.Errorf("exit %d\n%s", r.code, r.stdout)
	}

	// With nothing to warn of it is healthy.
	l.daemon.stop()
	l.configure("", "[device]", `model = "Box"`, `version = "1"`)
	l.up()
	l.token()
	l.run("status").expect(t, 0, "tvpassd 1.2.3: healthy, up ", "  device    Box, identifier from dmi-product-uuid\n")

	w := l.start(programs.tvpassd, "status", "--watch", "--config", l.path("config.toml"))
	w.until("two screens", func() bool { return strings.Count(w.stderr.String(), "app ref30: ready") >= 2 })
	l.must(w.cmd.Process.Signal(syscall.SIGINT))
	if code := w.exit(); code > 1 {
		t.Errorf("exit %d of --watch", code)
	}
}

// A mistake in the configuration is reported with file and line, and costs no
// state.
func TestBadConfiguration(t *testing.T) {
	l := newLab(t)
	good := l.read("config.toml")
	for _, tc := range []struct{ name, config, want string }{
		{"unknown key", "environmant = \"release-production\"\n" + good, `config.toml:1: `},
		{"mistyped", "log_level = 3\n" + good, `config.toml:1: `},
		{"plain http", strings.Replace(good, l.endpoint, "http://sp.example", 1), "loopback"},
		{"no group", strings.Replace(good, `group = ""`, `group = "no-such-group"`, 1), "no-such-group"},
		{"device", strings.Replace(good, `model = "Box"`, `primaryHardwareType = "Toaster"`, 1), "Toaster"},
		{"statement", good + "[[app]]\nid = \"x\"\nsoftware_statement = \"secret-without-dots\"\n", "software_statement"},
		{"socket path", strings.Replace(good, `path = "sock"`, `path = "`+strings.Repeat("s", 120)+`"`, 1), "107"},
		{"ca file", strings.Replace(good, "ca.pem", "none.pem", 1), "none.pem"},
		{"socket directory", strings.Replace(good, `path = "sock"`, `path = "a/b/sock"`, 1), "a/b"},
		{"state in a file", strings.Replace(good, `state_dir = "state"`, `state_dir = "ca.pem"`, 1), "ca.pem"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l.write("config.toml", tc.config)
			if tc.name != "socket directory" && tc.name != "state in a file" { // what the daemon alone finds out
				l.run("config", "check").expect(t, 1, tc.want)
			}
			r := l.exec(nil, "", programs.tvpassd, "run", "--config", l.path("config.toml"))
			r.expect(t, 78, "tvpassd: ", tc.want)
			if strings.Contains(r.stderr, "secret") {
				t.Errorf("the error holds the statement: %s", r.stderr)
			}
			if lines := strings.Count(r.stderr, "tvpassd: "); lines != 1 {
				t.Errorf("%d lines of error\n%s", lines, r.stderr)
			}
		})
	}
	l.write("config.toml", "nonsense = 1\nmore = 2\n"+good)
	l.run("config", "check").expect(t, 1, "config.toml:1: ", "config.toml:2: ")
	l.write("config.toml", good)
	l.run("config", "check").expect(t, 0, "good, 1 app, endpoint "+l.endpoint)
	exec1(t, "run", "--config", l.path("none.toml")).expect(t, 78, "none.toml")
	l.write("apps.d/bad.toml", "[[app]]\nid = \"bad\"\n")
	l.run("config", "check").expect(t, 1, "bad.toml")
}

// The configuration in force is compared with the files, and admins see a
// change.
func TestReloadNeeded(t *testing.T) {
	needRoot(t)
	l := newLab(t)
	l.up()
	l.token()
	l.run("status").expect(t, 0, "healthy")
	good := l.read("config.toml")
	for _, change := range []struct {
		do   func()
		file string
	}{
		{func() { l.write("config.toml", good+"# a comment\n") }, "config.toml"},
		{func() { l.addApp("second", "") }, "apps.d"},
		{func() { l.addApp("second", `redirect_uri = "adobepass://other"`) }, "apps.d/second.toml"},
		{func() { l.write("apps.d/second.jwt", l.read("apps.d/ref30.jwt")) }, "apps.d/second.jwt"},
		{func() { l.must(os.Remove(l.path("apps.d/second.toml"))) }, "apps.d"},
	} {
		change.do()
		l.daemon.until("reload_needed", func() bool { // a daemon that looked just now waits with the next look
			r := l.run("status", "--json")
			return r.code == 1 && strings.Contains(r.stdout, "reload_needed") &&
				strings.Contains(r.stdout, l.path(change.file)+" changed since it was read")
		})
		if r := l.curlAs(stranger, "/v1/status"); strings.Contains(r.stdout, "reload_needed") {
			t.Errorf("everybody is told: %s", r.stdout)
		}
		l.run("reload").expect(t, 0)
		if l.exists("apps.d/second.toml") {
			l.tokenOf(nil, "second")
		}
		if r := l.run("status", "--json"); strings.Contains(r.stdout, "reload_needed") {
			t.Errorf("after a reload: %s", r.stdout)
		}
	}
	l.write("config.toml", "nonsense = 1\n"+good)
	l.run("reload").expect(t, 1)
	if r := l.run("status", "--json"); strings.Contains(r.stdout, "reload_needed") ||
		!strings.Contains(r.stdout, "invalid_configuration") {
		t.Errorf("a refused configuration: %s", r.stdout)
	}
	l.write("config.toml", good)
	l.run("reload").expect(t, 0)
	l.write("config.toml", good) // the same again
	l.run("status").expect(t, 0, "healthy")
}

// A configuration that others may change is a warning, not a fault.
func TestConfigCheckWarns(t *testing.T) {
	l := newLab(t)
	l.must(os.Chmod(l.path("apps.d"), 0o777))
	l.must(os.Chmod(l.path("apps.d/ref30.jwt"), 0o644))
	l.write("config.toml", l.read("config.toml")+"[gateway]\nenabled = false\n")
	l.write("apps.d/ref30.toml", l.read("apps.d/ref30.toml")+"hand_out_token = false\n")
	r := l.run("config", "check")
	r.expect(t, 0, "good, 1 app")
	for _, want := range []string{
		"tvpassd: warning: " + l.path("apps.d") + ": everybody may write to it: chmod o-w " + l.path("apps.d") + "\n",
		"tvpassd: warning: " + l.path("apps.d/ref30.jwt") + ": everybody may read the software statement in it: chmod o-r ",
		"tvpassd: warning: players of ref30 get nothing: it has hand_out_token = false, and [gateway] enabled is false",
	} {
		if !strings.Contains(r.stderr, want) {
			t.Errorf("%q is not in\n%s", want, r.stderr)
		}
	}
}

// An app that names an unknown user is disabled alone, in config.toml too.
func TestUnknownUser(t *testing.T) {
	l := newLab(t)
	l.write("config.toml", l.read("config.toml")+"[[app]]\nid = \"other\"\n"+
		"software_statement = \"e30.e30.AA\"\nallow_users = [\"no-such-user\"]\n")
	l.run("config", "check").expect(t, 1, "config.toml:", "no-such-user")
	l.up()
	l.token()
	l.run("status").expect(t, 1, "degraded", "no-such-user")
	l.run("token", "--app", "other").expect(t, 1, "unknown_app")
}

// A player's bad file disables that player, not the device. A reload takes over
// good files and refuses a bad config.toml.
func TestReload(t *testing.T) {
	l := newLab(t)
	l.write("apps.d/bad.toml", "[[app]]\nid = \"bad\"\nsoftware_statement = \"x\"\n")
	l.up()
	first := l.token()
	l.run("status").expect(t, 1, "tvpassd 1.2.3: degraded", "warning app_disabled", "bad.toml:")
	config := l.read("config.toml")
	l.write("config.toml", "nonsense = 1\n"+config)
	l.run("reload").expect(t, 1)
	l.run("status").expect(t, 1, "warning app_disabled", "warning invalid_configuration") // the one is as true as before
	l.write("config.toml", config)
	l.must(os.Remove(l.path("apps.d/bad.toml")))
	l.addApp("second", "")
	l.must(l.daemon.cmd.Process.Signal(syscall.SIGHUP))
	l.daemon.until("the new app", func() bool { return l.curl("/v1/apps/second/token?wait=0s").code != 404 })
	l.tokenOf(nil, "second")
	l.run("status").expect(t, 0, "healthy")
	good := l.read("config.toml")
	l.write("config.toml", "nonsense = 1\n"+good)
	l.run("reload").expect(t, 1, "config.toml:1: ", "the old one stays in force")
	l.run("status").expect(t, 1, "warning invalid_configuration")
	l.run("reload").expect(t, 1)
	if n := strings.Count(l.run("status").stdout, "warning invalid_configuration"); n != 1 {
		t.Errorf("a second refusal is told beside the first: %d", n)
	}
	l.write("config.toml", strings.Replace(good, `mode = "0666"`, `mode = "0660"`, 1))
	l.run("reload").expect(t, 0)
	l.run("status").expect(t, 1, "warning restart_needed", "[socket] mode")
	l.write("config.toml", good)
	l.must(os.Remove(l.path("apps.d/second.toml")))
	l.run("reload").expect(t, 0)
	l.curl("/v1/apps/second/token").expect(t, 404, "unknown_app")
	if l.token() != first {
		t.Error("a reload lost the token")
	}
	l.expectCalls(2, 2)

	// Switching the endpoint back and forth finds the pair again; a change of
	// the statement keeps it.
	l.write("config.toml", strings.Replace(good, l.endpoint, "https://127.0.0.1:1", 1))
	l.run("reload").expect(t, 0)
	l.curl("/v1/token?wait=0s").expect(t, 503)
	l.write("config.toml", good)
	l.addApp("ref30", `redirect_uri = "adobepass://other"`)
	l.run("reload").expect(t, 0)
	if l.token() != first {
		t.Error("switching back lost the token")
	}
	l.expectCalls(2, 2)
}

func TestReset(t *testing.T) {
	l := newLab(t)
	l.up()
	first := l.token()
	args := []string{"reset", "--app", "ref30", "--config", l.path("config.toml")}
	l.exec(nil, "no\n", programs.tvpassd, args...).expect(t, 1, "must sign in", "nothing was done")
	l.exec(nil, "", programs.tvpassd, args...).expect(t, 1, "nothing was done")
	l.expectCalls(1, 1)
	l.exec(nil, "ref30\n", programs.tvpassd, args...).expect(t, 0)
	if l.token() == first {
		t.Error("the old token is served")
	}
	l.expectCalls(2, 2)
	l.run("reset", "--app", "none", "--yes").expect(t, 1, "unknown_app")
	l.run("refresh", "--app", "none").expect(t, 1, "unknown_app")
}

// A second daemon takes neither the socket nor the state of the first.
func TestASecondDaemon(t *testing.T) {
	l := newLab(t)
	first := l.up()
	l.run("run").expect(t, 78, "another tvpassd uses this state directory")
	l.write("config.toml", strings.Replace(l.read("config.toml"), `"state"`, `"state2"`, 1))
	l.run("run").expect(t, 78, "in use by a running daemon")
	l.storedToken()
	first.kill() // the socket stays, and nobody listens on it
	l.write("config.toml", strings.Replace(l.read("config.toml"), `"state2"`, `"state"`, 1))
	l.up()
	l.token()
	l.expectCalls(1, 1)
}

func TestDevice(t *testing.T) {
	l := newLab(t)
	l.configure("", "[device]", `model = "Acme Box"`)
	tree := filepath.Join("..", "..", "device", "testdata", "dt-board")
	r := l.exec(nil, "", programs.tvpassd, "device", "--root", tree)
	r.expect(t, 0, "KEY", "/proc/device-tree/model", "\nDevice identifier, from ", ":\n", "\nX-Device-Info:\ney")
	if strings.Contains(r.stdout, "Acme") {
		t.Errorf("--root reads this machine's configuration\n%s", r.stdout)
	}
	l.run("device", "--root", tree).expect(t, 0, "model", "Acme Box", "configuration")
	l.write("foreign.toml", "[device]\nmodel = \"Acme Box\"\n[socket]\ngroup = \"a-group-of-that-device\"\n")
	l.exec(nil, "", programs.tvpassd, "device", "--root", tree, "--config", l.path("foreign.toml")).expect(t, 0,
		"Acme Box")
	l.write("foreign.toml", "[device]\nosName = \"Toaster\"\n")
	l.exec(nil, "", programs.tvpassd, "device", "--root", tree, "--config", l.path("foreign.toml")).expect(t, 1,
		"foreign.toml:2: ", "Toaster")

	l.run("device").expect(t, 0, "Acme Box", "Not known: ", "[device]")
	l.up()
	before := l.run("device", "--json")
	var dev struct {
		Info       map[string]any
		Sources    map[string]string
		Header     string                                 `json:"x_device_info"`
		Identifier struct{ Value, Source, Header string } `json:"device_identifier"`
	}
	l.must(json.Unmarshal([]byte(before.stdout), &dev))
	object, err := base64.StdEncoding.DecodeString(dev.Header)
	l.must(err)
	var sent map[string]any
	l.must(json.Unmarshal(object, &sent))
	value, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(dev.Identifier.Header, "fingerprint "))
	l.must(err)
	if sent["model"] != "Acme Box" || dev.Info["model"] != "Acme Box" || dev.Sources["model"] != "configuration" ||
		string(value) != dev.Identifier.Value || len(value) != 64 {
		t.Errorf("the device is %s", before.stdout)
	}
	l.daemon.stop()
	l.up()
	if after := l.run("device", "--json"); after.stdout != before.stdout {
		t.Errorf("a restart changed the device from\n%s\nto\n%s", before.stdout, after.stdout)
	}
}

// No secret stands in anything that is shown or logged.
func TestNoSecretIsTold(t *testing.T) {
	l := newLab(t)
	l.configure(`log_level = "debug"`)
	l.up()
	token := l.token()
	statement := strings.TrimSpace(l.read("apps.d/ref30.jwt"))
	l.order("POST", "/revoke-tokens", "")
	l.curl("/v1/apps/ref30/report", "--json", `{"access_token":"`+token+`","status":401}`)
	l.order("POST", "/fault", `{"kind":"error","code":"unauthorized_client","path":"token"}`)
	l.run("refresh", "--app", "ref30")
	l.daemon.until("trouble", func() bool { return strings.Contains(l.run("status").stdout, "unauthorized_client") })
	secrets := []string{token, token[len(token)/2:], statement, strings.Split(statement, ".")[1]}
	for _, name := range []string{"client_secret", "client_id"} {
		_, after, _ := strings.Cut(l.read("state/tvpassd.copy"), `"`+name+`":"`)
		secret, _, _ := strings.Cut(after, `"`)
		if len(secret) < 8 {
			t.Fatalf("the copy of the credentials holds no %s", name)
		}
		secrets = append(secrets, secret)
	}
	shown := l.daemon.stderr.String() + l.run("status").stdout + l.run("status", "--json").stdout +
		l.curl("/v1/metrics").stdout +
		l.curl("/v1/healthz").stdout + l.curl("/v1/device").stdout + l.curl("/v1/apps/ref30/token?min_ttl=oops").stdout
	for _, secret := range secrets {
		if strings.Contains(shown, secret) {
			t.Errorf("%.10s... is told", secret)
		}
	}
	// Nobody else may read the state.
	for _, name := range []string{"state", "state/tvpassd.db", "state/tvpassd.copy"} {
		info, err := os.Stat(l.path(name))
		l.must(err)
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
}
