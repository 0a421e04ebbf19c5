package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tvpassd/tvpassd/device/hostfile"
)

// asRoot skips a test that makes files of other users.
func asRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("run as root: files of other users are made here")
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// The users who own files of players' packages in these tests.
const author, other = 12345, 12346

// layOwned makes a directory in which the author's apps.d/a.toml names a statement.
// Beside it are statements of the author, of root and of another user.
func layOwned(t *testing.T, named string) (dir string) {
	t.Helper()
	dir = lay(t, map[string]string{
		"config.toml": "", "apps.d/a.toml": fmt.Sprintf("[[app]]\nid = \"x\"\nsoftware_statement_file = %q\n", named),
		"apps.d/own.jwt": labStatement, "apps.d/public.jwt": labStatement, "apps.d/private.jwt": labStatement,
		"apps.d/other.jwt": labStatement, "apps.d/closed/public.jwt": labStatement,
	})
	at := func(name string) string { return filepath.Join(dir, "apps.d", name) }
	for parent := dir; parent != os.TempDir(); parent = filepath.Dir(parent) {
		must(t, os.Chmod(parent, 0o755))
	}
	must(t, os.Chmod(filepath.Join(dir, "apps.d"), 0o755))
	for _, name := range []string{"public.jwt", "closed/public.jwt"} {
		must(t, os.Chmod(at(name), 0o644))
	}
	must(t, os.Symlink("private.jwt", at("link.jwt")))
	must(t, os.Symlink("../public.jwt", at("closed/link.jwt")))
	must(t, os.Symlink(".", at("folder")))
	for name, owner := range map[string]int{"own.jwt": author, "a.toml": author, "link.jwt": author, "folder": author,
		"other.jwt": other} {
		must(t, os.Lchown(at(name), owner, owner))
	}
	return dir
}

// TestWhoseStatement: a user's file in apps.d may name its owner's statements,
// and those that everybody may read, whatever path leads there.
func TestWhoseStatement(t *testing.T) {
	asRoot(t)
	for _, tt := range []struct {
		name   string
		named  string
		change func(dir string) error
		owner  uint32 // of the statement, in the message; 0 with ok
		whole  bool   // the file itself is refused
		ok     bool
	}{
		{name: "its own", named: "own.jwt", ok: true}, {name: "root's for everybody", named: "public.jwt", ok: true},
		{name: "root's own", named: "private.jwt"},
		{name: "another user's", named: "other.jwt", owner: other},
		{name: "too long to be read", named: "private.jwt", change: func(dir string) error {
			return os.Truncate(dir+"/apps.d/private.jwt", 1<<40)
		}},
		{name: "through its link", named: "link.jwt"},
		{name: "through its folder", named: "folder/private.jwt"},
		{name: "up and down", named: "../apps.d/../apps.d/private.jwt"},
		{name: "readable in a closed folder", named: "closed/public.jwt"},
		{name: "out of a closed folder", named: "closed/link.jwt", ok: true},
		{name: "root's link to its file", named: "own.jwt", ok: true, change: func(dir string) error {
			must(t, os.Rename(dir+"/apps.d/a.toml", dir+"/real"))
			return os.Symlink(dir+"/real", dir+"/apps.d/a.toml")
		}},
		{name: "its link to root's file", named: "private.jwt", whole: true, change: func(dir string) error {
			must(t, os.Chown(dir+"/apps.d/a.toml", 0, 0))
			must(t, os.Rename(dir+"/apps.d/a.toml", dir+"/real"))
			must(t, os.Symlink(dir+"/real", dir+"/apps.d/a.toml"))
			return os.Lchown(dir+"/apps.d/a.toml", author, author)
		}},
		{name: "named by root", named: "other.jwt", ok: true, change: func(dir string) error {
			return os.Chown(dir+"/apps.d/a.toml", 0, 0)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := layOwned(t, tt.named)
			if tt.change != nil {
				must(t, tt.change(dir))
			}
			c, err := loadDir(dir)
			if must(t, err); tt.ok {
				if len(c.Bad) > 0 || len(c.Apps) != 1 {
					t.Errorf("the app is refused: %v", c.Bad)
				}
				return
			}
			place := fmt.Sprintf("3: [[app]] software_statement_file: %q", filepath.Join(dir, "apps.d", tt.named))
			if tt.whole {
				place = ""
			}
			want := fmt.Sprintf("%s/apps.d/a.toml:%s belongs to user %d, and user %d wrote this: what is in apps.d may lead "+
				"to a file of its own owner, or to one that everybody may read", dir, place, tt.owner, author)
			if len(c.Bad) != 1 || c.Bad[0].Error() != want {
				t.Errorf("got %v\nwant %s", c.Bad, want)
			}
		})
	}
}

