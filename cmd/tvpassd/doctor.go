package main

import (
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tvpassd/tvpassd/daemon/clock"
	"github.com/tvpassd/tvpassd/daemon/doctor"
	"github.com/tvpassd/tvpassd/daemon/service"
	"github.com/tvpassd/tvpassd/device/hostfile"
)

// Exit statuses of tvpassd doctor.
const (
	exitWarnings = 1
	exitFailures = 2
)

func doctorCommand(set *flag.FlagSet) func(*env, []string) error {
	asJSON := set.Bool("json", false, "print JSON")
	failed := set.Bool("failed", false, "print the failed checks alone")
	return alone(func(e *env) error {
		r := e.examine()
		var err error
		if *asJSON {
			err = printJSON(e, r)
		} else {
			_, err = fmt.Fprint(e.stdout, doctorText(r, *failed))
		}
		switch {
		case err != nil:
			return err
		case r.Worst == doctor.Warning:
			return &exitStatus{code: exitWarnings}
		case r.Worst == doctor.Failed:
			return &exitStatus{code: exitFailures}
		}
		return nil
	})
}

// examine runs all checks on this device.
func (e *env) examine() doctor.Report {
	this := thisProgram()
	whose := "this shell"
	if e.adoptProxy() {
		whose = "the daemon"
	}
	return doctor.Run(e.ctx, doctor.Config{
		ConfigFile: e.configFile, Socket: e.socket, Load: e.loadConfig,
		Version: this.Version, BuildDate: this.builtAfter(), Undated: this.BuildDate == nil,
		UID: os.Geteuid(), Clock: clock.NewSystem(), Service: service.Look,
		Getenv: os.Getenv, EnvOf: whose, Proxy: http.ProxyFromEnvironment,
	})
}

// adoptProxy takes over the proxy variables of the running daemon if this user may
// read them: those of a technician's shell say nothing about its calls. It must run
// before net/http looks at them, which happens once.
func (e *env) adoptProxy() bool {
	path := e.socketPath()
	if _, err := hostfile.Stat(path); err != nil {
		return false
	}
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", daemonPID(path)))
	if err != nil {
		return false
	}
	names := []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy"}
	for _, name := range names {
		os.Unsetenv(name)
	}
	for _, v := range strings.Split(string(environ), "\x00") {
		if name, value, _ := strings.Cut(v, "="); slices.Contains(names, name) {
			os.Setenv(name, value)
		}
	}
	return true
}

// daemonPID returns the process that listens on a socket; 0 if a service manager
// holds it.
func daemonPID(path string) int {
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err != nil {
		return 0
	}
	defer conn.Close()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0
	}
	var peer *unix.Ucred
	ask := func(fd uintptr) { peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }
	if raw.Control(ask) != nil || err != nil || peer.Pid == 1 {
		return 0
	}
	return int(peer.Pid)
}

// doctorText returns a report for a serial console: plain ASCII, failures in
// capitals. It ends with what is worst, so that no console scrolls it away; only
// leaves out the rest.
func doctorText(r doctor.Report, only bool) string {
	var b strings.Builder
	counts := map[doctor.Status]int{}
	for _, c := range r.Checks {
		counts[c.Status]++
		if !only {
			checkText(&b, c)
		}
	}
	if !only {
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "%s: %d pass, %d skipped, %s, %d failed\n", plural(len(r.Checks), "check"),
		counts[doctor.Pass], counts[doctor.Skipped], plural(counts[doctor.Warning], "warning"), counts[doctor.Failed])
	for _, c := range r.Checks {
		if c.Status == r.Worst && c.Status != doctor.Pass && (!only || c.Status == doctor.Failed) {
			checkText(&b, c)
		}
	}
	return b.String()
}

func checkText(b *strings.Builder, c doctor.Check) {
	const indent = "         "
	word := string(c.Status)
	if c.Status == doctor.Warning || c.Status == doctor.Failed {
		word = strings.ToUpper(word)
	}
	text := wrap(c.ID+": "+c.Detail, indent)
	fmt.Fprintf(b, "%-9s%s", word, strings.TrimPrefix(text, indent))
	if c.Todo != "" {
		b.WriteString(wrap("To do: "+c.Todo, indent))
	}
}
