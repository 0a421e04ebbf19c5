package hostfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// writeTree makes a file tree: names with their contents; one that begins with
// "-> " is a link to what follows.
func writeTree(tb testing.TB, files map[string]string) string {
	tb.Helper()
	root := tb.TempDir()
	for name, content := range files {
		name = filepath.Join(root, name)
		must(tb, os.MkdirAll(filepath.Dir(name), 0o755))
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			must(tb, os.Symlink(target, name))
		} else {
			must(tb, os.WriteFile(name, []byte(content), 0o644))
		}
	}
	return root
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func open(tb testing.TB, root string, rule Rule) *Dir {
	tb.Helper()
	d, err := Open(root, rule)
	must(tb, err)
	tb.Cleanup(d.Close)
	return d
}

func TestNoLinkLeadsOut(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(outside, []byte("outside"), 0o644))
	root := writeTree(t, map[string]string{
		"absolute":      "-> " + outside,
		"climbing":      "-> ../../../../../../../../../../.." + outside,
		"a/b/climbing":  "-> ../../../../../../../../../../.." + outside,
		"folder":        "-> ..",
		"a/inside":      "-> ../../../../etc/file",
		"etc/file":      "inside",
		"top":           "-> /",
		"through":       "-> /top/top/etc/file",
		"a/not-a-dir":   "-> ../etc/file/..",
		"etc/dangling":  "-> nowhere",
		"etc/loop":      "-> /etc/loop",
		"etc/ping":      "-> pong",
		"etc/pong":      "-> ping",
		"etc/itself":    "-> itself/itself",
		"etc/long":      "-> " + strings.Repeat("./", 2000) + "file",
		"etc/very-long": "-> " + strings.Repeat("../etc/", 500) + "file",
	})
	d := open(t, root, Rule{})
	for name, want := range map[string]string{
		"/etc/file": "inside", "a/inside": "inside", "/../../etc/./file": "inside", "/through": "inside",
		"/etc/long": "inside", "/etc/very-long": "inside",
		"/absolute": "", "/climbing": "", "/a/b/climbing": "", "/folder/" + filepath.Base(root) + "/etc/file": "",
		"/a/not-a-dir": "", "/etc/dangling": "", "/etc/loop": "", "/etc/ping": "", "/etc/itself": "", "/etc": "", "": "",
	} {
		file, err := d.Read(name, 100)
		if (err == nil) != (want != "") || err == nil && string(file.Data) != want {
			t.Errorf("%s: got %v, %v, want %q", name, file, err, want)
		}
		if exists := want != "" || slices.Contains([]string{"/etc", ""}, name); d.Exists(name) != exists {
			t.Errorf("%s: Exists is not %v", name, exists)
		}
	}
	strict := open(t, root, Rule{NoLinks: true})
	if _, err := strict.Read("/a/inside", 100); !errors.Is(err, ErrLink) {
		t.Errorf("a link was followed: %v", err)
	}
	if _, err := strict.Read("/etc/file", 100); err != nil {
		t.Error(err)
	}
	if target, err := d.Link("/through"); target != "/top/top/etc/file" || err != nil {
		t.Errorf("the link points to %q, %v", target, err)
	}
	if _, err := d.Link("/etc/file"); err == nil {
		t.Error("a file passes for a link")
	}
}

func TestReadIsBounded(t *testing.T) {
	root := writeTree(t, map[string]string{"big": strings.Repeat("x", 100_000), "empty": ""})
	d := open(t, root, Rule{})
	for _, test := range []struct {
		name       string
		limit, got int
		cut        bool
	}{
		{"big", 70_000, 70_000, true}, {"empty", 10, 0, false}, {"big", 100_000, 100_000, false}, {"big", 1, 1, true},
		{"big", 1 << 20, 100_000, false},
	} {
		file, err := d.Read(test.name, test.limit)
		if err != nil || len(file.Data) != test.got || file.Cut != test.cut {
			t.Errorf("%v: got %v, %v", test, file, err)
		}
	}
}

func TestTail(t *testing.T) {
	root := writeTree(t, map[string]string{"log": "first\nlast\n"})
	d := open(t, root, Rule{Tail: true})
	for limit, want := range map[int]string{5: "last\n", 11: "first\nlast\n", 100: "first\nlast\n"} {
		file, err := d.Read("log", limit)
		if err != nil || string(file.Data) != want || file.Cut != (limit == 5) {
			t.Errorf("limit %d: %+v, %v", limit, file, err)
		}
	}
}

