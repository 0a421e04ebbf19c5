package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// unprivileged is a user that every Debian has.
const unprivileged = "daemon"

// release builds the program once, as it is shipped: a binary with the race
// detector uses cgo, which has threads that Go can't take privileges from.
var release = sync.OnceValues(func() (exe string, err error) {
	exe = filepath.Join(programs.dir, "tvpassd-static")
	cmd := exec.Command("go", append(buildArgs("2026-01-01T00:00:00Z"), "-o", exe, ".")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return exe, nil
})

func numbers(t *testing.T, name string) (uid, gid int) {
	t.Helper()
	u, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	uid, _ = strconv.Atoi(u.Uid)
	gid, _ = strconv.Atoi(u.Gid)
	return uid, gid
}

// owner returns who owns a file, and its mode.
func owner(t *testing.T, path string) (uid int, mode os.FileMode) {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return int(info.Sys().(*syscall.Stat_t).Uid), info.Mode().Perm()
}

// userLab is a lab whose state and socket are in directories that do not exist
// yet.
func userLab(t *testing.T) (l *lab, exe string) {
	needRoot(t)
	l = newLab(t)
	l.configure("")
	moved := strings.NewReplacer(`"state"`, `"var/lib/tvpassd"`, `"sock"`, `"run/tvpassd/sock"`)
	l.write("config.toml", moved.Replace(l.read("config.toml")))
	exe, err := release()
	l.must(err)
	return l, exe
}

func (l *lab) upAs(exe, name string) *process {
	l.t.Helper()
	l.daemon = l.start(exe, "run", "--user", name, "--config", l.path("config.toml"))
	l.t.Cleanup(l.daemon.kill)
	l.daemon.until("socket", func() bool {
		c, err := net.Dial("unix", l.path("run/tvpassd/sock"))
		return err == nil && c.Close() == nil
	})
	return l.daemon
}

// `run --user` makes what is missing, and then is the user for good.
func TestRunAsAnotherUser(t *testing.T) {
	l, exe := userLab(t)
	uid, gid := numbers(t, unprivileged)
	d := l.upAs(exe, unprivileged)

	for path, want := range map[string]struct {
		uid  int
		mode os.FileMode
	}{
		"var": {0, 0o755}, "var/lib": {0, 0o755}, "var/lib/tvpassd": {uid, 0o700},
		"var/lib/tvpassd/tvpassd.db": {uid, 0o600}, "run": {0, 0o755}, "run/tvpassd": {uid, 0o755},
		"run/tvpassd/sock": {uid, 0o666},
	} {
		if got, mode := owner(t, l.path(path)); got != want.uid || mode != want.mode {
			t.Errorf("%s belongs to %d with mode %o, want %d and %o", path, got, mode, want.uid, want.mode)
		}
	}
	proc := fmt.Sprintf("/proc/%d", d.cmd.Process.Pid)
	threads, err := filepath.Glob(proc + "/task/*/status")
	if err != nil || len(threads) == 0 {
		t.Fatalf("no threads: %v", err)
	}
	for _, file := range threads {
		content, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has ended
		}
		for _, line := range []string{
			fmt.Sprintf("Uid:\t%d\t%d\t%d\t%d", uid, uid, uid, uid), fmt.Sprintf("Gid:\t%d\t%d\t%d\t%d", gid, gid, gid, gid),
			"NoNewPrivs:\t1", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "CapAmb:\t0000000000000000",
		} {
			if !strings.Contains(string(content), line+"\n") {
				t.Errorf("a thread lacks %q\n%s", line, content)
			}
		}
	}
	if as, _ := owner(t, proc+"/environ"); as != 0 {
		t.Errorf("other processes of user %d may read its memory", uid)
	}
	limits, err := os.ReadFile(proc + "/limits")
	if err != nil || !strings.Contains(strings.Join(strings.Fields(string(limits)), " "), "Max core file size 0 0") {
		t.Errorf("it may write a core file: %v\n%s", err, limits)
	}
	d.stop()
}

