package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A state directory that every boot empties is a warning everywhere, unless the
// configuration accepts that.
func TestAStateThatDoesNotLast(t *testing.T) {
	l := newLab(t)
	memory, err := os.MkdirTemp("/dev/shm", "tvpassd-test-")
	l.must(err)
	t.Cleanup(func() { l.must(os.RemoveAll(memory)) })
	var st unix.Statfs_t
	l.must(unix.Statfs(memory, &st))
	if uint32(st.Type) != unix.TMPFS_MAGIC {
		t.Skip("/dev/shm is not a tmpfs here: mount -t tmpfs tmpfs /dev/shm")
	}
	l.must(os.Symlink(memory, l.path("state")))
	l.configure("accept_volatile_state = false", "[device]", `model = "Box"`, `version = "1"`)
	l.addApp("ref30", "")

	const words = "the state does not last"
	l.run("config", "check").expect(t, 0, words, "is on a tmpfs on /dev/shm", "set state_dir to")
	d := l.up()
	l.token()
	l.run("status").expect(t, 1, "degraded", "warning state_volatile", "/dev/shm")
	if !strings.Contains(d.stderr.String(), words) {
		t.Errorf("the log says %s", d.stderr)
	}
	if os.Geteuid() == 0 {
		players := l.curlAs(player, "/v1/status").stdout
		if !strings.Contains(players, "state_volatile") || strings.Contains(players, "/dev/shm") {
			t.Errorf("a player is told %s", players)
		}
	}
	if rep := l.report(l.run("doctor", "--json")); rep.status("persistence") != "failed" {
		t.Errorf("doctor says %+v", rep)
	}

	l.configure("accept_volatile_state = true", "[device]", `model = "Box"`, `version = "1"`)
	l.run("reload").expect(t, 0)
	l.run("status").expect(t, 0, "healthy")
	if r := l.run("config", "check"); r.code != 0 || r.stderr != "" {
		t.Errorf("config check says %s", r.stderr)
	}
	if rep := l.report(l.run("doctor", "--json")); rep.status("persistence") != "pass" {
		t.Errorf("doctor says %+v", rep)
	}
}

// Old files below /tmp are deleted on many systems: the commands that set a
// device up warn of it.
func TestAStateThatIsEmptiedByAge(t *testing.T) {
	l := newLab(t)
	dir, err := os.MkdirTemp("/var/tmp", "tvpassd-test-")
	l.must(err)
	t.Cleanup(func() { l.must(os.RemoveAll(dir)) })
	l.must(os.Symlink(dir, l.path("state")))
	l.configure("accept_volatile_state = false", "[device]", `model = "Box"`, `version = "1"`)
	l.addApp("ref30", "")
	l.run("config", "check").expect(t, 0, "is below /var/tmp", "set state_dir to")
	l.up()
	l.token()
	if rep := l.report(l.run("doctor", "--json")); rep.status("persistence") != "warning" {
		t.Errorf("doctor says %+v", rep)
	}
}

// A device that is full when it starts for the first time says so, and
// registers once there is room.
func TestADiskThatIsFullAtTheFirstStart(t *testing.T) {
	needRoot(t)
	needMounts(t)
	l := newLab(t)
	l.configure("")
	l.addApp("ref30", "")
	l.must(os.Mkdir(l.path("state"), 0o700))
	const script = `mount -t tmpfs -o size=256k,mode=700 tmpfs "$1"
		dd if=/dev/zero of="$1/filler" 2>/dev/null || true
		exec "$2" run --config "$3"`
	l.daemon = l.start("unshare", "--mount", "--propagation", "private",
		"sh", "-euc", script, "sh", l.path("state"), programs.tvpassd, l.path("config.toml"))
	t.Cleanup(l.daemon.kill)
	l.daemon.until("socket", func() bool { return l.exists("sock") })
	l.daemon.until("an answer", func() bool { return l.curl("/v1/apps/ref30/token?wait=0s").code == 500 })
	l.curl("/v1/apps/ref30/token?wait=1s").expect(t, 500, `"code":"storage"`)
	l.run("status").expect(t, 2, "storage   FAILS", "no space left on device: free")
	l.expectCalls(0, 0)
	target := fmt.Sprintf("--target=%d", l.daemon.cmd.Process.Pid)
	l.exec(nil, "", "nsenter", "--mount", "--root", "--wd", target, "rm", l.path("state/filler")).expect(t, 0)
	l.token()
	l.expectCalls(1, 1)
}

