package main

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// hang mounts a file system that never answers.
func (l *lab) hang(name string) {
	l.t.Helper()
	server, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	l.must(err)
	l.must(os.Mkdir(l.path(name), 0o755))
	l.must(unix.Mount("hang", l.path(name), "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", server)))
	l.t.Cleanup(func() {
		unix.Close(server) // ends the calls that hang
		if err := unix.Unmount(l.path(name), unix.MNT_DETACH); err != nil {
			l.t.Error(err)
		}
	})
}

// TestReloadEnds starts and reloads with files that block, never end or are not
// files. The commands wait 10 s for an answer: a reload that takes longer fails
// them.
func TestReloadEnds(t *testing.T) {
	needRoot(t)
	l := newLab(t)
	l.hang("hung")
	l.must(syscall.Mkfifo(l.path("fifo"), 0o644))
	odd := map[string]string{
		"kmsg": "/proc/kmsg", "zero": "/dev/zero", "null": "/dev/null", "random": "/dev/urandom", "tty": "/dev/tty",
		"fifo": l.path("fifo"), "dir": l.path("apps.d"), "hung": l.path("hung/x"), "socket": l.path("sock"),
		"mem": "/proc/self/mem",
	}
	for name, path := range odd {
		l.write("apps.d/"+name+".toml", fmt.Sprintf("[[app]]\nid = %q\nsoftware_statement_file = %q\n", name, path))
		l.must(os.Symlink(path, l.path("apps.d/link-"+name+".toml")))
	}
	l.up()
	token := l.token()
	l.run("reload").expect(t, 0)
	st := l.run("status", "--json").stdout
	for name := range odd {
		for _, file := range []string{name + ".toml:3: ", "link-" + name + ".toml: "} {
			if !strings.Contains(st, l.path("apps.d/"+file)) &&
				!strings.Contains(st, strings.TrimSuffix(l.path("apps.d/"+file), ": ")) {
				t.Errorf("nothing is said of %s", file)
			}
		}
	}
	for name := range odd {
		l.must(os.Remove(l.path("apps.d/" + name + ".toml")))
		l.must(os.Remove(l.path("apps.d/link-" + name + ".toml")))
	}
	good := l.read("config.toml")
	for _, name := range []string{"kmsg", "zero", "fifo", "hung"} {
		path := odd[name]
		l.write("config.toml", strings.Replace(good, `"ca.pem"`, fmt.Sprintf("%q", path), 1))
		l.run("reload").expect(t, 1, "the old one stays in force")
		l.must(os.Remove(l.path("config.toml")))
		l.must(os.Symlink(path, l.path("config.toml")))
		r := l.exec(nil, "", programs.tvpassd, "--socket", l.path("sock"), "reload")
		r.expect(t, 1, "the old one stays in force")
		if r := l.exec(nil, "", programs.tvpassd, "config", "check", "--config", l.path("config.toml")); r.code != 1 {
			t.Errorf("config check with %s: %d %s", name, r.code, r.stdout)
		}
		l.must(os.Remove(l.path("config.toml")))
	}
	l.write("config.toml", good)
	l.run("reload").expect(t, 0)
	if l.token() != token {
		t.Error("the token is another one")
	}
}