// A file that only root may read is not read: a reload could not read it again.
func TestRunAsAnotherUserReadsAsThatUser(t *testing.T) {
	l, exe := userLab(t)
	l.must(os.Chmod(l.path("apps.d/ref30.jwt"), 0o600))
	d := l.upAs(exe, unprivileged)
	d.until("complaint", func() bool { return strings.Contains(d.stderr.String(), "permission denied") })
	l.must(os.Chmod(l.path("config.toml"), 0o600))
	d.stop()
	d = l.start(exe, "run", "--user", unprivileged, "--config", l.path("config.toml"))
	if code := d.exit(); code != exitConfig || !strings.Contains(d.stderr.String(), "permission denied") {
		t.Errorf("exit status %d with a configuration that is root's alone\n%s", code, d.stderr)
	}
}

// An earlier version of the service ran as root: its state must not be lost,
// and nothing else changes hands on the way.
func TestRunAsAnotherUserTakesOverRootsState(t *testing.T) {
	l, exe := userLab(t)
	uid, _ := numbers(t, unprivileged)
	for _, dir := range []string{"var", "var/lib", "var/lib/tvpassd", "run"} {
		l.must(os.Mkdir(l.path(dir), 0o700))
		l.must(os.Chmod(l.path(dir), 0o755))
	}
	l.must(os.Chmod(l.path("var/lib/tvpassd"), 0o700))
	l.write("secret", "root's")
	l.must(os.Symlink(l.path("secret"), l.path("var/lib/tvpassd/link")))
	l.must(os.Link(l.path("secret"), l.path("var/lib/tvpassd/second-name")))
	l.write("var/lib/tvpassd/tvpassd.note", "plain")
	l.upAs(exe, unprivileged).stop()
	for path, want := range map[string]int{"var/lib/tvpassd": uid, "var/lib/tvpassd/tvpassd.note": uid, "secret": 0} {
		if got, _ := owner(t, l.path(path)); got != want {
			t.Errorf("%s belongs to %d, want %d", path, got, want)
		}
	}
}

// A volume of its own comes with a directory of the file system's.
func TestRunAsAnotherUserTakesOverAVolume(t *testing.T) {
	l, exe := userLab(t)
	uid, _ := numbers(t, unprivileged)
	l.must(os.MkdirAll(l.path("var/lib/tvpassd/lost+found"), 0o755))
	l.upAs(exe, unprivileged).stop()
	if got, _ := owner(t, l.path("var/lib/tvpassd")); got != uid {
		t.Errorf("the volume belongs to %d, want %d", got, uid)
	}
}

// A directory that is not tvpassd's stays root's, whatever state_dir says.
func TestRunAsAnotherUserTakesOverNothingElse(t *testing.T) {
	for _, tc := range []struct {
		name string
		lay  func(l *lab)
		ends bool // because it can't write there
	}{
		{"a directory of other programs", func(l *lab) { l.write("var/lib/tvpassd/passwd", "root's") }, true},
		{"a shared directory", func(l *lab) { l.must(os.Chmod(l.path("var/lib/tvpassd"), 0o777|os.ModeSticky)) }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l, exe := userLab(t)
			l.must(os.MkdirAll(l.path("var/lib/tvpassd"), 0o755))
			tc.lay(l)
			if !tc.ends {
				l.upAs(exe, unprivileged)
			} else {
				d := l.start(exe, "run", "--user", unprivileged, "--config", l.path("config.toml"))
				if code := d.exit(); code != exitConfig {
					t.Errorf("exit status %d, want %d", code, exitConfig)
				}
			}
			for _, path := range []string{"var/lib/tvpassd", "var/lib/tvpassd/passwd"} {
				if l.exists(path) {
					if got, _ := owner(t, l.path(path)); got != 0 {
						t.Errorf("%s belongs to %d", path, got)
					}
				}
			}
		})
	}
}

// Root makes nothing in a directory of another user.
func TestRunAsAnotherUserLeavesOthersFoldersAlone(t *testing.T) {
	for _, tc := range []struct {
		name string
		lay  func(l *lab)
	}{
		{"a folder of another user", func(l *lab) { l.must(os.Chown(l.path("var"), 61002, 61002)) }},
		{"a link of another user", func(l *lab) {
			l.must(os.Remove(l.path("var")))
			l.must(os.Symlink("elsewhere", l.path("var")))
			l.must(os.Lchown(l.path("var"), 61002, 61002))
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l, exe := userLab(t)
			l.must(os.Mkdir(l.path("var"), 0o755))
			l.must(os.Mkdir(l.path("elsewhere"), 0o755))
			tc.lay(l)
			d := l.start(exe, "run", "--user", unprivileged, "--config", l.path("config.toml"))
			if code := d.exit(); code != exitConfig {
				t.Errorf("exit status %d\n%s", code, d.stderr)
			}
			if l.exists("var/lib") || l.exists("elsewhere/lib") {
				t.Error("root made a directory there")
			}
		})
	}
}

