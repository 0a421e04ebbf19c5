package storage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

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

// A disk that gives nothing back would have each write set a file aside. What was
// set aside first stays, and so does whatever may hold the only credentials.
func TestFilesSetAsideAreLimited(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	fill(t, s)
	for n := range 3 * keptAside {
		write(t, filepath.Join(dir, dbName), fmt.Appendf(nil, "damage %d", n))
		a := labState(1)
		a.Token = labToken(n, 100)
		save(t, s.SaveApp(labEndpoint, labApp, a))
	}
	expectAside(t, dir, dbName, keptAside)
	if n := len(s.mended); n != keptAside+1 || !strings.HasSuffix(s.Mended(), "are kept already") {
		t.Errorf("Mended says %d things: %s", n, s.Mended())
	}
	shut(t, s)

	sound := read(t, filepath.Join(dir, copyName))
	for n := range keptAside { // at starts, with a sound copy
		write(t, filepath.Join(dir, dbName), fmt.Appendf(nil, "damage %d", n))
		s := open(t, dir)
		expectState(t, s, 1, false)
		if !strings.Contains(s.Mended(), "the database was not usable") {
			t.Errorf("Mended says %q", s.Mended())
		}
		shut(t, s)
	}
	expectAside(t, dir, dbName, keptAside)

	for range 3 { // and without one
		write(t, filepath.Join(dir, dbName), []byte("damage"))
		write(t, filepath.Join(dir, copyName), sound[:len(sound)-1])
		shut(t, open(t, dir))
	}
	expectAside(t, dir, dbName, keptAside+3)
	expectAside(t, dir, copyName, 3)
}

func expectAside(t *testing.T, dir, name string, want int) {
	t.Helper()
	if got := countAside(filepath.Join(dir, name)); got != want {
		t.Errorf("%d files of %s are set aside, want %d", got, name, want)
	}
	if first := read(t, filepath.Join(dir, dbName+damagedAt)); string(first) != "damage 0" {
		t.Errorf("the first file that was set aside holds %q", first)
	}
}

// What a store says of itself does not wait for the disk.
func TestASlowDiskHidesNothing(t *testing.T) {
	s := open(t, t.TempDir())
	if s.Busy() {
		t.Error("it is busy with nothing")
	}
	s.mu.Lock() // as a write holds it
	defer s.mu.Unlock()
	if !s.Busy() || s.Unwritten() != nil || s.Mended() != "" || s.Written().Writes == 0 {
		t.Errorf("Busy %v, Unwritten %v, Mended %q, %+v", s.Busy(), s.Unwritten(), s.Mended(), s.Written())
	}
}
