package storage

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// locateAndSay is a child that prints where a directory is.
func locateAndSay() error {
	p, err := Locate(os.Args[1])
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(p)
}

// locate runs a shell script in an empty directory and a mount namespace of its
// own, and returns where the directory "state" then is.
func locate(t *testing.T, script string) Place {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting takes root")
	}
	if out, err := exec.Command(tool(t, "unshare", "util-linux"), "--mount", "true").CombinedOutput(); err != nil {
		t.Skipf("no private mounts: %s: in a plain chroot, mount --bind its directory on itself first", out)
	}
	dir := t.TempDir()
	const functions = `
		disk() { truncate -s 1M $1.img; mke2fs -q -F $1.img; mkdir -p $1; mount -o loop $1.img $1; mkdir $1/up $1/work; }`
	cmd := exec.Command(tool(t, "unshare", "util-linux"), "--mount", "--propagation", "private",
		"sh", "-ec", functions+"\n"+script+"\nexec \"$@\" \"$EXE\" \"$PWD/state\"")
	exe, err := os.Executable()
	save(t, err)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), childEnv+"=locate", raceQuick, "EXE="+exe,
		"PATH="+os.Getenv("PATH")+":/sbin:/usr/sbin")
	cmd.Stderr = os.Stderr
	said, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: this test needs mount and mke2fs: apt-get install mount e2fsprogs, and loop devices", err)
	}
	var p Place
	save(t, json.Unmarshal(said, &p))
	for _, text := range []*string{&p.Dir, &p.Real, &p.Volatile, &p.Unknown} {
		*text = strings.ReplaceAll(*text, dir, "~")
	}
	return p
}

// Parts of the scripts that make places, and of what is said of them.
const (
	ram     = `mkdir ram; mount -t tmpfs x ram; mkdir ram/s ram/up ram/work`
	tmpfs   = "a tmpfs on ~/ram"
	overlay = `mkdir low state; mount -t overlay x -o lowerdir=low,`
	hidden  = "the upper layer of an overlay on ~/state can't be seen"
)

// placed is a place that a script makes, and what Locate finds out about it.
type placed struct {
	name, script            string
	real, volatile, unknown string
}

func locateAll(t *testing.T, places []placed) {
	t.Helper()
	t.Parallel()
	for _, tc := range places {
		t.Run(tc.name, tc.test)
	}
}

