package throttle

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var someState = State{
	BootID: "b", Last: 42 * time.Second, Shut: time.Hour, Earlier: time.Minute, Throttled: 40 * time.Second, Row: 2,
	Unanswered: map[string]Unanswered{"a": {2, time.Minute}},
}

// fileIn returns a File in a folder that it believes.
func fileIn(t *testing.T) (f *File, dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return &File{Path: filepath.Join(dir, "gate")}, dir
}

func TestFileKeepsAState(t *testing.T) {
	f, dir := fileIn(t)
	if _, err := f.Load(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a file: %v", err)
	}
	if err := os.WriteFile(f.Path+".new", []byte("left by a kill"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, want := range []State{
		someState, {BootID: "6e3749af-f3c8", Last: -time.Second}, {BootID: "b"}, {BootID: `"\u00e9","last":7`},
	} {
		if err := f.Save(want); err != nil {
			t.Fatal(err)
		}
		got, err := f.Load()
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	}
	found, err := os.ReadDir(dir)
	if err != nil || len(found) != 1 {
		t.Errorf("the folder holds %v, %v", found, err)
	}
	if fi, err := os.Stat(f.Path); err != nil || fi.Mode() != 0o600 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
}

// A state of the same length as the one before costs no new file.
func TestFileIsOverwritten(t *testing.T) {
	for name, tc := range map[string]struct {
		spoil func(f *File, dir string) error
		last  time.Duration
		same  bool
	}{
		"a call later": {func(*File, string) error { return nil }, 43 * time.Second, true},
		"longer":       {func(*File, string) error { return nil }, 430 * time.Second, false},
		"removed":      {func(f *File, _ string) error { return os.Remove(f.Path) }, 43 * time.Second, false},
		"cut short":    {func(f *File, _ string) error { return os.Truncate(f.Path, 9) }, 43 * time.Second, false},
		"moved":        {func(f *File, _ string) error { return os.Rename(f.Path, f.Path+".old") }, 43 * time.Second, false},
		"a copy": {func(f *File, _ string) error {
			raw, err := os.ReadFile(f.Path)
			return errors.Join(err, os.Rename(f.Path, f.Path+".old"), os.WriteFile(f.Path, raw, 0o600))
		}, 43 * time.Second, false},
		"a hard link": {func(f *File, dir string) error { return moveAndLink(os.Link, f, dir) }, 43 * time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			f, dir := fileIn(t)
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			must(f.Save(someState))
			before := f.file
			must(tc.spoil(f, dir))
			state := someState
			state.Last = tc.last
			must(f.Save(state))
			if same := f.file == before; same != tc.same {
				t.Errorf("the same file: %v", same)
			}
			got, err := (&File{Path: f.Path}).Load()
			if diff := cmp.Diff(state, got); diff != "" || err != nil {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}

// A file of another user is not believed, and does no harm.
func TestFileBelievesItsOwnOnly(t *testing.T) {
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, spoil := range map[string]func(t *testing.T, f *File, dir string){
		"empty":      func(t *testing.T, f *File, _ string) { must(t, os.Truncate(f.Path, 0)) },
		"cut short":  func(t *testing.T, f *File, _ string) { must(t, os.Truncate(f.Path, 20)) },
		"other JSON": func(t *testing.T, f *File, _ string) { must(t, os.WriteFile(f.Path, []byte("{}"), 0o600)) },
		"huge": func(t *testing.T, f *File, _ string) {
			must(t, os.WriteFile(f.Path, []byte(strings.Repeat(" ", 1<<20)), 0o600))
		},
		"a link":      func(t *testing.T, f *File, dir string) { must(t, moveAndLink(os.Symlink, f, dir)) },
		"a hard link": func(t *testing.T, f *File, dir string) { must(t, moveAndLink(os.Link, f, dir)) },
		"a pipe": func(t *testing.T, f *File, _ string) {
			must(t, os.Remove(f.Path))
			must(t, syscall.Mkfifo(f.Path, 0o600))
		},
		"a directory": func(t *testing.T, f *File, _ string) {
			must(t, os.Remove(f.Path))
			must(t, os.Mkdir(f.Path, 0o700))
		},
		"a shared dir": func(t *testing.T, _ *File, dir string) { must(t, os.Chmod(dir, 0o777)) },
		"a group's":    func(t *testing.T, _ *File, dir string) { must(t, os.Chmod(dir, 0o775)) },
		"another user's": func(t *testing.T, f *File, _ string) {
			if os.Geteuid() != 0 {
				t.Skip("needs root: run the tests as root to give a file away")
			}
			must(t, os.Chown(f.Path, 12345, -1))
		},
		"another user's dir": func(t *testing.T, _ *File, dir string) {
			if os.Geteuid() != 0 {
				t.Skip("needs root: run the tests as root to give a directory away")
			}
			must(t, os.Chown(dir, 12345, -1))
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, dir := fileIn(t)
			must(t, f.Save(someState))
			spoil(t, f, dir)
			if s, err := f.Load(); err == nil || errors.Is(err, fs.ErrNotExist) {
				t.Errorf("loaded %v, %v", s, err)
			}
			g := New("b", 50*time.Second, f)
			if n := burst(g, 50*time.Second); n != 0 {
				t.Errorf("%d calls leave at once", n)
			}
		})
	}
}

// moveAndLink moves the file to another name and links to that.
func moveAndLink(link func(old, new string) error, f *File, dir string) error {
	other := filepath.Join(dir, "other")
	return errors.Join(os.Rename(f.Path, other), link(other, f.Path))
}

func TestASaveThatFailsSpoilsTheOldState(t *testing.T) {
	f, _ := fileIn(t)
	if err := f.Save(someState); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(f.Path+".new", 0o700); err != nil { // in the way of the temporary file
		t.Fatal(err)
	}
	if err := os.WriteFile(f.Path+".new/full", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	longer := someState
	longer.Last *= 100
	if err := f.Save(longer); err == nil {
		t.Fatal("saved")
	}
	if s, err := f.Load(); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the old state is still believed: %v, %v", s, err)
	}
}

func FuzzFile(f *testing.F) {
	for _, seed := range []string{
		`{"boot_id":"b","last":5}`, `{"boot_id":"b","last":-9223372036854775808,"shut":9223372036854775807}`,
		`{"boot_id":"b","last":5,"throttled":9223372036854775807,"row":99,"earlier":-1}`, `null`, `[]`,
	} {
		f.Add([]byte(seed))
	}
	dir := f.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		f.Fatal(err)
	}
	file := &File{Path: filepath.Join(dir, "gate")}
	f.Fuzz(func(t *testing.T, content []byte) {
		if err := os.WriteFile(file.Path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		const now = 50 * time.Second
		g := New("b", now, file)
		if n := burst(g, now); n > ownBurst {
			t.Errorf("%d calls leave at once", n)
		}
		if at := g.Opens(now); at < now || at > now+maxShut+time.Second {
			t.Errorf("the gate opens after %v", at-now)
		}
	})
}
