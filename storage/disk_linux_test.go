package storage

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// dropRights takes root's right to use files of any mode from a test. The
// restriction ends with the test's thread.
func dropRights(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		return // modes apply already
	}
	runtime.LockOSThread()
	none := [2]unix.CapUserData{}
	if err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0]); err != nil {
		t.Skipf("root's rights can't be dropped: %v", err)
	}
}

// smallDisk mounts a file system of 256 KiB, visible to the test's thread only.
// It ends with that thread.
func smallDisk(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		t.Skipf("no mount namespace of its own, which takes root: %v", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Skipf("no private mounts: %v: in a plain chroot, mount --bind its directory on itself first", err)
	}
	if err := unix.Mount("tvpassd-test", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Skipf("no small disk: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fillDisk fills a small disk but for some bytes, and returns the file that
// does so.
func fillDisk(t *testing.T, dir string, free int) (filler string) {
	t.Helper()
	filler = filepath.Join(dir, "filler")
	err := os.WriteFile(filler, make([]byte, 512<<10), 0o600)
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	fi, err := os.Stat(filler)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filler, fi.Size()-int64(free)); err != nil {
		t.Fatal(err)
	}
	return filler
}

// expectError expects an error with this cause and these words.
func expectError(t *testing.T, err, cause error, parts ...string) {
	t.Helper()
	if !errors.Is(err, cause) {
		t.Fatalf("the error is %v, want %v", err, cause)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error reads %q, want %q in it", err, part)
		}
	}
}

func expectNames(t *testing.T, dir string, want ...string) {
	t.Helper()
	found, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, de := range found {
		names = append(names, de.Name())
	}
	if strings.Join(names, " ") != strings.Join(want, " ") {
		t.Errorf("the directory holds %v, want %v", names, want)
	}
}

func TestAFullDiskRefusesASaveAndLosesNothing(t *testing.T) {
	dir := smallDisk(t)
	s := open(t, dir)
	fill(t, s)
	big := labState(1)
	big.Token = labToken(1, 100_000)
	filler := fillDisk(t, dir, 8192)
	for range 2 {
		expectError(t, s.SaveApp(labEndpoint, labApp, big), syscall.ENOSPC, filepath.Join(dir, dbName))
		expectFilled(t, s)
	}
	remove(t, filler)
	save(t, s.SaveApp(labEndpoint, labApp, big))
	expectApp(t, s, labApp, big)
	shut(t, s)
	s = open(t, dir)
	expectApp(t, s, labApp, big)
	expectApp(t, s, "com.example.other", labState(2))
	if s.Mended() != "" {
		t.Errorf("Mended: %s", s.Mended())
	}
}

func TestAFullDiskDoesNotKeepATokenFromBeingSaved(t *testing.T) {
	dir := smallDisk(t)
	s := open(t, dir)
	a := labState(1)
	for n := range 10 { // until enough pages are free
		a.Token = labToken(n, 2048)
		save(t, s.SaveApp(labEndpoint, labApp, a))
	}
	fillDisk(t, dir, 0)
	for n := range 10 {
		a.Token = labToken(100+n, 2048)
		save(t, s.SaveApp(labEndpoint, labApp, a))
	}
	expectApp(t, s, labApp, a)
}

func TestACopyThatFindsNoRoomIsWrittenLater(t *testing.T) {
	dir := smallDisk(t)
	s := open(t, dir)
	for n := range 10 {
		save(t, s.SaveApp(labEndpoint, labApp, labState(n)))
	}
	save(t, s.SaveIdentifier(labIdentifier))
	filler := fillDisk(t, dir, 0)
	a := labState(11)
	expectError(t, s.SaveApp(labEndpoint, labApp, a), syscall.ENOSPC, "write the copy of the credentials", copyName)
	expectApp(t, s, labApp, a) // the database had room for it
	expectNames(t, dir, "filler", copyName, dbName)
	remove(t, filler)
	save(t, s.SaveApp(labEndpoint, labApp, a))
	shut(t, s)
	remove(t, filepath.Join(dir, dbName))
	s = open(t, dir)
	expectApp(t, s, labApp, App{Credentials: a.Credentials, History: a.History})
	expectIdentifier(t, s, labIdentifier)
}

// A device whose disk is full at the very first start runs, reports it, and
// works once there is room.
func TestADiskThatIsFullAtTheFirstStart(t *testing.T) {
	for _, tc := range []struct {
		name string
		free int // bytes; a new database takes four pages or more, a copy one
		made bool
		want string
	}{
		{"nothing free", 0, true, dbName},
		{"a page free", 4096, true, dbName},
		{"two pages free", 8192, true, dbName},
		{"three pages free", 12288, true, dbName},
		{"no file can be made", 0, false, "make the state directory"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := smallDisk(t)
			filler := fillDisk(t, dir, tc.free)
			if !tc.made {
				save(t, unix.Mount("", dir, "", unix.MS_REMOUNT, "nr_inodes=2"))
			}
			state := filepath.Join(dir, "lib", "state")
			s := open(t, state)
			expectError(t, s.Unwritten(), syscall.ENOSPC, tc.want, "free some space")
			expectEmpty(t, s)
			for range 2 {
				expectError(t, s.SaveIdentifier(labIdentifier), syscall.ENOSPC, tc.want, "free some space")
				expectError(t, s.SaveApp(labEndpoint, labApp, labState(1)), syscall.ENOSPC)
				expectError(t, s.Flush(), syscall.ENOSPC)
				expectEmpty(t, s)
			}
			if !tc.made {
				save(t, unix.Mount("", dir, "", unix.MS_REMOUNT, "nr_inodes=20"))
			}
			remove(t, filler)
			save(t, s.Flush())
			save(t, s.Unwritten())
			fill(t, s)
			expectFilled(t, s)
			if _, err := Open(labConfig(state)); !errors.Is(err, ErrInUse) {
				t.Errorf("a second Open gives %v, want ErrInUse", err)
			}
			shut(t, s)
			s = open(t, state)
			expectFilled(t, s)
			if s.Mended() != "" {
				t.Errorf("Mended: %s", s.Mended())
			}
		})
	}
}

