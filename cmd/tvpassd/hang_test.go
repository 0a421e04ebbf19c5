package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A start whose file system never answers says which file it waits for, on
// standard error and to the service manager, and ends when it is told to.
func TestAStartThatHangs(t *testing.T) {
	needRoot(t)
	for name, tc := range map[string]struct {
		hangs func(l *lab)
		file  string
	}{
		"the state directory": {func(l *lab) { l.must(os.Symlink("hung", l.path("state"))) }, "state"},
		"the database":        {linkIn("tvpassd.db"), "state/tvpassd.db"},
		"the copy":            {linkIn("tvpassd.copy"), "state/tvpassd.copy"},
		"the socket": {func(l *lab) {
			l.write("config.toml", strings.Replace(l.read("config.toml"), `"sock"`, `"hung/sock"`, 1))
		}, "hung/sock"},
		"the gate": {func(l *lab) {
			l.must(os.RemoveAll(l.path("runtime")))
			l.must(os.Symlink("hung", l.path("runtime")))
		}, "runtime"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.hang("hung")
			tc.hangs(l)
			manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: l.path("notify"), Net: "unixgram"})
			l.must(err)
			defer manager.Close()
			l.must(manager.SetReadDeadline(time.Now().Add(patience)))
			d := l.start("env", "NOTIFY_SOCKET="+l.path("notify"), programs.tvpassd, "run", "--config", l.path("config.toml"))
			t.Cleanup(d.kill)
			const what = "the start waits for a file system that does not answer"
			d.until("word", func() bool { return strings.Contains(d.stderr.String(), what) })
			if !strings.Contains(d.stderr.String(), "file="+l.path(tc.file)+"\n") {
				t.Errorf("it does not name %s\n%s", tc.file, d.stderr)
			}
			told := make([]byte, 1000)
			n, err := manager.Read(told)
			if l.must(err); string(told[:n]) != "STATUS="+what+": "+l.path(tc.file) {
				t.Errorf("the service manager was told %q", told[:n])
			}
			d.stop()
		})
	}
}

func linkIn(name string) func(l *lab) {
	return func(l *lab) {
		l.must(os.Mkdir(l.path("state"), 0o700))
		l.must(os.Symlink("../hung/x", l.path(filepath.Join("state", name))))
	}
}

// No command hangs with the file system that it looks at.
func TestCommandsBesideAFileSystemThatHangs(t *testing.T) {
	needRoot(t)
	l := newLab(t)
	l.hang("hung")
	good := l.read("config.toml")
	const hangs = "its file system does not answer"
	l.write("config.toml", strings.Replace(good, `"state"`, `"hung"`, 1))
	l.run("bundle", "--output", l.path("b.tar.gz")).expect(t, 0)
	files := l.unpack(l.path("b.tar.gz"))
	for file, what := range map[string]string{"disk.txt": "open ", "doctor.json": "stat "} {
		if !strings.Contains(files[file], what+l.path("hung")+": "+hangs) {
			t.Errorf("%s of the bundle is\n%s", file, files[file])
		}
	}

	l.write("config.toml", strings.Replace(good, `"sock"`, `"hung/sock"`, 1))
	l.run("doctor", "--json").expect(t, 2, "stat "+l.path("hung/sock")+": "+hangs)

	l.write("config.toml", strings.Replace(good, "accept_volatile_state = true", "", 1))
	l.must(os.Symlink("hung", l.path("state")))
	l.run("config", "check").expect(t, 0, hangs)

	r := l.exec(nil, "", programs.tvpassd, "status", "--config", l.path("hung/config.toml"))
	r.expect(t, 3, l.path("hung/config.toml: can't be read: "+hangs))
}
