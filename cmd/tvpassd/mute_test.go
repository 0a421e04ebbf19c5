package main

import (
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// A kernel that refuses to set the timer, as a 32-bit one does past 2038, must
// not leave players without a token.
func TestATimerThatCannotBeSet(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Fatal("this test needs strace: install strace")
	}
	l := newLab(t, "-token-life", "6s")
	d := l.up()
	first := l.token()
	tracer := l.start(strace, "-f", "-e", "trace=timerfd_settime", "-e", "inject=timerfd_settime:error=EINVAL",
		"-p", strconv.Itoa(d.cmd.Process.Pid))
	t.Cleanup(tracer.kill)
	tracer.until("attachment", func() bool { return strings.Contains(tracer.stderr.String(), "attached") })
	refused := func() int { return strings.Count(tracer.stderr.String(), "INJECTED") }
	begun := len(l.requests("/token"))
	d.until("third token under refusals", func() bool {
		r := l.curl("/v1/apps/ref30/token?wait=0s") // a player who waits would wake the daemon
		return r.code == 200 && field(t, r.stdout, "access_token") != first && refused() > 0 && len(l.requests("/token")) >= begun+3
	})
	if n := strings.Count(d.stderr.String(), "the kernel's timer fails"); n != 1 {
		t.Errorf("the failure is told %d times, want once\n%s", n, d.stderr)
	}
}