// A state that comes with a late mount is neither overwritten nor mixed with
// what the daemon knows.
func TestAStateThatComesLateIsLeftAlone(t *testing.T) {
	whole := newSample(t)
	dir := smallDisk(t)
	filler := fillDisk(t, dir, 0)
	save(t, unix.Mount("", dir, "", unix.MS_REMOUNT, "nr_inodes=2"))
	state := filepath.Join(dir, "state")
	s := open(t, state)
	save(t, unix.Mount("", dir, "", unix.MS_REMOUNT, "nr_inodes=20"))
	remove(t, filler)
	save(t, os.Mkdir(state, 0o700))
	lay(t, state, whole.db, whole.copy)
	for _, err := range []error{s.Flush(), s.SaveIdentifier(Identifier{Value: "another"})} {
		if err == nil || !strings.Contains(err.Error(), "restart tvpassd") {
			t.Errorf("the error is %v", err)
		}
	}
	shut(t, s)
	expectFilled(t, open(t, state))
}

// Flush is asked whether a save would succeed now: it must not say so while the
// disk is full.
func TestFlushSaysWhetherThereIsRoom(t *testing.T) {
	dir := smallDisk(t)
	s := open(t, dir)
	fill(t, s)
	filler := fillDisk(t, dir, 4096)
	big := labState(1)
	big.Token = labToken(1, 100_000)
	expectError(t, s.SaveApp(labEndpoint, labApp, big), syscall.ENOSPC)
	for range 3 {
		expectError(t, s.Flush(), syscall.ENOSPC, "free some space")
	}
	expectNames(t, dir, "filler", copyName, dbName)
	remove(t, filler)
	save(t, s.Flush())
	expectNames(t, dir, copyName, dbName)
	before := lookAt(t, dir)
	save(t, s.Flush())
	if diff := cmp.Diff(before, lookAt(t, dir)); diff != "" {
		t.Errorf("a Flush of nothing writes (-before +after):\n%s", diff)
	}
	save(t, s.SaveApp(labEndpoint, labApp, big))
	expectApp(t, s, labApp, big)
}