// A link of root's in apps.d is not followed through a folder or a link that others
// may change: it would lead wherever they like, for root.
func TestARootsLinkThroughAnothersFolder(t *testing.T) {
	asRoot(t)
	for _, tt := range []struct {
		name   string
		change func(dir string) error // of the folder player, where the link leads
		want   string
	}{
		{"root's folder", func(string) error { return nil }, ""},
		{"another's folder", func(dir string) error { return os.Chown(dir+"/player", other, other) },
			fmt.Sprintf(`"player" belongs to user %d`, other)},
		{"a folder for everybody", func(dir string) error { return os.Chmod(dir+"/player", 0o777) },
			`"player" is writable for everybody`},
		{"a sticky one", func(dir string) error { return os.Chmod(dir+"/player", 0o777|fs.ModeSticky) }, ""},
		{"another's link in a sticky one", func(dir string) error {
			must(t, os.Chmod(dir+"/player", 0o777|fs.ModeSticky))
			must(t, os.Rename(dir+"/player/app.toml", dir+"/app.toml"))
			must(t, os.Symlink(dir+"/app.toml", dir+"/player/app.toml"))
			return os.Lchown(dir+"/player/app.toml", other, other)
		}, fmt.Sprintf(`"app.toml" belongs to user %d`, other)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := layOwned(t, "own.jwt")
			must(t, os.Remove(dir+"/apps.d/a.toml"))
			must(t, os.Mkdir(dir+"/player", 0o755))
			must(t, os.Chmod(dir+"/player", 0o755)) // whatever the umask
			must(t, os.WriteFile(dir+"/player/app.toml", []byte(labApp("x")), 0o644))
			must(t, os.Chown(dir+"/player/app.toml", author, author))
			must(t, os.Symlink("../player/app.toml", dir+"/apps.d/a.toml"))
			must(t, tt.change(dir))
			c, err := loadDir(dir)
			must(t, err)
			if refused := len(c.Bad) == 1 && strings.Contains(c.Bad[0].Detail, tt.want); refused != (tt.want != "") ||
				len(c.Apps) != 1-len(c.Bad) {
				t.Errorf("%d apps, %v, want %q", len(c.Apps), c.Bad, tt.want)
			}
			expect(t, c.changed(), "")
		})
	}
}

// A user may put another file, or a link to one, in the place of a file that the
// daemon has just seen in apps.d.
func TestAFileIsSwappedAfterItIsSeen(t *testing.T) {
	asRoot(t)
	for _, tt := range []struct {
		name   string
		seen   uint32 // the owner of the file that was there
		target string // of the link in its place; "" for a file of the other user
		want   string
	}{
		{"a link to root's file", author, "private.jwt", "is a symbolic link"},
		{"root's file by a link", 0, "private.jwt", "is a symbolic link"},
		{"a link to a file for everybody", author, "public.jwt", "is a symbolic link"},
		{"another's file", author, "", fmt.Sprintf("belongs to user %d, and user %d wrote this", other, author)},
		{"root's file by another's", 0, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(layOwned(t, "own.jwt"), "apps.d")
			file := filepath.Join(dir, "a.toml")
			must(t, os.Remove(file))
			if tt.target != "" {
				must(t, os.Symlink(tt.target, file))
			} else {
				must(t, os.WriteFile(file, []byte(labApp("x")), 0o644))
				must(t, os.Chown(file, other, other))
			}
			top := &document{files: new(Disk).files(), names: labNames}
			top.files.author = tt.seen
			s := top.readSource(file, hostfile.Entry{Name: "a.toml", Owner: tt.seen, Mode: 0o644})
			if tt.want == "" && (s.fault != nil || s.author != other) ||
				tt.want != "" && (s.fault == nil || !strings.Contains(s.fault.Detail, tt.want)) {
				t.Errorf("got a file of user %d, %v, want %q", s.author, s.fault, tt.want)
			}
		})
	}
}

