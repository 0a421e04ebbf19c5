package storage

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// tool returns the path of a program that a test needs.
func tool(t *testing.T, name, debianPackage string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/" + name)
	}
	if err != nil {
		t.Fatalf("this test needs %s: apt-get install %s", name, debianPackage)
	}
	return path
}

// lack is a call that fails on some file system.
type lack struct{ call, errno string }

// runLacking runs a child on a directory whose file system lacks something.
func runLacking(t *testing.T, faults []lack, kind, dir string, args ...string) {
	t.Helper()
	command := []string{"-f", "-qq", "-o", filepath.Join(t.TempDir(), "trace"), "-P", dir}
	for _, name := range []string{dbName, dbName + ".new", copyName, copyName + ".new", lockName} {
		command = append(command, "-P", filepath.Join(dir, name))
	}
	for _, f := range faults {
		command = append(command, "-e", fmt.Sprintf("inject=%s:error=%s", f.call, f.errno))
	}
	cmd := exec.Command(strace(t), append(append(command, os.Args[0], dir), args...)...)
	cmd.Env = append(os.Environ(), childEnv+"="+kind, raceQuick)
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
}

// TestAFileSystemMayLackWhatBboltNeeds goes through a whole life while a call
// fails as it does on some file system or kernel, and opens the state later
// without that fault.
func TestAFileSystemMayLackWhatBboltNeeds(t *testing.T) {
	t.Parallel()
	whole := newSample(t)
	for _, tc := range []struct {
		name   string
		faults []lack
	}{
		{"no locks for network reasons", []lack{{"flock", "ENOLCK"}}},
		{"no locks on this file system", []lack{{"flock", "EOPNOTSUPP"}}},
		{"no locks in the kernel", []lack{{"flock", "ENOSYS"}}},
		{"no shared maps, as on jffs2", []lack{{"mmap", "EINVAL"}}},
		{"no shared maps, as on FUSE", []lack{{"mmap", "ENODEV"}}},
		{"maps that a policy forbids", []lack{{"mmap", "EACCES"}}},
		{"no advice on maps", []lack{{"madvise", "EINVAL"}}},
		{"no sync", []lack{{"fsync", "EINVAL"}, {"fdatasync", "EINVAL"}}},
		{"no sync of a file system in user space", []lack{{"fsync", "ENOSYS"}, {"fdatasync", "ENOSYS"}}},
		{"no sync of a network's", []lack{{"fsync", "EOPNOTSUPP"}, {"fdatasync", "EOPNOTSUPP"}}},
		{"no modes", []lack{{"fchmodat", "EPERM"}, {"fchmod", "EPERM"}, {"fchown", "EPERM"}, {"fchownat", "EPERM"}}},
		{"modes that can't be changed", []lack{{"fchmodat", "EOPNOTSUPP"}, {"fchmod", "ENOSYS"}}},
		{"sizes that can't be changed", []lack{{"ftruncate", "EPERM"}}},
		{"no change of size", []lack{{"ftruncate", "EOPNOTSUPP"}}},
		{"no links", []lack{{"linkat", "EPERM"}, {"symlinkat", "EPERM"}}},
		{"no file may replace another", []lack{{"renameat", "EPERM"}}},
		{"a file that is mounted by itself", []lack{{"renameat", "EBUSY"}}},
		{"nothing of all this", []lack{
			{"flock", "ENOSYS"}, {"mmap", "ENODEV"}, {"fsync", "EINVAL"}, {"fdatasync", "EINVAL"}, {"fchmodat", "EPERM"},
			{"ftruncate", "EPERM"}, {"renameat", "EPERM"}, {"mknodat", "EPERM"},
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "state")
			save(t, os.Mkdir(dir, 0o755)) // to be closed to others
			runLacking(t, tc.faults, "live", dir, "0")
			runLacking(t, tc.faults, "live", dir, "0")
			expectLived(t, dir)

			dir = put(t, whole.db, whole.copy) // it was on a better file system before
			runLacking(t, tc.faults, "count", dir)
			s := open(t, dir)
			want := labState(2)
			want.Token = labToken(7, 2048)
			expectApp(t, s, labApp, want)
			if s.Mended() != "" {
				t.Errorf("Mended: %s", s.Mended())
			}
		})
	}
}