func TestADirectoryThatCannotBeWritten(t *testing.T) {
	whole := newSample(t)
	for _, tc := range []struct {
		name   string
		state  sample
		parts  []string // of the error
		refuse bool     // nothing can be served
		token  bool     // everything can be served
	}{
		{"empty", sample{}, []string{dbName, "check its owner and mode"}, true, false},
		{"with damage only", sample{whole.db[:100], whole.copy[:100]}, []string{copyName}, true, false},
		{"with a damaged database", sample{whole.db[:2*pageSize], whole.copy}, []string{dbName}, false, false},
		{"with a copy only", sample{nil, whole.copy}, []string{dbName}, false, false},
		{"with a database and no copy", sample{whole.db, nil}, []string{"write the copy of the credentials", copyName},
			false, true},
		{"with a database and a damaged copy", sample{whole.db, whole.copy[:9]},
			[]string{"write the copy of the credentials"}, false, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dropRights(t)
			dir := put(t, tc.state.db, tc.state.copy)
			chmod(t, dir, 0o500)
			t.Cleanup(func() { chmod(t, dir, 0o700) })
			before := lookAt(t, dir)
			s, err := Open(labConfig(dir))
			if !tc.refuse {
				save(t, err)
				expectState(t, s, 1, tc.token)
				err = s.Unwritten()
			}
			expectError(t, err, fs.ErrPermission, tc.parts...)
			if diff := cmp.Diff(before, lookAt(t, dir)); diff != "" {
				t.Errorf("Open changed the files (-before +after):\n%s", diff)
			}
			if tc.refuse {
				return
			}
			chmod(t, dir, 0o700)
			save(t, s.SaveGate(labGate)) // any save repeats the failed write
			save(t, s.Unwritten())
			shut(t, s)
			s = open(t, dir)
			expectState(t, s, 1, tc.token)
			save(t, s.Unwritten())
		})
	}
}

// A disk may be mounted writable later.
func TestADiskThatIsReadOnlyAtTheFirstStart(t *testing.T) {
	dir := smallDisk(t)
	state := filepath.Join(dir, "state")
	for _, made := range []bool{false, true} {
		if made {
			save(t, os.Mkdir(state, 0o700))
		}
		save(t, unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
		s := open(t, state)
		expectError(t, s.Unwritten(), syscall.EROFS, "mount its file system writable")
		expectError(t, s.SaveIdentifier(labIdentifier), syscall.EROFS)
		save(t, unix.Mount("", dir, "", unix.MS_REMOUNT, ""))
		save(t, s.Flush())
		fill(t, s)
		shut(t, s)
		s = open(t, state)
		expectFilled(t, s)
		shut(t, s)
		save(t, os.RemoveAll(state))
	}
}

// A kernel makes a disk with errors read-only.
func TestAReadOnlyDiskIsServedFrom(t *testing.T) {
	dir := smallDisk(t)
	s := open(t, dir)
	fill(t, s)
	remount := func(flags uintptr) { save(t, unix.Mount("", dir, "", unix.MS_REMOUNT|flags, "")) }
	remount(unix.MS_RDONLY)
	refused := func(s *Store) {
		t.Helper()
		expectFilled(t, s)
		expectError(t, s.SaveApp(labEndpoint, labApp, labState(5)), syscall.EROFS, dbName)
		expectError(t, s.Unwritten(), syscall.EROFS)
		expectFilled(t, s)
	}
	refused(s)
	shut(t, s)
	s = open(t, dir)
	expectError(t, s.Unwritten(), syscall.EROFS, "mount its file system writable")
	refused(s)
	remount(0)
	save(t, s.SaveApp(labEndpoint, labApp, labState(5)))
	save(t, s.Unwritten())
	shut(t, s)
	s = open(t, dir)
	expectState(t, s, 5, true)
	if s.Mended() != "" {
		t.Errorf("Mended: %s", s.Mended())
	}
}

func TestADiskThatIsFullAtAStart(t *testing.T) {
	whole := newSample(t)
	newer := advance(t, whole)
	for _, tc := range []struct {
		name  string
		state sample
		n     int // of the state to serve
		token bool
	}{
		{"nothing to do", whole, 1, true},
		{"no copy", sample{whole.db, nil}, 1, true},
		{"a copy that is behind", sample{newer.db, whole.copy}, 3, true},
		{"a database that is behind", sample{whole.db, newer.copy}, 3, true},
		{"no database", sample{nil, whole.copy}, 1, false},
		{"an empty database", sample{[]byte{}, whole.copy}, 1, false},
		{"a damaged database", sample{whole.db[:4096], whole.copy}, 1, false},
		{"a damaged copy", sample{whole.db, whole.copy[:100]}, 1, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := smallDisk(t)
			lay(t, dir, tc.state.db, tc.state.copy)
			filler := fillDisk(t, dir, 0)
			before := lookAt(t, dir)
			s := open(t, dir)
			expectState(t, s, tc.n, tc.token)
			after := lookAt(t, dir)
			for name, was := range before {
				if now, ok := after[name]; !ok || name != dbName && now != was {
					t.Errorf("%s was touched", name)
				}
			}
			shut(t, s)
			s = open(t, dir) // and again
			expectState(t, s, tc.n, tc.token)
			remove(t, filler)
			save(t, s.Flush())
			save(t, s.Unwritten())
			shut(t, s)
			s = open(t, dir)
			expectState(t, s, tc.n, tc.token)
			save(t, s.Unwritten())
		})
	}
}

