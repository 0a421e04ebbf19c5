package storage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The state directory may be removed under a running daemon, and another one may
// take its place: the daemon goes on there as if it had started there.
func TestAStateDirectoryThatIsRemoved(t *testing.T) {
	for name, happen := range map[string]func(dir string) error{
		"removed":             os.RemoveAll,
		"removed with parent": func(dir string) error { return os.RemoveAll(filepath.Dir(dir)) },
		"made anew":           func(dir string) error { return errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700)) },
		"moved away":          func(dir string) error { return os.Rename(dir, dir+".old") },
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "lib", "state")
			s := open(t, dir)
			fill(t, s)
			save(t, happen(dir))
			a := labState(1)
			a.Token = labToken(7, 100)
			save(t, s.SaveApp(labEndpoint, labApp, a)) // the credentials stay as they are
			expectNames(t, dir, copyName, dbName)
			if !strings.Contains(s.Mended(), "written there anew") {
				t.Errorf("Mended says %q", s.Mended())
			}
			if _, err := Open(labConfig(dir)); !errors.Is(err, ErrInUse) {
				t.Errorf("a second Open gives %v, want ErrInUse", err)
			}
			shut(t, s)
			remove(t, filepath.Join(dir, dbName))
			expectState(t, open(t, dir), 1, false)
		})
	}
}

// A disk may be mounted over the state directory of a daemon that started too
// early, and hold the state of this device: that is left alone until a restart.
func TestAStateThatIsMountedLate(t *testing.T) {
	whole := newSample(t)
	dir := filepath.Join(t.TempDir(), "state")
	s := open(t, dir)
	save(t, s.SaveApp(labEndpoint, labApp, labState(5)))
	save(t, os.Rename(dir, dir+".early"))
	save(t, os.Mkdir(dir, 0o700))
	lay(t, dir, whole.db, whole.copy)
	before := lookAt(t, dir)
	for range 2 {
		err := s.SaveApp(labEndpoint, labApp, labState(6))
		if err == nil || !strings.Contains(err.Error(), "restart tvpassd to use it") {
			t.Errorf("the error is %v", err)
		}
		if s.Unwritten() == nil || s.Flush() == nil {
			t.Error("it says that all is written")
		}
	}
	if diff := cmp.Diff(before, lookAt(t, dir)); diff != "" {
		t.Errorf("the state that came late was touched (-before +after):\n%s", diff)
	}
	expectFilled(t, open(t, dir))

	// The disk goes, and the directory of before is back.
	save(t, os.Rename(dir, dir+".late"))
	save(t, os.Rename(dir+".early", dir))
	save(t, s.SaveApp(labEndpoint, labApp, labState(6)))
	save(t, s.Unwritten())
	shut(t, s)
	expectApp(t, open(t, dir), labApp, labState(6))
}

// The files may go between the start and the first write.
func TestAStateThatGoesRightAfterTheStart(t *testing.T) {
	for name, happen := range map[string]func(dir string) error{
		"the database":  func(dir string) error { return os.Remove(filepath.Join(dir, dbName)) },
		"the copy":      func(dir string) error { return os.Remove(filepath.Join(dir, copyName)) },
		"the directory": os.RemoveAll,
	} {
		for _, flush := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, flush %v", name, flush), func(t *testing.T) {
				dir := t.TempDir()
				s := open(t, dir)
				fill(t, s)
				shut(t, s)
				s = open(t, dir)
				save(t, happen(dir))
				if flush {
					save(t, s.Flush())
				}
				save(t, s.SaveApp(labEndpoint, labApp, labState(5)))
				save(t, s.Unwritten())
				shut(t, s)
				s = open(t, dir)
				expectApp(t, s, labApp, labState(5))
				expectIdentifier(t, s, labIdentifier)
			})
		}
	}
}

// A start that can't write the copy leaves its sync of the database to do.
func TestACopyBehindLeavesTheSyncToDo(t *testing.T) {
	whole := newSample(t)
	newer := advance(t, whole)
	dir := smallDisk(t)
	lay(t, dir, newer.db, whole.copy)
	filler := fillDisk(t, dir, 0)
	s := open(t, dir)
	expectError(t, s.Unwritten(), syscall.ENOSPC, copyName)
	if !s.unsynced {
		t.Error("the database counts as synced")
	}
	remove(t, filler)
	save(t, s.Flush())
	if s.unsynced {
		t.Error("the database does not count as synced")
	}
}

// A disk that gives nothing back would have each write set another file aside.
// Those that hold what the daemon holds are limited.
func TestFilesSetAsideAreLimited(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	fill(t, s)
	db := filepath.Join(dir, dbName)
	a := labState(1)
	for n := range 3 * keptAside {
		a.Token = labToken(n, 100)
		save(t, s.SaveApp(labEndpoint, labApp, a))
		fi, err := os.Stat(db)
		save(t, err)
		damaged := read(t, db)
		copy(damaged, fmt.Sprintf("damage %d", n))
		noise(damaged[pageSize:])
		write(t, db, damaged)
		save(t, os.Chtimes(db, time.Time{}, fi.ModTime())) // the disk alone did it
	}
	a.Token = nil
	save(t, s.SaveApp(labEndpoint, labApp, a))
	expectAside(t, dir, dbName, keptAside)
	if n := len(s.mended); n != keptAside+1 || !strings.HasSuffix(s.Mended(), "are kept already") {
		t.Errorf("Mended says %d things: %s", n, s.Mended())
	}

	other := newSample(t)
	for n := range 3 { // of another device, or a backup
		write(t, db, other.db)
		a.Token = labToken(n, 100)
		save(t, s.SaveApp(labEndpoint, labApp, a))
	}
	expectAside(t, dir, dbName, keptAside+3)
	shut(t, s)
	for n := range 3 { // of an earlier process
		write(t, db, fmt.Appendf(nil, "damage %d", n))
		shut(t, open(t, dir))
	}
	expectAside(t, dir, dbName, keptAside+6)
}

func expectAside(t *testing.T, dir, name string, want int) {
	t.Helper()
	if got := countAside(filepath.Join(dir, name)); got != want {
		t.Errorf("%d files of %s are set aside, want %d", got, name, want)
	}
	if first := read(t, filepath.Join(dir, dbName+damagedAt)); !strings.HasPrefix(string(first), "damage 0") {
		t.Errorf("the first file that was set aside begins with %.10q", first)
	}
}

// What a store says of itself does not wait for the disk, and says that it
// waits.
func TestASlowDiskHidesNothing(t *testing.T) {
	clock, boot := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), time.Hour
	s, err := Open(Config{Dir: t.TempDir(), Now: func() time.Time { return clock },
		Boot: func() time.Duration { return boot }})
	save(t, err)
	defer shut(t, s)
	if s.Busy() {
		t.Error("it is busy with nothing")
	}
	s.begin() // as a write does
	if !s.Busy() || s.Unwritten() != nil || s.Mended() != "" || s.Written().Writes == 0 {
		t.Errorf("Busy %v, Unwritten %v, Mended %q, %+v", s.Busy(), s.Unwritten(), s.Mended(), s.Written())
	}
	clock = clock.Add(50 * 365 * 24 * time.Hour) // the clock is set
	save(t, s.Unwritten())
	boot += slowAfter + 1
	clock = clock.Add(-time.Hour)
	if err := s.Unwritten(); err == nil || !strings.Contains(err.Error(), "more than 20 s") {
		t.Errorf("a write that hangs: %v", err)
	}
	s.end()
	save(t, s.Unwritten())
	if s.Busy() {
		t.Error("it is still busy")
	}
}
