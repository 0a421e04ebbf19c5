package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// These tests are what another user of the device might try.

// lingering returns a TCP socket whose last close takes an hour: its peer reads
// nothing of what it has sent.
func (l *lab) lingering(peer net.Listener) (fd int) {
	l.t.Helper()
	c, err := net.DialTCP("tcp", nil, peer.Addr().(*net.TCPAddr))
	l.must(err)
	f, err := c.File()
	l.must(err)
	fd, err = unix.Dup(int(f.Fd()))
	l.must(err)
	l.must(errors.Join(f.Close(), c.Close(), unix.SetNonblock(fd, true)))
	for err == nil {
		_, err = unix.Write(fd, make([]byte, 64<<10))
	}
	l.must(unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1, Linger: 3600}))
	return fd
}

// halt stops a process, and returns once all its threads stand still.
func (l *lab) halt(pid int) {
	l.t.Helper()
	l.must(syscall.Kill(pid, syscall.SIGSTOP))
	for moving := true; moving; {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		l.must(err)
		moving = len(threads) == 0
		for _, file := range threads {
			stat, _ := os.ReadFile(file) // a thread that has ended does not move
			moving = moving || len(stat) > 0 && !strings.Contains(string(stat), ") T ")
		}
	}
}

// upWithoutRefusals starts the daemon as on a kernel that refuses no descriptors,
// and returns its process.
func (l *lab) upWithoutRefusals() (pid int) {
	l.t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		l.t.Fatal("this test needs strace: apt-get install strace")
	}
	log, err := os.Create(l.path("log"))
	l.must(err)
	defer log.Close()
	tracer := l.startTo(log, strace, "-f", "-qq", "-o", "/dev/null", "-e", "trace=setsockopt",
		"-e", "inject=setsockopt:error=ENOPROTOOPT:when=1", programs.tvpassd, "run", "--config", l.path("config.toml"))
	tracer.until("socket", func() bool {
		c, err := net.Dial("unix", l.path("sock"))
		if err != nil {
			return false
		}
		defer c.Close()
		f, err := c.(*net.UnixConn).File()
		l.must(err)
		defer f.Close()
		daemon, err := unix.GetsockoptUcred(int(f.Fd()), unix.SOL_SOCKET, unix.SO_PEERCRED)
		l.must(err)
		pid = int(daemon.Pid)
		return true
	})
	l.t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
	tracer.kill() // it has done its part
	return pid
}

// Descriptors that come with a request keep nobody waiting, though the daemon is
// the last to close them. This kernel may refuse them: strace makes it an older
// one.
func TestDescriptorsThatTakeLongToClose(t *testing.T) {
	l := newLab(t)
	pid := l.upWithoutRefusals()
	small := func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 1) })
	}
	peer, err := (&net.ListenConfig{Control: small}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	l.must(err)
	defer peer.Close()
	request := []byte("GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n")
	open := l.idle(256, request) // as many as an admin may have
	poison := func(c net.Conn) {
		fd := l.lingering(peer)
		_, _, err = c.(*net.UnixConn).WriteMsgUnix(request, unix.UnixRights(fd), nil)
		l.must(errors.Join(err, unix.Close(fd)))
	}
	l.halt(pid)    // so that the daemon closes last
	for range 50 { // too many connections
		c, err := net.Dial("unix", l.path("sock"))
		l.must(err)
		defer c.Close()
		poison(c)
	}
	l.must(syscall.Kill(pid, syscall.SIGCONT))
	l.curl("/v1/status").expect(t, 429)

	l.halt(pid)
	var answered atomic.Int32
	for _, c := range open {
		poison(c)
		go func() {
			_, _ = c.Read(make([]byte, 1))
			answered.Add(1)
		}()
	}
	l.must(syscall.Kill(pid, syscall.SIGCONT))
	for deadline := time.Now().Add(patience); int(answered.Load()) < len(open)/2; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("only %d of %d requests are answered", answered.Load(), len(open))
		}
	}
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	if err != nil || len(threads) == 0 || len(threads) >= 256 {
		t.Errorf("%d threads, and the service may have 256: %v", len(threads), err)
	}
	l.must(syscall.Kill(pid, syscall.SIGTERM))
	for deadline := time.Now().Add(patience); lives(pid); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not end")
		}
	}
}

// idle returns n connections on which a request has been answered.
func (l *lab) idle(n int, request []byte) (open []net.Conn) {
	l.t.Helper()
	for range n {
		c, err := net.Dial("unix", l.path("sock"))
		l.must(err)
		l.t.Cleanup(func() { c.Close() })
		_, err = c.Write(request)
		l.must(err)
		_, err = c.Read(make([]byte, 64<<10))
		l.must(err)
		open = append(open, c)
	}
	return open
}

// lives reports whether a process that is not a child has yet to end.
func lives(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}
