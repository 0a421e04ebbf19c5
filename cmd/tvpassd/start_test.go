package main

import (
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// upIn starts the daemon by a shell that does something first, and waits for the
// token.
func (l *lab) upIn(first string) {
	l.t.Helper()
	l.daemon = l.start("unshare", "--mount", "--propagation", "private", "sh", "-euc", first+`; exec "$@"`, "sh",
		programs.tvpassd, "run", "--config", l.path("config.toml"))
	l.t.Cleanup(l.daemon.kill)
	l.daemon.until("socket", func() bool {
		c, err := net.Dial("unix", l.path("sock"))
		return err == nil && c.Close() == nil
	})
	if a := l.curl("/v1/apps/ref30/token?wait=60s"); a.code != 200 {
		l.t.Fatalf("after %s: %+v\n%s", first, a, l.daemon.stderr)
	}
}

// An init may start the daemon before it mounts /proc, or never mount it.
func TestStartWithoutProc(t *testing.T) {
	needMounts(t)
	l := newLab(t)
	l.upIn("umount -l /proc; ! [ -e /proc/self ]")
	for path, want := range map[string]fs.FileMode{"sock": 0o666, "state": 0o700, "state/tvpassd.db": 0o600} {
		if _, mode := owner(t, l.path(path)); mode != want {
			t.Errorf("%s has mode %o, want %o", path, mode, want)
		}
	}
	if a := l.curl("/v1/device"); a.code != 200 {
		t.Errorf("the device: %+v", a)
	}
	l.run("reload").expect(t, 0)
	l.daemon.stop()
	l.upIn("umount -l /proc") // and again, with what the first one has left
	l.daemon.stop()
}

// An init may mount /run after it started the daemon: the socket is made again
// there, and again where it was once that is unmounted.
func TestASocketUnderAMount(t *testing.T) {
	needRoot(t)
	needMounts(t)
	l := newLab(t)
	l.write("config.toml", strings.Replace(l.read("config.toml"), `path = "sock"`, `path = "run/tvpassd/sock"`, 1))
	l.must(os.Mkdir(l.path("run"), 0o755))
	l.must(os.Symlink("run/tvpassd/sock", l.path("sock")))
	l.upIn("true")
	inside := func(args ...string) result {
		target := fmt.Sprintf("--target=%d", l.daemon.cmd.Process.Pid)
		return l.exec(nil, "", "nsenter", append([]string{"--mount", "--root", "--wd", target}, args...)...)
	}
	for _, change := range [][]string{{"mount", "-t", "tmpfs", "tmpfs", l.path("run")}, {"umount", "-l", l.path("run")}} {
		inside(change...).expect(t, 0)
		l.daemon.until("the socket after "+change[0], func() bool {
			return inside(programs.tvpassd, "token", "--socket", l.path("run/tvpassd/sock")).code == 0
		})
	}
	l.daemon.stop()
}

// Whatever the umask of the init is, the daemon can read its files and others
// can't, and players reach the socket.
func TestUmask(t *testing.T) {
	needMounts(t)
	for _, umask := range []string{"0777", "0000"} {
		t.Run(umask, func(t *testing.T) {
			l := newLab(t)
			config := l.read("config.toml")
			l.write("config.toml", strings.Replace(config, `path = "sock"`, `path = "run/sock"`, 1))
			l.must(os.Symlink("run/sock", l.path("sock")))
			for range 2 {
				l.upIn("umask " + umask)
				l.daemon.stop()
			}
			err := filepath.WalkDir(l.path("state"), func(path string, e fs.DirEntry, err error) error {
				if err != nil {
					return err
				}
				want := fs.FileMode(0o600)
				if e.IsDir() {
					want = 0o700
				}
				if _, mode := owner(t, path); mode != want {
					err = fmt.Errorf("%s has mode %o, want %o", path, mode, want)
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
			if _, mode := owner(t, l.path("run")); mode != 0o755 {
				t.Errorf("the socket's directory has mode %o", mode)
			}
		})
	}
}

// Whatever listens on the socket, `headers` prints what it says it does: curl
// would send a line that follows a line break as a header of its own.
func TestHeadersAreOneLineEach(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	other := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"app":"x","expires_in":5,"headers":{"Authorization":"Bearer x\r\nCookie: y"}}`)
	})}
	go other.Serve(listener)
	defer other.Close()
	r := exec1(t, "headers", "--app", "x", "--socket", path)
	if r.expect(t, 1, "control character"); r.stdout != "" {
		t.Errorf("it prints %q", r.stdout)
	}
}