// A kernel may have no flock at all: two daemons never share a state all the
// same, and each goes on from what the other left.
func TestAStateWithoutLocks(t *testing.T) {
	needRoot(t)
	l := newLab(t)
	l.addApp("ref30", "")
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Fatal("this test needs strace: apt-get install strace")
	}
	run := func(before ...string) *process {
		args := append(before, strace, "-f", "-qq", "-o", l.path("trace"), "-e", "inject=flock:error=ENOSYS",
			programs.tvpassd, "run", "--config", l.path("config.toml"))
		d := l.start(args[0], args[1:]...)
		t.Cleanup(d.kill)
		return d
	}
	for range 2 {
		l.daemon = run()
		l.daemon.until("socket", func() bool { return l.exists("sock") })
		l.storedToken()
		for _, before := range [][]string{nil, {"unshare", "--net"}} {
			second := run(before...)
			if code := second.exit(); code != 78 ||
				!strings.Contains(second.stderr.String(), "another tvpassd uses this state directory") {
				t.Errorf("a second daemon ends with %d, and says %s", code, second.stderr)
			}
		}
		kill := fmt.Sprintf("kill -9 $(cat /proc/%d/task/%[1]d/children)", l.daemon.cmd.Process.Pid)
		l.exec(nil, "", "sh", "-c", kill).expect(t, 0)
		l.daemon.exit()
		l.must(os.Remove(l.path("sock")))
	}
	l.expectCalls(1, 1)
}

// The disk with the true state may be mounted over the directory of a daemon that
// started too early. It is left alone, and a restart finds it.
func TestAStateThatIsMountedLate(t *testing.T) {
	l := newLab(t)
	l.up()
	before := field(t, l.curl("/v1/apps/ref30/token?wait=60s").stdout, "access_token")
	l.daemon.stop()
	l.must(os.Rename(l.path("state"), l.path("true")))
	files := l.read("true/tvpassd.db") + l.read("true/tvpassd.copy")

	d := l.up() // and registers
	if early := l.storedToken(); early == before {
		t.Fatal("the device still has its first state")
	}
	l.must(os.Rename(l.path("state"), l.path("early")))
	l.must(os.Rename(l.path("true"), l.path("state")))
	l.run("refresh", "--app", "ref30").expect(t, 0)
	const told = "restart tvpassd to use it"
	d.until("a word about the state", func() bool { return strings.Contains(l.run("status", "--json").stdout, told) })
	if n := strings.Count(d.stderr.String(), told); n != 1 {
		t.Errorf("it is logged %d times\n%s", n, d.stderr)
	}
	l.curl("/v1/apps/ref30/token?wait=0s").expect(t, 200)
	d.stop()
	if l.read("state/tvpassd.db")+l.read("state/tvpassd.copy") != files {
		t.Error("the true state was touched")
	}
	l.up()
	if got := l.token(); got != before {
		t.Error("the restart does not find the true state")
	}
	l.run("status").expect(t, 0, "healthy")
	if n := len(l.requests("/register")); n != 2 {
		t.Errorf("%d registrations", n)
	}
}

// Worn flash may take minutes for a write. Meanwhile players get their token,
// technicians a status, and the service manager hears that the daemon lives.
func TestAWriteThatTakesLong(t *testing.T) {
	l := newLab(t)
	address := &net.UnixAddr{Name: l.path("notify"), Net: "unixgram"}
	manager, err := net.ListenUnixgram("unixgram", address)
	l.must(err)
	defer manager.Close()
	l.daemon = l.start("env", "NOTIFY_SOCKET="+address.Name, "WATCHDOG_USEC=400000",
		programs.tvpassd, "run", "--config", l.path("config.toml"))
	t.Cleanup(l.daemon.kill)
	l.daemon.until("socket", func() bool { return l.exists("sock") })
	first := l.storedToken()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Fatal("this test needs strace: apt-get install strace")
	}
	tracer := l.start(strace, "-f", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", "inject=fdatasync:delay_enter=600s",
		"-p", fmt.Sprint(l.daemon.cmd.Process.Pid))
	t.Cleanup(tracer.kill)
	tracer.until("attachment", func() bool { return strings.Contains(tracer.stderr.String(), "attached") })
	l.run("refresh", "--app", "ref30").expect(t, 0)
	l.daemon.until("another token", func() bool { return l.token() != first })
	for range 3 {
		l.run("status").expect(t, 0, "healthy", "storage   ok")
	}
	message := make([]byte, 4096)
	for fed := 0; fed < 10; { // of them, at most a few were sent before the write began
		l.must(manager.SetReadDeadline(time.Now().Add(patience)))
		n, err := manager.Read(message)
		l.must(err)
		if string(message[:n]) == "WATCHDOG=1" {
			fed++
		}
	}
}