func (tc placed) test(t *testing.T) {
	t.Parallel()
	got := locate(t, tc.script)
	got.Unknown = regexp.MustCompile(`loop\d+`).ReplaceAllString(got.Unknown, "loopN")
	got.Aged = "" // it is where the tests run
	want := Place{Dir: "~/state", Real: tc.real, Volatile: tc.volatile, Unknown: tc.unknown}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// The file system decides whether a state lasts, whatever the path is.
func TestLocate(t *testing.T) {
	locateAll(t, []placed{
		{"a disk", `disk d; ln -s d/up state`, "~/d/up", "", ""},
		{"a tmpfs", ram + `; ln -s ram/s state`, "~/ram/s", tmpfs, ""},
		{"a tmpfs without a name", `mkdir ram; mount -t tmpfs '' ram; ln -s ram state`, "~/ram", tmpfs, ""},
		{"a ramfs", `mkdir state; mount -t ramfs x state`, "~/state", "a ramfs on ~/state", ""},
		{"a place that is not there yet", ram + `; ln -s ram/lib/state state`, "~/ram", tmpfs, ""},
		{"a place that is not there yet, on a disk", `disk d; ln -s d/lib/state state`, "~/d", "", ""},
		{"mounted from elsewhere", ram + `; mkdir state; mount --bind ram/s state; umount -l ram`,
			"~/state", "a tmpfs on ~/state", ""},
		{"a disk mounted into a tmpfs", ram + `; disk d; mount --bind d/up ram/s; ln -s ram/s state`, "~/ram/s", "", ""},
		{"a tmpfs out of sight under a disk",
			`disk d; mkdir -p a/b d/b; mount -t tmpfs x a/b; mount --bind d a; ln -s a/b state`, "~/a/b", "", ""},
		{"a loop device in memory", ram + `; disk ram/d; ln -s ram/d/up state`, "~/ram/d/up", "a file on " + tmpfs, ""},
		{"a loop device whose file is out of sight",
			ram + `; disk ram/d; mkdir state; mount --bind ram/d state; umount -l ram`,
			"~/state", "", "the file behind loopN can't be seen"},
	})
}

// Of an overlay the upper layer counts.
func TestLocateInAnOverlay(t *testing.T) {
	locateAll(t, []placed{
		{"an overlay in memory", ram + `;` + overlay + `upperdir=$PWD/ram/up,workdir=ram/work state`,
			"~/state", "an overlay on ~/state whose upper layer is " + tmpfs, ""},
		{"an overlay in a ramfs", `mkdir ram; mount -t ramfs x ram; mkdir ram/up ram/work; ` + overlay +
			`upperdir=$PWD/ram/up,workdir=ram/work state`,
			"~/state", "an overlay on ~/state whose upper layer is a ramfs on ~/ram", ""},
		{"an overlay on a disk over memory",
			ram + `; disk d; mkdir state; mount -t overlay x -o lowerdir=ram/s,upperdir=$PWD/d/up,workdir=d/work state`,
			"~/state", "", ""},
		{"an overlay without an upper layer",
			ram + `; mkdir state; mount -t overlay x -o lowerdir=ram/s:ram/up state`, "~/state", "", ""},
		{"an overlay with strange names",
			`mkdir 'r, a:m'; mount -t tmpfs x 'r, a:m'; mkdir 'r, a:m/u p' 'r, a:m/w';` + overlay +
				`upperdir='r\, a:m/u p',workdir='r\, a:m/w' state`,
			"~/state", "an overlay on ~/state whose upper layer is a tmpfs on ~/r, a:m", ""},
		{"an overlay in memory that only root may see", `mkdir ram; mount -t tmpfs -o size=2m,nr_inodes=99 x ram
			mkdir ram/up ram/work; ` + overlay + `upperdir=$PWD/ram/up,workdir=ram/work state; chown 65534 ram; chmod 700 ram
			set -- setpriv --bounding-set=-dac_override,-dac_read_search`,
			"~/state", "an overlay on ~/state whose upper layer is " + tmpfs, ""},
		{"an overlay whose layer is mounted from memory",
			ram + `; mkdir up work all; mount --bind ram all;` + overlay + `upperdir=$PWD/all/up,workdir=all/work state`,
			"~/state", "an overlay on ~/state whose upper layer is a tmpfs on ~/all", ""},
		{"an overlay on a loop device in memory",
			ram + `; disk ram/d;` + overlay + `upperdir=$PWD/ram/d/up,workdir=ram/d/work state`,
			"~/state", "an overlay on ~/state whose upper layer is a file on " + tmpfs, ""},
		{"a place in an overlay that is mounted from it",
			ram + `; mkdir -p low/lib state
				mount -t overlay x -o lowerdir=low,upperdir=$PWD/ram/up,workdir=ram/work low; mount --bind low/lib state`,
			"~/state", "an overlay on ~/state whose upper layer is " + tmpfs, ""},
		{"an overlay that an initramfs made",
			ram + `;` + overlay + `upperdir=$PWD/ram/up,workdir=ram/work state; umount -l ram`,
			"~/state", "an overlay on ~/state whose upper layer can't be seen, and looks like a tmpfs", ""},
		{"an overlay that an initramfs made in a ramfs",
			`mkdir ram; mount -t ramfs x ram; mkdir ram/up ram/work;` + overlay +
				`upperdir=$PWD/ram/up,workdir=ram/work state; umount -l ram; mkdir ram/up`,
			"~/state", "an overlay on ~/state whose upper layer can't be seen, and looks like a tmpfs", ""},
		{"an overlay on a disk out of sight",
			`disk d;` + overlay + `upperdir=$PWD/d/up,workdir=d/work state; umount -l d`,
			"~/state", "", hidden},
		{"an overlay on a disk out of sight with memory in its place",
			`disk d;` + overlay + `upperdir=$PWD/d/up,workdir=d/work state; mount -t tmpfs x d; mkdir d/up`,
			"~/state", "", hidden},
	})
}

// A RAM disk is volatile, and so is what is on top of one. There is none here,
// so the tree imitates sysfs.
func TestRAMDisks(t *testing.T) {
	sys := t.TempDir()
	block := func(name string, parts ...string) {
		for _, dir := range append([]string{name}, parts...) {
			save(t, os.MkdirAll(filepath.Join(sys, "block", dir), 0o700))
		}
	}
	block("zram0")
	block("ram1")
	block("mmcblk0", "mmcblk0/mmcblk0p2")
	block("ramfoo")
	block("loop7", "loop7/loop7p1")
	block("dm-0", "dm-0/slaves")
	block("dm-1", "dm-1/slaves")
	block("md0", "md0/slaves")
	for _, p := range []string{"mmcblk0/mmcblk0p2", "loop7/loop7p1"} {
		write(t, filepath.Join(sys, "block", p, "partition"), []byte("1\n"))
	}
	for link, to := range map[string]string{
		"dm-0/slaves/dm-1": "dm-1", "dm-1/slaves/zram0": "zram0", "md0/slaves/mmcblk0p2": "mmcblk0/mmcblk0p2",
	} {
		save(t, os.Symlink(filepath.Join(sys, "block", to), filepath.Join(sys, "block", link)))
	}
	for device, want := range map[string][2]string{
		"zram0": {"the RAM disk zram0"}, "ram1": {"the RAM disk ram1"}, "mmcblk0/mmcblk0p2": {}, "ramfoo": {}, "none": {},
		"dm-0": {"the RAM disk zram0"}, "md0": {}, "loop7/loop7p1": {1: "the file behind loop7 can't be seen"},
	} {
		volatile, unknown, err := locator{sys}.device(filepath.Join(sys, "block", device), 0)
		if got := [2]string{volatile, unknown}; got != want || err != nil {
			t.Errorf("%s is %q, %v; want %q", device, got, err, want)
		}
	}
}

// A directory below /tmp is emptied by age, whatever it is called.
func TestAPlaceThatIsEmptiedByAge(t *testing.T) {
	link := filepath.Join(t.TempDir(), "link")
	save(t, os.Symlink("/var/tmp/none", link))
	for dir, want := range map[string]string{
		"/tmp": "/tmp", "/tmp/none/state": "/tmp", "/var/tmp/state": "/var/tmp", link: "/var/tmp",
		link + "/state": "/var/tmp",
		"/tmpstate":     "", "/var/lib/tvpassd": "", "/": "",
	} {
		p, err := Locate(dir)
		if detail, advice := p.Aging(); p.Aged != want || err != nil || (detail == "") != (want == "") ||
			(advice == "") != (want == "") {
			t.Errorf("%s: %+v, %v, %s, %s; want %q", dir, p, err, detail, advice, want)
		}
	}
}

// Kernels before 3.15 do not say which mount a file is on.
func TestFindMount(t *testing.T) {
	const all = `22 1 8:1 / / rw - ext4 /dev/root rw
30 22 0:30 / /var rw,nosuid - tmpfs  rw,size=10k
31 30 0:31 / /var/li rw - ramfs none rw
32 30 8:2 /b\040c /var/lib rw shared:1 master:2 - ext4 /dev/sda\0402 rw
33 22 8:3 / /var/lib rw - ext4 /dev/sda3 rw,data=ordered
34 22 8:3 / /variable rw
35 22 8:4 / /a\040b\134c rw - ext4 /dev/sda4 rw
`
	for _, tc := range []struct{ path, id, want string }{
		{"/", "", "22"}, {"/var", "", "30"}, {"/var/lib/x", "", "33"}, {"/var/lib", "", "33"}, {"/variable", "", "22"},
		{"/var/lib", "32", "32"}, {"/var/lib", "36", ""}, {`/a b\c`, "", "35"},
	} {
		m, ok := findMount(all, tc.path, tc.id)
		if m.id != tc.want || ok != (tc.want != "") {
			t.Errorf("%s %s is on %+v, want %s", tc.path, tc.id, m, tc.want)
		}
	}
	m, _ := findMount(all, "", "30")
	if size, ok := m.option("size"); m.source != "" || m.fsType != "tmpfs" || size != "10k" || !ok {
		t.Errorf("a mount of nothing is %+v", m)
	}
	if m, _ = findMount(all, "", "32"); m.source != "/dev/sda 2" {
		t.Errorf("its source is %q", m.source)
	}
}