// A user who fills apps.d loses only files of that user.
func TestACrowdHidesNobodysFiles(t *testing.T) {
	asRoot(t)
	dir := layOwned(t, "public.jwt")
	for i := range 3 * maxNames {
		name := fmt.Sprintf("%s/apps.d/%d.toml", dir, i)
		must(t, os.WriteFile(name, nil, 0o644))
		must(t, os.Chown(name, other, other))
	}
	rootsApp := "[[app]]\nid = \"z\"\nsoftware_statement_file = \"public.jwt\"\n"
	must(t, os.WriteFile(dir+"/apps.d/z.toml", []byte(rootsApp), 0o644))
	c, err := loadDir(dir)
	must(t, err)
	if len(c.Apps) != 2 {
		t.Errorf("%d apps, want those of user %d and of root: %v", len(c.Apps), author, c.Bad)
	}
	if want := fmt.Sprintf("too many entries, and some of user %d", other); !slices.ContainsFunc(c.Bad,
		func(e *Error) bool { return strings.Contains(e.Error(), want) }) {
		t.Errorf("got %v, want one about %s", c.Bad, want)
	}
}

// What one user writes there takes limited time and memory, and nothing from others.
func TestAUserWithTooMuch(t *testing.T) {
	asRoot(t)
	dir := layOwned(t, "own.jwt")
	must(t, os.Remove(dir+"/apps.d/a.toml"))
	write := func(name, text string, owner int) {
		t.Helper()
		must(t, os.WriteFile(dir+"/apps.d/"+name, []byte(text), 0o644))
		must(t, os.Chown(dir+"/apps.d/"+name, owner, owner))
	}
	for i := range 32 {
		write(fmt.Sprintf("%02d.toml", i), strings.Repeat("# long\n", 32<<10), author)
	}
	must(t, os.WriteFile(dir+"/apps.d/own.jwt", []byte(labStatement+strings.Repeat("\n", 60<<10)), 0o644))
	must(t, os.Chmod(dir+"/apps.d/own.jwt", 0o644))
	many := ""
	for i := range 100 {
		must(t, os.Symlink("own.jwt", fmt.Sprintf("%s/apps.d/%d.jwt", dir, i)))
		many += fmt.Sprintf("[[app]]\nid = \"x%d\"\nsoftware_statement_file = \"%[1]d.jwt\"\n", i)
	}
	write("a.toml", many, other)
	write("z.toml", labApp("last"), 0)
	c, err := loadDir(dir)
	must(t, err)
	if len(c.Apps) != 1 || c.Apps[0].ID != "last" {
		t.Errorf("the apps: %+v", c.Apps)
	}
	const want = " has more than 1 MiB in apps.d: delete what is not needed"
	for _, bad := range c.Bad {
		if !strings.Contains(bad.Detail, want) {
			t.Errorf("%v", bad)
		}
	}
	if len(c.Bad) != 32-4+1 || len(c.seen) > 2+5+1+18+2 {
		t.Errorf("%d faults, and %d files were read", len(c.Bad), len(c.seen))
	}
	expect(t, c.changed(), "")
}

