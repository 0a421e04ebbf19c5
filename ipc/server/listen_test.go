package server

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// alone checks that a directory holds only the named files: nothing temporary
// is left.
func alone(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("%s holds %q, want %q", dir, got, want)
	}
}

// stale leaves a socket behind that nobody listens on, as a killed daemon does.
func stale(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
}

func dials(path string) error {
	c, err := net.Dial("unix", path)
	if err == nil {
		c.Close()
	}
	return err
}

func TestListenMakesTheSocketAsAsked(t *testing.T) {
	old := syscall.Umask(0o077) // a umask takes nothing away
	defer syscall.Umask(old)
	dir := filepath.Join(t.TempDir(), "run")
	path := filepath.Join(dir, "tvpassd.sock")
	for _, mode := range []fs.FileMode{0, 0o666, 0o600} {
		l, err := Listen(SocketOptions{Path: path, Mode: mode, Group: new(uint32(os.Getgid()))})
		if err != nil {
			t.Fatal(err)
		}
		want := mode
		if want == 0 {
			want = 0o660
		}
		if fi, err := os.Lstat(path); err != nil || fi.Mode() != fs.ModeSocket|want {
			t.Errorf("mode %v, %v, want %v", fi.Mode(), err, want)
		}
		if fi, err := os.Stat(dir); err != nil || fi.Mode().Perm() != 0o755 {
			t.Errorf("directory: %v, %v", fi.Mode(), err)
		}
		if err := dials(path); err != nil {
			t.Error(err)
		}
		if got := l.Addr().String(); got != path {
			t.Errorf("Addr is %s", got)
		}
		alone(t, dir, "tvpassd.sock")
		if err := errors.Join(l.Close(), l.Close()); err != nil {
			t.Errorf("close twice: %v", err)
		}
		alone(t, dir)
	}
}

func TestListenTakesTheGroup(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root may give a file to any group")
	}
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen(SocketOptions{Path: path, Group: new(uint32(4711))})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if fi, err := os.Lstat(path); err != nil || fi.Sys().(*syscall.Stat_t).Gid != 4711 || fi.Mode().Perm() != 0o660 {
		t.Errorf("%+v, %v", fi, err)
	}
}

func TestListenReplacesAStaleSocket(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	stale(t, path)
	l, err := Listen(SocketOptions{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := dials(path); err != nil {
		t.Error(err)
	}
	alone(t, dir, "s")
}

func TestListenNeverStealsALiveSocket(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	first, err := Listen(SocketOptions{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if _, err := Listen(SocketOptions{Path: path}); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), path) {
		t.Errorf("a second: %v", err)
	}
	if err := dials(path); err != nil {
		t.Errorf("the first: %v", err)
	}
	alone(t, dir, "s")
}

// Daemons that start together: one of them gets the socket, and keeps it.
func TestListenTogether(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	for range 20 {
		var winner atomic.Pointer[Socket]
		var won atomic.Int32
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				l, err := Listen(SocketOptions{Path: path})
				if err == nil {
					won.Add(1)
					winner.Store(l)
				} else if !errors.Is(err, ErrInUse) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if won.Load() != 1 {
			t.Fatalf("%d have it", won.Load())
		}
		if err := dials(path); err != nil {
			t.Error(err)
		}
		if err := winner.Load().Close(); err != nil {
			t.Error(err)
		}
		alone(t, dir)
	}
}

func TestListenLeavesOtherFilesAlone(t *testing.T) {
	dir := t.TempDir()
	file, link, datagram := filepath.Join(dir, "file"), filepath.Join(dir, "link"), filepath.Join(dir, "datagram")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	d, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: datagram, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, path := range []string{file, link, datagram, dir} {
		if _, err := Listen(SocketOptions{Path: path}); err == nil || errors.Is(err, ErrInUse) ||
			!strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if text, err := os.ReadFile(file); string(text) != "precious" {
		t.Errorf("the file: %q, %v", text, err)
	}
	alone(t, dir, "datagram", "file", "link")
}

func TestListenPaths(t *testing.T) {
	base := t.TempDir()
	for _, test := range []struct {
		name, path, want string // in the error; "" is none
	}{
		{"no parent", base + "/a/b/s", base + "/a/b"},
		{"a file for a parent", "/dev/null/s", "/dev/null"},
		{"108 bytes", pad(base, 108), "107"},
		{"107 bytes", pad(base, 107), ""},
		{"107 bytes, the name only one", pad(base, 105) + "/s", ""},
	} {
		l, err := Listen(SocketOptions{Path: test.path})
		if test.want != "" {
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s: %v", test.name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if err := dials(test.path); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		l.Close()
	}
	if _, err := os.Stat(base + "/a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("parents were made: %v", err)
	}
}

// pad makes a path of that many bytes below dir.
func pad(dir string, length int) string {
	return dir + "/" + strings.Repeat("x", length-len(dir)-1)
}

// At its end a daemon removes its own socket, not that of its successor.
func TestCloseLeavesAnotherSocketAlone(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	l, err := Listen(SocketOptions{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	successor, err := Listen(SocketOptions{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer successor.Close()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := dials(path); err != nil {
		t.Errorf("the successor: %v", err)
	}
}

// Nobody can connect to a socket that isn't permitted yet.
func TestAFailureLeavesNothingBehind(t *testing.T) {
	if os.Getuid() == 0 {
		as(t, 65534, nil, "TestAFailureLeavesNothingBehind")
		return
	}
	dir, err := os.MkdirTemp("/tmp", "tvpassd")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	_, err = Listen(SocketOptions{Path: dir + "/s", Group: new(uint32(0))})
	if !errors.Is(err, unix.EPERM) && (err == nil || !strings.Contains(err.Error(), "member")) {
		t.Errorf("somebody else's group: %v", err)
	}
	alone(t, dir)
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(SocketOptions{Path: dir + "/s"}); !errors.Is(err, fs.ErrPermission) ||
		!strings.Contains(err.Error(), dir) {
		t.Errorf("a directory that isn't ours: %v", err)
	}
}