func TestOnlyRegularFilesUnlessAsked(t *testing.T) {
	root := writeTree(t, map[string]string{"folder/file": "", "null": "-> /dev/null"})
	must(t, unix.Mkfifo(filepath.Join(root, "fifo"), 0o644))
	d := open(t, root, Rule{})
	for _, name := range []string{"fifo", "folder"} {
		if _, err := d.Read(name, 10); !errors.Is(err, ErrNotRegular) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"/dev/zero", "/dev/null"} {
		if _, err := Read(name, 10, Rule{}); !errors.Is(err, ErrNotRegular) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if file, err := Read("/dev/zero", 10, Rule{Special: true}); err != nil || len(file.Data) != 10 || !file.Cut {
		t.Errorf("/dev/zero when asked: %v, %v", file, err)
	}
	writer, err := os.OpenFile(filepath.Join(root, "fifo"), os.O_RDWR, 0)
	must(t, err)
	defer writer.Close()
	_, err = writer.WriteString("half a statement")
	must(t, err)
	impatient := open(t, root, Rule{Special: true})
	impatient.rule.Within = 50 * time.Millisecond
	if _, err := impatient.Read("fifo", 100); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a FIFO that never ends: %v", err)
	}
}

// An open FIFO would let its writer go on: nobody may notice the look.
func TestFIFOIsNeverOpened(t *testing.T) {
	root := t.TempDir()
	name := filepath.Join(root, "fifo")
	must(t, unix.Mkfifo(name, 0o644))
	watch, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	must(t, err)
	defer unix.Close(watch)
	_, err = unix.InotifyAddWatch(watch, name, unix.IN_OPEN)
	must(t, err)
	d := open(t, root, Rule{})
	if _, err := d.Read("fifo", 10); err == nil {
		t.Error("a FIFO was read")
	}
	if n, err := unix.Read(watch, make([]byte, 4096)); err != unix.EAGAIN {
		t.Errorf("the FIFO was opened (%d bytes of events, %v)", n, err)
	}
}

