package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// fakeSystem puts programs of the system in front of the path of what the lab
// runs: a script each.
func (l *lab) fakeSystem(scripts map[string]string) {
	l.t.Helper()
	l.must(os.MkdirAll(l.path("bin"), 0o755))
	for name, script := range scripts {
		l.program("bin/"+name, "#!/bin/sh\n"+script)
	}
}

const serviceRuns = `printf '%s\n' LoadState=loaded UnitFileState=enabled ActiveState=active Result=success \
	ExecMainStatus=0 NRestarts=0
`

// runFaked is run with the fake system, as somebody, and perhaps in a namespace
// of its own.
func (l *lab) runFaked(attr *syscall.SysProcAttr, env []string, args ...string) result {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, programs.tvpassd, append(args, "--config", l.path("config.toml"))...)
	cmd.Env = append(append(os.Environ(), "PATH="+l.path("bin")+":"+os.Getenv("PATH")), env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr, cmd.Dir = &stdout, &stderr, attr, l.dir
	if err := cmd.Run(); ctx.Err() != nil || cmd.ProcessState == nil {
		l.t.Fatalf("tvpassd %s: %v\n%s%s", strings.Join(args, " "), err, &stdout, &stderr)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// report is what doctor --json prints.
type report struct {
	Checks []struct{ ID, Status, Detail, Todo string }
	Worst  string
}

func (l *lab) report(r result) report {
	l.t.Helper()
	var rep report
	if err := json.Unmarshal([]byte(r.stdout), &rep); err != nil {
		l.t.Fatalf("%v: %s%s", err, r.stdout, r.stderr)
	}
	return rep
}

func (r report) status(id string) string {
	for _, c := range r.Checks {
		if c.ID == id {
			return c.Status
		}
	}
	return "missing"
}

// healthy is a lab on whose device all is well.
func healthyLab(t *testing.T) *lab {
	l := newLab(t)
	l.configure("", "[device]", `model = "Box"`, `version = "1"`, `connectionType = "LAN"`)
	l.fakeSystem(map[string]string{"systemctl": serviceRuns})
	return l
}

func TestDoctor(t *testing.T) {
	l := healthyLab(t)
	l.up()
	l.storedToken()
	before := len(l.requests(""))
	r := l.runFaked(nil, nil, "doctor")
	r.expect(t, 0, "pass     config: ", "pass     statement:ref30: issued by", "root \"CN=passsim throw-away",
		"pass     token:ref30: good", "0 warnings, 0 failed\n")
	console(t, r.stdout, l.dir)
	if after := len(l.requests("")); after != before+1 {
		t.Errorf("it made %d requests, want 1", after-before)
	}
	l.expectCalls(1, 2) // the daemon's, and the one without credentials

	rep := l.report(l.runFaked(nil, nil, "doctor", "--json"))
	if rep.Worst != "pass" || rep.status("endpoint") != "pass" || rep.status("socket") != "pass" {
		t.Errorf("%+v", rep)
	}

	// The state that a running daemon has in use is not opened by another
	// process; it goes on.
	l.run("status").expect(t, 0)

	// A warning, then a failure; each with its exit status.
	l.fakeSystem(map[string]string{"systemctl": "printf 'LoadState=not-found\\n'\n"})
	l.runFaked(nil, nil, "doctor").expect(t, 1, "WARNING  service: ", "To do: tvpassd install", "1 warning, 0 failed\n")
	l.fakeSystem(map[string]string{"systemctl": serviceRuns})
	l.daemon.kill()
	r = l.runFaked(nil, nil, "doctor", "--json")
	if rep = l.report(r); r.code != 2 || rep.Worst != "failed" || rep.status("socket") != "failed" ||
		rep.status("daemon") != "skipped" ||
		rep.status("database") != "pass" || rep.status("endpoint") != "pass" || rep.status("identifier") != "pass" {
		t.Errorf("exit %d, %+v", r.code, rep)
	}
	l.up()
	l.token()
	l.expectCalls(1, 5)
}

// console expects lines that fit a serial console.
func console(t *testing.T, text, dir string) {
	t.Helper()
	for line := range strings.Lines(text) {
		if len(line) > 81 && !strings.Contains(line, dir) {
			t.Errorf("wider than a console: %q", line)
		}
		if strings.IndexFunc(line, func(r rune) bool { return r > 126 || r < 32 && r != '\n' }) >= 0 {
			t.Errorf("more than ASCII: %q", line)
		}
	}
}

// Without a network, and as somebody who may not use the socket.
func TestDoctorInANamespaceAndAsAStranger(t *testing.T) {
	needRoot(t)
	l := healthyLab(t)
	good := l.read("config.toml")
	l.write("config.toml", strings.Replace(good, l.endpoint, "https://192.0.2.1", 1))
	rep := l.report(l.runFaked(&syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}, nil, "doctor", "--json"))
	if rep.status("route") != "failed" || rep.status("dns") != "skipped" || rep.status("tls") != "skipped" {
		t.Errorf("%+v", rep)
	}
	l.write("config.toml", strings.Replace(good, `mode = "0666"`, `mode = "0600"`, 1))
	l.up()
	r := l.runFaked(&syscall.SysProcAttr{Credential: stranger}, nil, "doctor", "--json")
	if rep = l.report(r); r.code != 0 || rep.status("socket") != "skipped" || rep.status("database") != "skipped" ||
		rep.status("endpoint") != "pass" ||
		rep.status("state_dir") != "pass" {
		t.Errorf("exit %d, %+v", r.code, rep)
	}
}

// It ends even if nothing answers or refuses.
func TestDoctorEndsInTime(t *testing.T) {
	l := healthyLab(t)
	silent := func(network, address string) net.Listener { // takes connections, and never answers
		s, err := net.Listen(network, address)
		l.must(err)
		t.Cleanup(func() { s.Close() })
		return s
	}
	silent("unix", l.path("sock"))
	server := silent("tcp", "127.0.0.1:0")
	l.write("config.toml", strings.Replace(l.read("config.toml"), l.endpoint, "https://"+server.Addr().String(), 1))
	l.fakeSystem(map[string]string{"systemctl": "exec sleep 3600\n"})
	l.runFaked(nil, nil, "doctor").expect(t, 2, "skipped  service: ", "FAILED   tls: ")
}

// The daemon's proxy counts, whatever the technician's shell says.
func TestDoctorLooksAtTheDaemonsProxy(t *testing.T) {
	l := healthyLab(t)
	const malformed, good = "HTTPS_PROXY=http://host:port", "HTTPS_PROXY=http://proxy.example:3128"
	l.runFaked(nil, []string{malformed}, "doctor").expect(t, 2, "WARNING  proxy: HTTPS_PROXY of this shell")
	l.fakeSystem(map[string]string{"tvpassd": "exec env " + good + " " + programs.tvpassd + " \"$@\"\n"})
	d := l.start(l.path("bin/tvpassd"), "run", "--config", l.path("config.toml"))
	t.Cleanup(d.kill)
	d.until("its token", func() bool { return l.exists("sock") && l.run("token").code == 0 })
	l.runFaked(nil, []string{malformed}, "doctor").expect(t, 0, "pass     proxy: none: HTTPS_PROXY of the daemon names")
}