// A link of root's in a folder of root's is followed: on small systems /var is
// such a link.
func TestRunAsAnotherUserFollowsRootsLinks(t *testing.T) {
	l, exe := userLab(t)
	l.must(os.Mkdir(l.path("disk"), 0o755))
	l.must(os.Symlink("disk", l.path("var")))
	l.upAs(exe, unprivileged).stop()
	if !l.exists("disk/lib/tvpassd/tvpassd.db") {
		t.Error("the state is not behind the link")
	}
}

// In a folder that is open to everybody the daemon itself makes its directory,
// as its user.
func TestRunAsAnotherUserInASharedFolder(t *testing.T) {
	l, exe := userLab(t)
	l.must(os.Mkdir(l.path("var"), 0o755))
	l.must(os.Chmod(l.path("var"), 0o777))
	l.upAs(exe, unprivileged).stop()
	uid, _ := numbers(t, unprivileged)
	if got, _ := owner(t, l.path("var/lib")); got != uid {
		t.Errorf("root made a directory there: it belongs to %d", got)
	}
}

func TestRunAsAnotherUserRefuses(t *testing.T) {
	l, exe := userLab(t)
	for name, words := range map[string]string{"no-such-user": "unknown user no-such-user", "root": "is root"} {
		l.exec(nil, "", exe, "run", "--user", name, "--config", l.path("config.toml")).expect(t, exitConfig, words)
	}
	l.exec(stranger, "", exe, "run", "--user", unprivileged, "--config", l.path("config.toml")).expect(t, exitConfig,
		"only root")
}

// niceness returns that of each thread of a process.
func niceness(t *testing.T, pid int) map[string]int {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(threads) == 0 {
		t.Fatalf("no threads: %v", err)
	}
	found := map[string]int{}
	for _, file := range threads {
		content, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has ended
		}
		_, fields, _ := strings.Cut(string(content), ") ")
		nice, err := strconv.Atoi(strings.Fields(fields)[16])
		if err != nil {
			t.Fatal(err)
		}
		found[file] = nice
	}
	return found
}

// The daemon has more of the processor than a user who floods it, unless it is
// started with another niceness.
func TestNiceness(t *testing.T) {
	ours, err := syscall.Getpriority(syscall.PRIO_PROCESS, 0)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("nice", "-n", "-1", "nice").Output(); err != nil ||
		strings.TrimSpace(string(out)) != strconv.Itoa(20-ours-1) {
		t.Skipf("no process may have a lower niceness here: run the tests with CAP_SYS_NICE (%s, %v)", out, err)
	}
	for started, want := range map[int]int{0: -5, 7: 7} {
		t.Run(strconv.Itoa(started), func(t *testing.T) {
			l, exe := userLab(t)
			l.daemon = l.start("setsid", "nice", "-n", strconv.Itoa(started-(20-ours)), // 20 is 0 for the system call
				exe, "run", "--user", unprivileged, "--config", l.path("config.toml"))
			t.Cleanup(l.daemon.kill)
			l.daemon.until("socket", func() bool {
				c, err := net.Dial("unix", l.path("run/tvpassd/sock"))
				return err == nil && c.Close() == nil
			})
			for thread, nice := range niceness(t, l.daemon.cmd.Process.Pid) {
				if nice != want {
					t.Errorf("thread %s has niceness %d, want %d", thread, nice, want)
				}
			}
			session, err := os.ReadFile(fmt.Sprintf("/proc/%d/autogroup", l.daemon.cmd.Process.Pid))
			if want := fmt.Sprintf("nice %d\n", min(want, 0)); err == nil && !strings.HasSuffix(string(session), want) {
				t.Errorf("the session has %s, want %s", session, want)
			}
		})
	}
}