func TestTheDescriptorTellsOwnerAndMode(t *testing.T) {
	root := writeTree(t, map[string]string{"file": "x"})
	must(t, os.Chmod(filepath.Join(root, "file"), 0o640))
	file, err := Read(filepath.Join(root, "file"), 10, Rule{})
	if err != nil || file.Mode != 0o640 || int(file.Owner) != os.Geteuid() || int(file.Group) != os.Getegid() {
		t.Errorf("got %+v, %v", file, err)
	}
	t.Chdir(root)
	if file, err := Read("file", 10, Rule{}); err != nil || string(file.Data) != "x" {
		t.Errorf("a relative path: %v, %v", file, err)
	}
	_, err = Read("missing", 10, Rule{})
	if _, ok := errors.AsType[*fs.PathError](err); !ok || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

func TestPublic(t *testing.T) {
	root := writeTree(t, map[string]string{"open/file": "x", "open/link": "-> ../closed/file", "closed/file": "x",
		"closed/link": "-> ../open/file", "closed/sub/file": "x", "open/private": "x", "up": "-> closed/../open/file"})
	must(t, os.Chmod(root, 0o755))
	must(t, os.Chmod(filepath.Join(root, "closed"), 0o750))
	must(t, os.Chmod(filepath.Join(root, "open/private"), 0o640))
	d := open(t, root, Rule{})
	for name, want := range map[string]bool{
		"open/file": true, "open/link": false, "closed/file": false, "closed/link": true, "closed/sub/file": false,
		"open/private": false, "up": true,
	} {
		if file, err := d.Read(name, 10); err != nil || file.Public != want {
			t.Errorf("%s: %+v, %v, want %v", name, file, err, want)
		}
	}
}

func TestList(t *testing.T) {
	root := writeTree(t, map[string]string{"dir/file": "four", "dir/link": "-> nowhere", "dir/sub/x": "",
		"empty/sub/x": ""})
	must(t, unix.Mkfifo(filepath.Join(root, "dir/fifo"), 0o600))
	must(t, os.Remove(filepath.Join(root, "empty/sub/x")))
	must(t, os.Chmod(filepath.Join(root, "dir"), 0o777|fs.ModeSticky))
	d := open(t, root, Rule{})
	folder, err := d.List("dir", 100)
	must(t, err)
	got := []string{folder.Mode.String()}
	for _, e := range folder.Entries {
		got = append(got, e.Name+" "+e.Mode.String())
		if int(e.Owner) != os.Geteuid() || e.Changed.IsZero() || e.Name == "file" && e.Size != 4 {
			t.Errorf("got %+v", e)
		}
	}
	want := []string{"dtrwxrwxrwx", "fifo prw-------", "file -rw-r--r--", "link Lrwxrwxrwx", "sub drwxr-xr-x"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	if folder, err := d.List("empty/sub", 10); err != nil || len(folder.Entries) != 0 {
		t.Errorf("an empty folder: %v, %v", folder, err)
	}
	if os.Geteuid() == 0 {
		for _, name := range []string{"fifo", "file", "link"} {
			must(t, os.Lchown(filepath.Join(root, "dir", name), 12345, 12345))
		}
		folder, err := d.List("dir", 2)
		if err != nil || len(folder.Entries) != 3 || !slices.Equal(folder.Crowd, []uint32{12345}) {
			t.Errorf("a limit of 2: %+v, %v", folder, err)
		}
		if !slices.ContainsFunc(folder.Entries, func(e Entry) bool { return e.Name == "sub" }) {
			t.Errorf("root's is not there: %+v", folder.Entries)
		}
	}
	if _, err := d.List("dir/file", 2); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("a file: %v", err)
	}
}

// A folder of too many names is read in part.
func TestListIsCut(t *testing.T) {
	root := t.TempDir()
	for i := range 1000 {
		must(t, os.WriteFile(filepath.Join(root, strconv.Itoa(i)), nil, 0o600))
	}
	for _, late := range []bool{false, true} {
		f, err := os.Open(root)
		must(t, err)
		until := time.Now().Add(time.Hour)
		if late {
			until = time.Time{}
		}
		var folder Folder
		must(t, folder.fill(f, int(f.Fd()), 1000, until))
		must(t, f.Close())
		if n := len(folder.Entries); folder.Cut != late || n == 0 || late != (n < 1000) {
			t.Errorf("late %v: %d entries, cut %v", late, n, folder.Cut)
		}
	}
}

// Root's entries take no room from others, and whoever is left out is named once.
func TestManyUsersEntries(t *testing.T) {
	var folder Folder
	count := map[uint32]int{}
	for range maxEntries {
		folder.add(Entry{}, 2, count)
	}
	for user := range uint32(maxEntries/2 + 1) {
		for range 4 {
			folder.add(Entry{Owner: user + 1}, 2, count)
		}
	}
	if len(folder.Entries) != 2*maxEntries || len(folder.Crowd) != maxEntries/2+1 {
		t.Errorf("%d entries, a crowd of %d", len(folder.Entries), len(folder.Crowd))
	}
}

// tampering is a change of a tree, and whether a file in it is still trusted.
type tampering struct {
	name   string
	read   string
	change []func(root string) error
	why    string // "": it is trusted
}

const other = 12345 // a user and a group besides root

func chown(name string) func(root string) error {
	return func(root string) error { return os.Lchown(filepath.Join(root, name), other, other) }
}

func chmod(name string, mode fs.FileMode) func(root string) error {
	return func(root string) error { return os.Chmod(filepath.Join(root, name), mode) }
}

func chgrp(name string) func(root string) error {
	return func(root string) error { return os.Chown(filepath.Join(root, name), 0, other) }
}

func link(name, second string) func(root string) error {
	return func(root string) error { return os.Link(filepath.Join(root, name), filepath.Join(root, second)) }
}

func testTrust(t *testing.T, cases []tampering) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("run as root: files of other users are made here")
	}
	for _, test := range cases {
		t.Run(test.name, test.test)
	}
}

func (test tampering) test(t *testing.T) {
	root := writeTree(t, map[string]string{"etc/file": "x", "etc/link": "-> ../etc/file", "a": "-> b/c", "b/c": "x",
		"tmp/file": "x", "tmp/link": "-> ../etc/file", "tmp/sub/file": "x"})
	must(t, os.Chmod(filepath.Join(root, "tmp"), 0o777|fs.ModeSticky))
	for _, change := range test.change {
		must(t, change(root))
	}
	d := open(t, root, Rule{Trusted: true})
	_, err := d.Read(test.read, 10)
	if (err == nil) != (test.why == "") || err != nil &&
		(!errors.Is(err, ErrUntrusted) || !strings.Contains(err.Error(), test.why)) {
		t.Errorf("%v, want %q", err, test.why)
	}
	if d.Exists(test.read) != (err == nil) {
		t.Error("Exists and Read differ")
	}
	if _, err := open(t, root, Rule{}).Read(test.read, 10); err != nil {
		t.Errorf("without the rule: %v", err)
	}
}