// TestRisks opens files to others and reads the warnings.
func TestRisks(t *testing.T) {
	asRoot(t)
	for _, tt := range []struct {
		name, file string
		mode       fs.FileMode
		group      int
		want       string
	}{
		{"apps.d for everybody", "apps.d", 0o777, 0, "everybody may write to it: chmod o-w"},
		{"a sticky apps.d", "apps.d", 0o777 | fs.ModeSticky, 0, "everybody may write to it: chmod o-w"},
		{"the folder above", ".", 0o757, 0, "everybody may write to it: chmod o-w"},
		{"a group's apps.d", "apps.d", 0o775, 1234, "group 1234 may write to it: chmod g-w"},
		{"root's group", "apps.d", 0o775, 0, ""},
		{"config.toml", "config.toml", 0o622, 0, "everybody may write to it: chmod o-w"},
		{"the proxy's password", "config.toml", 0o644, 0, "everybody may read the password of the proxy in it: chmod o-r"},
		{"a file in apps.d", "apps.d/a.toml", 0o664, 1234, "group 1234 may write to it: chmod g-w"},
		{"a file in apps.d, readable", "apps.d/a.toml", 0o644, 0, ""},
		{"a statement in a file", "apps.d/b.toml", 0o644, 0, "everybody may read the software statement in it: chmod o-r"},
		{"a statement", "apps.d/a.jwt", 0o604, 0, "everybody may read the software statement in it: chmod o-r"},
		{"a group's statement", "apps.d/a.jwt", 0o640, 1234, ""},
		{"a statement, writable", "apps.d/a.jwt", 0o602, 0, "everybody may write to it: chmod o-w"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := lay(t, map[string]string{
				"config.toml":   "[http]\nproxy = \"http://me:hidden@proxy\"",
				"apps.d/a.toml": "[[app]]\nid = \"x\"\nsoftware_statement_file = \"a.jwt\"\n",
				"apps.d/a.jwt":  labStatement, "apps.d/b.toml": labApp("y"),
			})
			must(t, os.Chown(filepath.Join(dir, tt.file), 0, tt.group))
			must(t, os.Chmod(filepath.Join(dir, tt.file), tt.mode))
			c, err := loadDir(dir)
			must(t, err)
			var want []string
			if tt.want != "" {
				path := filepath.Join(dir, tt.file)
				want = []string{path + ": " + tt.want + " " + path}
			}
			var got []string
			for _, risk := range c.Risks() {
				got = append(got, risk.String())
			}
			expect(t, got, want)
		})
	}
}

// hang mounts a file system on dir that never answers.
func hang(t *testing.T, dir string) {
	t.Helper()
	asRoot(t)
	server, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	must(t, err)
	must(t, os.MkdirAll(dir, 0o700))
	must(t, unix.Mount("hang", dir, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", server)))
	t.Cleanup(func() {
		unix.Close(server) // ends the calls that hang
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// expectHung expects one call for each of some files to hang.
func expectHung(t *testing.T, disk *Disk, want ...string) {
	t.Helper()
	var got []string
	for _, c := range disk.hung {
		if c != nil {
			got = append(got, slices.Repeat([]string{c.name}, int(c.hangs.Load()))...)
		}
	}
	slices.Sort(got)
	expect(t, got, want)
}

// A ca_file that hangs keeps one thread, however often it is read.
func TestRootsThatHang(t *testing.T) {
	dir := t.TempDir()
	hang(t, filepath.Join(dir, "hung"))
	var disk Disk
	for n := range maxTries + 2 {
		if _, err := disk.ReadRoots(dir + "/hung/x"); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		expectHung(t, &disk, slices.Repeat([]string{dir + "/hung/x"}, min(n+1, maxTries))...)
	}
	must(t, os.WriteFile(dir+"/good", []byte("x"), 0o600))
	if data, err := disk.ReadRoots(dir + "/good"); string(data) != "x" {
		t.Errorf("another file: %q, %v", data, err)
	}
}

// TestHangingFiles names files on a file system that never answers. The files of
// other users are read all the same.
func TestHangingFiles(t *testing.T) {
	asRoot(t)
	files := map[string]string{"config.toml": labApp("own"), "apps.d/zz.toml": labApp("roots")}
	dir := lay(t, files)
	hang(t, filepath.Join(dir, "hung"))
	const user = 12345
	for i := range 10 {
		name := fmt.Sprintf("%s/apps.d/%d.toml", dir, i)
		must(t, os.Symlink("../hung/x.toml", name))
		must(t, os.Lchown(name, user, user))
	}
	own := filepath.Join(dir, "apps.d/another.toml")
	must(t, os.WriteFile(own, []byte(labApp("another")), 0o600))
	must(t, os.Chown(own, user+1, user+1))
	c, err := loadDir(dir)
	must(t, err)
	var apps []string
	for _, app := range c.Apps {
		apps = append(apps, app.ID)
	}
	expect(t, apps, []string{"another", "own", "roots"})
	if len(c.Bad) != 10 || !strings.HasSuffix(c.Bad[0].Detail, "can't be read: its file system does not answer") ||
		!strings.HasPrefix(c.Bad[1].Detail, "was not read, because other files took too long") {
		t.Errorf("got %v", c.Bad)
	}
}
