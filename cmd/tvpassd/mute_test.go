package main

import (
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
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
		return r.code == 200 && field(t, r.stdout, "access_token") != first && refused() > 0 &&
			len(l.requests("/token")) >= begun+3
	})
	if n := strings.Count(d.stderr.String(), "the kernel's timer fails"); n != 1 {
		t.Errorf("the failure is told %d times, want once\n%s", n, d.stderr)
	}
}

// A kernel or a sandbox may have no boot clock: lifetimes are then measured from
// the start.
func TestABootClockThatIsMissing(t *testing.T) {
	l := newLab(t, "-token-life", "3s")
	l.daemon = l.start("strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", "inject=clock_gettime:error=EPERM",
		programs.tvpassd, "run", "--config", l.path("config.toml"))
	t.Cleanup(l.daemon.kill)
	l.daemon.until("the socket", func() bool { return l.exists("sock") })
	first := l.token()
	l.daemon.until("another token", func() bool { return l.token() != first })
	if log := l.daemon.stderr.String(); !strings.Contains(log, "or no boot clock") {
		t.Errorf("the log says %s", log)
	}
	l.daemon.stop()
}

// A paused serial console, or a hanging logger behind a pipe, must not stop the
// daemon: it serves players, reloads, and ends when asked.
func TestALogThatIsHeldUp(t *testing.T) {
	l := newLab(t, "-token-life", "6s")
	unread, end, err := os.Pipe()
	l.must(err)
	defer unread.Close()
	fd := int(end.Fd()) // once: it makes the file blocking
	l.must(unix.SetNonblock(fd, true))
	for err = nil; err == nil; { // until nothing more fits
		_, err = unix.Write(fd, []byte("x"))
	}
	l.must(unix.SetNonblock(fd, false))
	d := l.startTo(end, programs.tvpassd, "run", "--config", l.path("config.toml"))
	t.Cleanup(d.kill)
	end.Close()
	d.until("socket", func() bool {
		c, err := net.Dial("unix", l.path("sock"))
		return err == nil && c.Close() == nil
	})
	first := l.token()
	l.addApp("other", "")
	l.run("reload").expect(t, 0)
	if l.tokenOf(nil, "other") == "" {
		t.Error("the reload did nothing")
	}
	d.until("another token", func() bool {
		r := l.curl("/v1/apps/ref30/token?wait=0s")
		return r.code == 200 && field(t, r.stdout, "access_token") != first
	})
	d.stop()
}

// A device that is short of files for a moment must get another start: status 78
// would keep the service manager from one.
func TestAConfigurationThatCannotBeReadForNow(t *testing.T) {
	l := newLab(t)
	d := l.start("sh", "-c", "ulimit -n 10 && exec "+programs.tvpassd+" run --config "+l.path("config.toml"))
	t.Cleanup(d.kill)
	if code := d.exit(); code != 1 || !strings.Contains(d.stderr.String(), "too many open files") {
		t.Errorf("exit status %d, want 1\n%s", code, d.stderr)
	}
}

// An app whose statement can't be read because the disk fails is retried. Nobody
// has to reload.
func TestAStatementThatCanBeReadLater(t *testing.T) {
	l := newLab(t)
	l.addApp("other", "")
	statement := l.path("apps.d/other.jwt")
	l.must(os.Rename(statement, statement+".good"))
	l.must(os.Symlink("/proc/self/mem", statement)) // reading it is an input/output error
	d := l.up()
	l.token()
	if text := d.stderr.String(); !strings.Contains(text, "input/output error") {
		t.Fatalf("the statement can be read\n%s", text)
	}
	l.must(os.Rename(statement+".good", statement))
	d.until("the app", func() bool { return l.curl("/v1/apps/other/token?wait=0s").code == 200 })
}
