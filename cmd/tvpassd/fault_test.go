package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// inject has calls of a running daemon fail, as strace describes it, until the
// returned function is called.
func (l *lab) inject(what string) (stop func()) {
	l.t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		l.t.Fatal("this test needs strace: apt-get install strace")
	}
	call, _, _ := strings.Cut(what, ":")
	p := l.start(strace, "-f", "-o", "/dev/null", "-e", "trace="+call, "-e", "inject="+what, "-p",
		fmt.Sprint(l.daemon.cmd.Process.Pid))
	p.until("attachment", func() bool { return strings.Contains(p.stderr.String(), "attached") })
	return func() {
		if err := p.cmd.Process.Signal(os.Interrupt); !errors.Is(err, os.ErrProcessDone) { // as when the daemon has ended
			l.must(err)
		}
		p.exit()
	}
}

// answers reports whether the daemon answers on its socket.
func (l *lab) answers() bool { return l.run("status").code < 3 }

func TestAcceptErrorsThatPass(t *testing.T) {
	l := newLab(t)
	d := l.up()
	for errno, text := range map[string]syscall.Errno{
		"ENOMEM": syscall.ENOMEM, "ENOBUFS": syscall.ENOBUFS, "EPERM": syscall.EPERM, "EPROTO": syscall.EPROTO,
		"ECONNABORTED": syscall.ECONNABORTED, "EMFILE": syscall.EMFILE, "ENFILE": syscall.ENFILE,
	} {
		stop := l.inject("accept4:error=" + errno + ":when=1+2")
		d.until(errno+" in the log", func() bool {
			if !l.answers() {
				t.Errorf("after %s it does not answer\n%s", errno, d.stderr)
			}
			// The net package itself waits out ECONNABORTED.
			return errno == "ECONNABORTED" || strings.Contains(d.stderr.String(), text.Error())
		})
		stop()
	}
	d.stop()
}

func TestAnAcceptErrorThatDoesNotPass(t *testing.T) {
	l := newLab(t)
	d := l.up()
	stop := l.inject("accept4:error=EBADF:when=1")
	l.answers()
	if code := d.exit(); code != 1 || !strings.Contains(d.stderr.String(), "bad file descriptor") {
		t.Errorf("exit status %d\n%s", code, d.stderr)
	}
	stop()
}

// Trouble that may pass ends a start with a status that is restarted; trouble
// that needs a person ends it for good.
func TestAStartThatFails(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Fatal("this test needs strace: apt-get install strace")
	}
	for _, tc := range []struct {
		name, file, fault string // file "": calls on any
		code              int
		says              string
	}{
		{"a failing disk", "config.toml", "read:error=EIO", 1, "config.toml: can't be read: input/output error"},
		{"no permission", "config.toml", "read:error=EACCES", exitConfig, "config.toml: can't be read: permission denied"},
		{"too many open files", "", "bind:error=ENFILE", 1, "too many open files in system"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLab(t)
			args := []string{"-f", "-qq", "-o", "/dev/null", "-e", "inject=" + tc.fault}
			if tc.file != "" {
				args = append(args, "-P", l.path(tc.file))
			}
			args = append(args, programs.tvpassd, "run", "--config", l.path("config.toml"))
			l.exec(nil, "", strace, args...).expect(t, tc.code, tc.says)
		})
	}
}

func TestARemovedSocketComesBack(t *testing.T) {
	l := newLab(t)
	d := l.up()
	for range 2 {
		l.must(os.Remove(l.path("sock")))
		d.until("socket", l.answers)
	}
	if n := strings.Count(d.stderr.String(), "it was made again"); n != 2 {
		t.Errorf("logged %d times\n%s", n, d.stderr)
	}
	d.stop()
	if l.exists("sock") {
		t.Error("the socket is left behind")
	}
}

// Without inotify watches (fs.inotify.max_user_watches) the socket comes back,
// too, and that is told once.
func TestARemovedSocketWithoutWatches(t *testing.T) {
	l := newLab(t)
	d := l.up()
	defer l.inject("inotify_add_watch:error=ENOSPC")()
	for range 2 {
		l.must(os.Remove(l.path("sock")))
		d.until("socket", l.answers)
	}
	if n := strings.Count(d.stderr.String(), "is noticed late"); n != 1 {
		t.Errorf("logged %d times\n%s", n, d.stderr)
	}
}

// A service manager that never reads delays the daemon by a second a message.
func TestAManagerThatDoesNotRead(t *testing.T) {
	l := newLab(t)
	address := &net.UnixAddr{Name: filepath.Join(l.dir, "notify"), Net: "unixgram"}
	manager, err := net.ListenUnixgram("unixgram", address)
	l.must(err)
	defer manager.Close()
	sender, err := net.DialUnix("unixgram", nil, address)
	l.must(err)
	defer sender.Close()
	l.must(sender.SetWriteDeadline(time.Now().Add(200 * time.Millisecond)))
	for err == nil { // until its queue is full
		_, err = sender.Write([]byte("STATUS=x"))
	}
	d := l.start("env", "NOTIFY_SOCKET="+address.Name, programs.tvpassd, "run", "--config", l.path("config.toml"))
	t.Cleanup(d.kill)
	d.until("socket", l.answers)
	if r := l.run("reload"); r.code != 0 {
		t.Errorf("reload: %s", r.stderr)
	}
	d.stop()
	if n := strings.Count(d.stderr.String(), "does not take messages"); n != 1 {
		t.Errorf("logged %d times\n%s", n, d.stderr)
	}
}

// The kernel reports a failed sync once. The database is then made anew, for
// nobody knows what of it is on the disk.
func TestASyncThatFailsAtTheStart(t *testing.T) {
	l := newLab(t)
	l.up()
	token := l.storedToken()
	l.daemon.stop()
	before, err := os.Stat(l.path("state/tvpassd.db"))
	l.must(err)
	l.daemon = l.start("strace", "-D", "-f", "-qq", "-o", "/dev/null", "-P", l.path("state/tvpassd.db"),
		"-e", "inject=fsync:error=EIO:when=1", programs.tvpassd, "run", "--config", l.path("config.toml"))
	t.Cleanup(l.daemon.kill)
	l.daemon.until("another database", func() bool {
		now, err := os.Stat(l.path("state/tvpassd.db"))
		return err == nil && !os.SameFile(before, now)
	})
	if got := l.token(); got != token {
		t.Error("the token is another")
	}
	l.daemon.stop()
	l.expectCalls(1, 1)
}