func TestTrusted(t *testing.T) {
	testTrust(t, []tampering{
		{"root's own", "etc/file", nil, ""},
		{"root's link", "etc/link", nil, ""},
		{"another's file", "etc/file", []func(string) error{chown("etc/file")}, "belongs to user 12345"},
		{"another's link to root's file", "etc/link", []func(string) error{chown("etc/link")}, `"link" belongs to user`},
		{"another's folder", "etc/file", []func(string) error{chown("etc")}, `"etc" belongs to user`},
		{"another's folder behind a link", "a", []func(string) error{chown("b")}, `"b" belongs to user`},
		{"a file for everybody", "etc/file", []func(string) error{chmod("etc/file", 0o666)}, "writable for everybody"},
		{"a folder for everybody", "etc/file", []func(string) error{chmod("etc", 0o777)}, "writable for everybody"},
		{"a group's file", "etc/file", []func(string) error{chgrp("etc/file"), chmod("etc/file", 0o664)},
			"group 12345"},
		{"root's group", "etc/file", []func(string) error{chmod("etc/file", 0o664), chmod("etc", 0o775)}, ""},
		{"a second name elsewhere", "etc/file", []func(string) error{link("etc/file", "etc/second")}, ""},
		{"another's top", "etc/file", []func(string) error{chown(".")}, "belongs to user"},
	})
}

// In a sticky folder such as /tmp everybody makes files, links and names.
func TestTrustedInTmp(t *testing.T) {
	testTrust(t, []tampering{
		{"root's file in /tmp", "tmp/file", nil, ""},
		{"another's file in /tmp", "tmp/file", []func(string) error{chown("tmp/file")}, "belongs to user"},
		{"another's link in /tmp", "tmp/link", []func(string) error{chown("tmp/link")}, "belongs to user"},
		{"another's name for root's file in /tmp", "tmp/file", []func(string) error{link("tmp/file", "tmp/second")},
			"second name"},
		{"another's folder in /tmp", "tmp/sub/file", []func(string) error{chown("tmp/sub")}, "belongs to user"},
		{"root's folder in /tmp", "tmp/sub/file", nil, ""},
		{"another's sticky folder", "tmp/file", []func(string) error{chown("tmp")}, `"tmp" belongs to user`},
	})
}

// The kernel's own files are trusted even if they belong to somebody else, as
// in a container without root. /proc/PID belongs to its process's user.
func TestTheKernelIsTrusted(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("run as root: this needs a process of another user")
	}
	child := exec.Command("sleep", "60")
	child.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 12345, Gid: 12345}}
	must(t, child.Start())
	defer func() {
		child.Process.Kill()
		child.Wait()
	}()
	name := filepath.Join("/proc", strconv.Itoa(child.Process.Pid), "stat")
	if _, err := Read(name, 4096, Rule{Trusted: true}); err != nil {
		t.Error(err)
	}
}

func TestACallThatHangsKeepsTheFolderOpen(t *testing.T) {
	var hung atomic.Int32
	d, err := Open(t.TempDir(), Rule{Hung: &hung})
	must(t, err)
	d.rule.Within = time.Millisecond
	hang, ended := make(chan struct{}), make(chan struct{})
	err = d.within("read", "x", func(*worker) error {
		<-hang
		defer close(ended)
		_, err := unix.FcntlInt(uintptr(d.top), unix.F_GETFD, 0)
		return err
	})
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	d.Close()
	if _, err := unix.FcntlInt(uintptr(d.top), unix.F_GETFD, 0); err != nil {
		t.Errorf("the folder was closed under a call: %v", err)
	}
	if n := hung.Load(); n != 1 {
		t.Errorf("%d calls hang", n)
	}
	close(hang)
	<-ended
	for hung.Load() != 0 { // the worker counts itself out
		time.Sleep(time.Millisecond)
	}
}

