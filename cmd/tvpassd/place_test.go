package main

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A state that every boot takes away is a warning wherever a person looks,
// unless the configuration says that it may go.
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

// Old files below /tmp are deleted on many systems: that is for those who set
// the device up.
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
