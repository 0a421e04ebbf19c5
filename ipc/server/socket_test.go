package server

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// kept is a socket whose path is watched, with what accepts on it.
type kept struct {
	*Socket
	t       *testing.T
	path    string
	log     *safeBuffer
	changes chan error // what Gone returns, after each change
}

func keep(t *testing.T, s *Socket) *kept {
	k := &kept{s, t, s.Addr().String(), new(safeBuffer), make(chan error, 100)}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- s.Keep(ctx, slog.New(slog.NewTextHandler(k.log, nil)), func() {
			go func() { k.changes <- s.Gone() }()
		})
	}()
	go func() {
		for {
			fd, err := s.accept()
			if err != nil {
				return
			}
			unix.Write(fd, []byte("hello"))
			unix.Close(fd)
		}
	}()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, s.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	})
	return k
}

func (k *kept) answers() bool {
	c, err := net.Dial("unix", k.path)
	if err != nil {
		return false
	}
	defer c.Close()
	n, _ := c.Read(make([]byte, 10))
	return n == 5
}

// comesBack waits until somebody answers at the path again.
func (k *kept) comesBack(what string) {
	k.t.Helper()
	(&lab{t: k.t}).until(what, k.answers)
	if fi, err := os.Lstat(k.path); err != nil || fi.Mode() != fs.ModeSocket|0o640 {
		k.t.Errorf("%s: %v, %v", what, fi.Mode(), err)
	}
}

func TestASocketComesBack(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "run")
	s, err := Listen(SocketOptions{Path: dir + "/s", Mode: 0o640})
	if err != nil {
		t.Fatal(err)
	}
	k := keep(t, s)
	k.comesBack("the start")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Remove(k.path))
	k.comesBack("removed")
	must(os.Rename(k.path, dir+"/other"))
	k.comesBack("renamed")
	must(os.Rename(dir+"/other", k.path)) // which nobody listens on
	k.comesBack("replaced by a stale socket")
	must(os.Rename(dir, dir+".old"))
	k.comesBack("without its directory")
	alone(t, dir, "s")
	if n := strings.Count(k.log.String(), "made again"); n != 4 || strings.Contains(k.log.String(), "level=ERROR") {
		t.Errorf("the log: %s", k.log)
	}
}

// A file in the way stays, and is reported; the socket comes back when it is
// gone.
func TestASocketThatCantComeBackYet(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := Listen(SocketOptions{Path: dir + "/s", Mode: 0o640})
	if err != nil {
		t.Fatal(err)
	}
	k := keep(t, s)
	if err := os.WriteFile(dir+"/file", []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir+"/file", k.path); err != nil {
		t.Fatal(err)
	}
	if err := <-k.changes; err == nil || !strings.Contains(err.Error(), k.path) ||
		!strings.Contains(err.Error(), "in the way") {
		t.Errorf("a file in its place: %v", err)
	}
	if err := os.Remove(k.path); err != nil {
		t.Fatal(err)
	}
	k.comesBack("after the file")
	if err := <-k.changes; err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// Only the service manager can make its socket again.
func TestAPassedSocket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	s, err := Passed(l)
	if err != nil {
		t.Fatal(err)
	}
	k := keep(t, s)
	if !k.answers() {
		t.Fatal("nobody answers")
	}
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	if err := <-k.changes; err == nil || !strings.Contains(err.Error(), "systemctl restart tvpassd.socket") ||
		!strings.Contains(k.log.String(), "level=ERROR") {
		t.Errorf("%v, %s", err, k.log)
	}
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	if err := <-k.changes; err != nil || !k.answers() {
		t.Errorf("it is back: %v", err)
	}
	k.Close()
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("closing it removed its path: %v", err)
	}
}

// The queue of a socket that was passed is as long as that of our own.
func TestAPassedSocketHasALongQueue(t *testing.T) {
	t.Parallel()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "")
	defer f.Close()
	address := &unix.SockaddrUnix{Name: filepath.Join(t.TempDir(), "s")}
	if err := errors.Join(unix.Bind(fd, address), unix.Listen(fd, 1)); err != nil {
		t.Fatal(err)
	}
	l, err := net.FileListener(f)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Passed(l)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range 100 { // no system allows fewer than 128
		caller, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(caller)
		if err := unix.Connect(caller, address); err != nil {
			t.Fatalf("caller %d: %v", i, err)
		}
	}
}

// What wakes a sleeper before it sleeps is not lost, whichever deadline is set
// meanwhile: a mount during an attempt to make the socket again.
func TestASleeperIsWokenInAdvance(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	s := &sleeper{File: r}
	defer s.Close()
	s.until(time.Time{})
	s.wake()
	s.until(time.Now().Add(time.Hour))
	if _, err := s.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%v", err)
	}
}