// expectLived expects what a whole life leaves.
func expectLived(t *testing.T, dir string) {
	t.Helper()
	all := moments(nothing())
	v := judge(dir)
	if v.Err != "" || v.Mended != "" || !all[len(all)-1].equal(v.moment) {
		t.Errorf("%s %s (-want +got)\n%s", v.Err, v.Mended, cmp.Diff(all[len(all)-1], v.moment))
	}
}

// fuse mounts a file system in user space until the test ends.
func fuse(t *testing.T, dir string, command ...string) {
	t.Helper()
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skipf("no file systems in user space here: %v", err)
	}
	before := deviceOf(t, dir)
	if said, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
		t.Skipf("%s can't mount here: %v: %s", command[0], err, said)
	}
	t.Cleanup(func() { save(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	for deadline := time.Now().Add(5 * time.Minute); deviceOf(t, dir) == before; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s is not there after 5 minutes", command[0])
		}
	}
}

func deviceOf(t *testing.T, dir string) uint64 {
	t.Helper()
	var st unix.Stat_t
	save(t, unix.Stat(dir, &st))
	return uint64(st.Dev) // of another type on mips
}

// TestRealFileSystemsThatLackMuch goes through a life on real file systems that
// refuse calls.
func TestRealFileSystemsThatLackMuch(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting takes root")
	}
	for _, tc := range []struct {
		name  string
		mount func(t *testing.T, dir string)
	}{
		{"no shared maps, no modes", func(t *testing.T, dir string) {
			fuse(t, dir, tool(t, "bindfs", "bindfs"), "-o", "direct_io", "--chmod-deny", "--chown-deny", t.TempDir(), dir)
		}},
		{"no shared maps, no modes, no renaming", func(t *testing.T, dir string) {
			fuse(t, dir, tool(t, "bindfs", "bindfs"), "-o", "direct_io", "--chmod-deny", "--rename-deny", t.TempDir(), dir)
		}},
		{"vfat: no modes, no FIFOs, no size to set", func(t *testing.T, dir string) {
			disk := filepath.Join(t.TempDir(), "disk")
			save(t, os.WriteFile(disk, make([]byte, 1<<20), 0o600))
			if said, err := exec.Command(tool(t, "mkfs.vfat", "dosfstools"), disk).CombinedOutput(); err != nil {
				t.Fatalf("mkfs.vfat: %v: %s", err, said)
			}
			fuse(t, dir, tool(t, "fusefat", "fusefat"), "-o", "rw+", disk, dir)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			tc.mount(t, dir)
			all := moments(nothing())
			s := open(t, filepath.Join(dir, "state"))
			for n := range life {
				save(t, saveChanges(s, all[n], all[n+1]))
			}
			save(t, s.Unwritten())
			shut(t, s)
			expectLived(t, filepath.Join(dir, "state"))
			remove(t, filepath.Join(dir, "state", dbName)) // emptying is not possible everywhere
			write(t, filepath.Join(dir, "state", dbName), []byte("damage"))
			s = open(t, filepath.Join(dir, "state"))
			if !strings.Contains(s.Mended(), damagedName) || !strings.Contains(s.Mended(), "not usable") {
				t.Errorf("Mended says %q", s.Mended())
			}
			if kept := read(t, filepath.Join(dir, "state", damagedName)); string(kept) != "damage" {
				t.Errorf("what was set aside holds %.100q", kept)
			}
			want := all[len(all)-1].Apps[labApp]
			expectApp(t, s, labApp, App{Credentials: want.Credentials, History: want.History})
		})
	}
}

// A container may have each file as a mount of its own, which can be written
// but not replaced.
func TestEachFileMayBeAMount(t *testing.T) {
	whole := newSample(t)
	dir := smallDisk(t)
	for _, name := range []string{dbName, copyName} {
		outside, inside := filepath.Join(t.TempDir(), name), filepath.Join(dir, name)
		write(t, outside, map[string][]byte{dbName: whole.db, copyName: whole.copy}[name])
		write(t, inside, nil)
		save(t, unix.Mount(outside, inside, "", unix.MS_BIND, ""))
		t.Cleanup(func() { save(t, unix.Unmount(inside, unix.MNT_DETACH)) })
	}
	s := open(t, dir)
	expectFilled(t, s)
	save(t, s.SaveApp(labEndpoint, labApp, labState(3)))
	write(t, filepath.Join(dir, dbName), []byte("damage"))
	save(t, s.SaveApp(labEndpoint, labApp, labState(4)))
	save(t, s.Unwritten())
	shut(t, s)
	s = open(t, dir)
	expectState(t, s, 4, true)
	if s.Mended() != "" {
		t.Errorf("Mended: %s", s.Mended())
	}
}