func TestTheDatabaseOfSomebodyElse(t *testing.T) {
	whole := newSample(t)
	dir := put(t, whole.db, whole.copy)
	dropRights(t)
	chmod(t, filepath.Join(dir, dbName), 0)
	_, err := Open(labConfig(dir))
	expectError(t, err, fs.ErrPermission, "read the database", filepath.Join(dir, dbName), "check its owner and mode")
	expectNames(t, dir, copyName, dbName)
	chmod(t, filepath.Join(dir, dbName), 0o400) // it may be read
	s := open(t, dir)
	expectFilled(t, s)
	expectError(t, s.Unwritten(), fs.ErrPermission, dbName)
	expectError(t, s.SaveApp(labEndpoint, labApp, labState(5)), fs.ErrPermission, dbName)
	chmod(t, filepath.Join(dir, dbName), 0)
	expectError(t, s.SaveApp(labEndpoint, labApp, labState(5)), fs.ErrPermission, dbName)
	expectNames(t, dir, copyName, dbName)
	chmod(t, filepath.Join(dir, dbName), 0o600)
	save(t, s.SaveApp(labEndpoint, labApp, labState(5)))
	expectNames(t, dir, copyName, dbName)
}

func TestTheCopyOfSomebodyElseIsNotOverwritten(t *testing.T) {
	whole := newSample(t)
	for _, db := range [][]byte{nil, whole.db} {
		dir := put(t, db, whole.copy)
		dropRights(t)
		chmod(t, filepath.Join(dir, copyName), 0)
		if db == nil { // it is the last one
			_, err := Open(labConfig(dir))
			expectError(t, err, fs.ErrPermission, copyName, "check its owner and mode")
			expectNames(t, dir, copyName)
			continue
		}
		s := open(t, dir)
		if want := copyName + damagedAt; !strings.Contains(s.Mended(), want) {
			t.Errorf("Mended says %q, want %s in it", s.Mended(), want)
		}
		chmod(t, filepath.Join(dir, copyName+damagedAt), 0o600)
		if !bytes.Equal(read(t, filepath.Join(dir, copyName+damagedAt)), whole.copy) {
			t.Error("what was set aside is not the copy")
		}
		shut(t, s)
	}
}

func TestACopyThatMayNotBeWrittenIsWrittenLater(t *testing.T) {
	dropRights(t)
	dir := t.TempDir()
	s := open(t, dir)
	fill(t, s)
	chmod(t, dir, 0o500)
	expectError(t, s.SaveApp(labEndpoint, labApp, labState(5)), fs.ErrPermission, copyName)
	chmod(t, dir, 0o700)
	save(t, s.SaveApp(labEndpoint, "com.example.other", labState(2))) // any save repeats the failed write
	shut(t, s)
	remove(t, filepath.Join(dir, dbName))
	expectState(t, open(t, dir), 5, false)
}

func chmod(t *testing.T, path string, mode fs.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}