func TestNoDescriptorLeaks(t *testing.T) {
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		must(t, err)
		return len(entries)
	}
	root := writeTree(t, map[string]string{"a/b/file": "x", "a/link": "-> b/../b/file", "a/loop": "-> loop",
		"up": "-> ../../a/b"})
	look := func() {
		d, err := Open(root, Rule{Trusted: true})
		must(t, err)
		defer d.Close()
		for _, name := range []string{"a/b/file", "a/link", "a/loop", "up/file", "a/b/file/x", "a/missing", "a"} {
			d.Read(name, 10)
			d.Exists(name)
			d.Names(name, 10)
			d.List(name, 10)
			d.Link(name)
		}
	}
	look()
	before := count()
	for range 5 {
		look()
	}
	if after := count(); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

// A walk that starts where the last one ended arrives where a walk from the top
// does.
func TestWalksDoNotDependOnEarlierOnes(t *testing.T) {
	root := writeTree(t, map[string]string{"a/b/c/file": "abc", "a/b/file": "ab", "a/file": "a", "file": "top",
		"x/y/file": "xy", "a/b/away": "-> /x/y", "x/near": "-> ../a/b", "x/y/top": "-> /", "a/b/file2": "-> c/../file",
		"a/gone": "-> missing/way", "a/b/c/up": "-> ../.."})
	names := []string{"a/b/c/file", "a/b/file", "a/b//./c/file", "a/file", "file", "a/b/away/file", "a/b/away/../file",
		"x/near/c/file", "x/near/away/top/file", "x/y/top/a/b/c/up/file", "a/b/c/up/b/file", "a/b/file2", "a/b/../file",
		"a/b/../b/c/file", "a/gone/file", "a/gone/../file", "a/missing/file", "a/missing/../file", "a/b/file/x",
		"a/missing", "a/bb/file", "a/b/c/up/../x/y/file", "../../file", "a/b/c/", ""}
	alone := map[string]string{}
	read := func(d *Dir, name string) string {
		file, err := d.Read(name, 10)
		if err != nil {
			return err.Error()
		}
		return string(file.Data)
	}
	for _, name := range names {
		d, err := Open(root, Rule{})
		must(t, err)
		alone[name] = read(d, name)
		d.Close()
	}
	if alone["x/near/away/top/file"] != "top" || alone["x/y/top/a/b/c/up/file"] != "a" ||
		alone["a/b/away/../file"] == "ab" {
		t.Fatalf("%q", alone)
	}
	d, err := Open(root, Rule{})
	must(t, err)
	defer d.Close()
	for _, first := range names {
		for _, second := range names {
			for _, name := range []string{first, second} {
				if got := read(d, name); got != alone[name] {
					t.Fatalf("%q after %q: %q, alone %q", name, first, got, alone[name])
				}
			}
		}
	}
}

func TestReach(t *testing.T) {
	root := writeTree(t, map[string]string{"a/b/file": "x", "link": "-> a/b", "dangling": "-> a/new/c", "loop": "-> loop",
		"open/dir/file": "x", "shared/file": "x"})
	must(t, os.Chmod(filepath.Join(root, "open"), 0o777))
	must(t, os.Chmod(filepath.Join(root, "shared"), 0o777|os.ModeSticky))
	for name, want := range map[string]string{
		"a/b": "a/b", "a/b/": "a/b", "link": "a/b", "link/c/d": "a/b missing c d", "dangling/d": "a missing new c d",
		"a/x/../y": "no such file", "a/b/file": "not a directory", "loop": "too many symbolic links",
		"open/dir": "other users", "open/new": "other users", "shared/new": "shared shared missing new",
	} {
		place, err := Reach(root + "/" + name)
		if err != nil {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %s", name, err, want)
			}
			continue
		}
		at, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", place.FD))
		must(t, errors.Join(err, unix.Close(place.FD)))
		got := strings.TrimPrefix(at, root+"/")
		if place.Shared {
			got += " shared"
		}
		if len(place.Missing) > 0 {
			got += " missing " + strings.Join(place.Missing, " ")
		}
		if got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// A file is looked at before it is read: it may be one that reading changes.
func TestAllow(t *testing.T) {
	root := writeTree(t, map[string]string{"file": "x"})
	no := errors.New("no")
	rule := Rule{Allow: func(f *File) error {
		if f.Data != nil || int(f.Owner) != os.Geteuid() || f.Mode != 0o644 {
			t.Errorf("%+v", f)
		}
		return no
	}}
	if file, err := Read(root+"/file", 10, rule); !errors.Is(err, no) {
		t.Errorf("%v, %v", file, err)
	}
}