// TestTwoDaemonsNeverShareAState has the lock itself missing.
func TestTwoDaemonsNeverShareAState(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		lacks []string
	}{
		{"nothing", nil},
		{"flock", []string{"flock:error=ENOSYS"}},
		{"flock and FIFOs", []string{"flock:error=EOPNOTSUPP", "mknodat:error=EPERM"}},
		{"flock and sizes of FIFOs", []string{"flock:error=ENOLCK", "fcntl:error=EINVAL"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			var args []string
			for _, fault := range tc.lacks {
				args = append(args, "-e", "inject="+fault)
			}
			// The first one locks an empty directory.
			first := startStraced(t, "hold", dir, args)
			first.line()
			if said := second(t, dir, args); !strings.Contains(said, ErrInUse.Error()) {
				t.Errorf("beside the first a second says %q", said)
			}
			if len(tc.lacks) < 2 { // a socket's name is visible in its network namespace only
				unshare := tool(t, "unshare", "util-linux")
				if os.Geteuid() != 0 {
					t.Log("network namespaces take root")
				} else if said := second(t, dir, args, unshare, "--net"); !strings.Contains(said, ErrInUse.Error()) {
					t.Errorf("in another network namespace a second says %q", said)
				}
			}
			if said := inspect(t, dir, args); !strings.Contains(said, ErrInUse.Error()) {
				t.Errorf("beside the first Inspect says %q", said)
			}
			first.killTracee(t)
			if said := second(t, dir, args); said != "open" {
				t.Errorf("after a kill of the first a second says %q", said)
			}
			if said := inspect(t, dir, args); said != "free" {
				t.Errorf("after that Inspect says %q", said)
			}
		})
	}
}

// startStraced starts a child whose calls are made to fail.
func startStraced(t *testing.T, kind, dir string, faults []string, before ...string) *child {
	t.Helper()
	exe, err := os.Executable()
	save(t, err)
	args := append(before, strace(t), "-f", "-qq", "-o", filepath.Join(t.TempDir(), "trace"),
		"-P", dir, "-P", filepath.Join(dir, lockName), "-P", filepath.Join(dir, dbName),
		"-P", filepath.Join(dir, dbName+".new"))
	args = append(append(args, faults...), exe, dir)
	return startCommand(t, kind, args[0], args[1:]...)
}

// second tries to open a directory and returns what the child prints.
func second(t *testing.T, dir string, faults []string, before ...string) string {
	t.Helper()
	c := startStraced(t, "hold", dir, faults, before...)
	if c.lines.Scan() {
		said := c.lines.Text()
		save(t, errors.Join(c.stdin.Close(), c.reap()))
		return said
	}
	return c.reap().Error()
}

func inspect(t *testing.T, dir string, faults []string) string {
	t.Helper()
	c := startStraced(t, "inspect", dir, faults)
	said := c.line()
	save(t, c.reap())
	return said
}

// inspectAndSay is a child that prints whether a directory is in use.
func inspectAndSay() error {
	_, err := Inspect(os.Args[1])
	if err == nil {
		fmt.Println("free")
	} else {
		fmt.Println(err)
	}
	return nil
}

// killTracee kills the process that strace runs, and waits for both.
func (c *child) killTracee(t *testing.T) {
	t.Helper()
	pids := strings.Fields(string(read(t, fmt.Sprintf("/proc/%d/task/%[1]d/children", c.cmd.Process.Pid))))
	for _, pid := range pids {
		n, err := strconv.Atoi(pid)
		save(t, errors.Join(err, unix.Kill(n, unix.SIGKILL)))
	}
	if err := c.reap(); len(pids) == 0 || err == nil {
		t.Errorf("%v ended by themselves: %v", pids, err)
	}
}
