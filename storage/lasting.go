package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Place describes the file systems that a directory is on, and whether files in
// it last.
type Place struct {
	Dir      string // as it was asked for
	Real     string // with links resolved; its nearest existing parent if it does not exist
	Volatile string // what it is on that the next boot empties, such as "a tmpfs on /var"; "": nothing known
	Unknown  string // why that can't be known; "": it is known
	Aged     string // the directory above it that is emptied by age: /tmp or /var/tmp; "": none
}

// Locate returns where a directory is. What decides is the file system that the
// kernel would write to, never a path. The directory need not exist: the answer
// is then that of its nearest existing parent.
func Locate(dir string) (Place, error) {
	p := Place{Dir: dir}
	var err error
	if p.Real, err = nearest(dir, 0); err != nil {
		return p, err
	}
	for _, tmp := range []string{"/tmp", "/var/tmp"} {
		if real, err := filepath.EvalSymlinks(tmp); err == nil && strings.HasPrefix(p.Real+"/", real+"/") {
			p.Aged = tmp
		}
	}
	p.Volatile, p.Unknown, err = locator{sys: "/sys"}.look(p.Real, 0)
	return p, err
}

// Loss describes for people what becomes of a state here, and what to do about
// it. Both are "" if the state lasts, or if that can't be known.
func (p Place) Loss() (detail, advice string) {
	if p.Volatile == "" {
		return "", ""
	}
	return fmt.Sprintf("the state does not last: %s is on %s, "+
			"and after each boot every app registers anew and viewers are signed out", p.Dir, p.Volatile),
		"set state_dir to a directory on a disk or flash; only a lab sets accept_volatile_state = true"
}

// Aging describes for people that files here are deleted by age, and what to do
// about it. Both are "" if they are not.
func (p Place) Aging() (detail, advice string) {
	if p.Aged == "" {
		return "", ""
	}
	return fmt.Sprintf("the state may be deleted: %s is below %s, and many systems delete old files there", p.Dir,
			p.Aged),
		"set state_dir to a directory such as /var/lib/tvpassd"
}

// maxDepth limits how many links are followed, and how many layers of file
// systems.
const maxDepth = 40

// nearest returns an existing path without links: that of dir, or of its
// nearest parent.
func nearest(dir string, depth int) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(dir)
	if !errors.Is(err, fs.ErrNotExist) || depth > maxDepth {
		return real, err
	}
	if target, err := os.Readlink(dir); err == nil { // a link to nothing, yet
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(dir), target)
		}
		return nearest(target, depth+1)
	}
	return nearest(filepath.Dir(dir), depth)
}

// locator looks at file systems. Its tests have a sysfs of their own.
type locator struct{ sys string }

// look returns what makes the files at an existing path volatile, or why
// that can't be known.
func (l locator) look(path string, depth int) (volatile, unknown string, err error) {
	if depth > maxDepth {
		return "", "there are too many layers of file systems", nil
	}
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return "", "", &fs.PathError{Op: "statfs", Path: path, Err: err}
	}
	m, mountErr := mountOf(path)
	switch uint32(st.Type) { // its Go type depends on the architecture
	case unix.TMPFS_MAGIC:
		return m.named("tmpfs"), "", nil
	case unix.RAMFS_MAGIC:
		return m.named("ramfs"), "", nil
	}
	if mountErr != nil {
		return "", fmt.Sprintf("its mount can't be found: %v", mountErr), nil
	}
	switch {
	case uint32(st.Type) == unix.OVERLAYFS_SUPER_MAGIC:
		return l.overlay(m, st, depth)
	case m.stacked():
		return "", "what is under " + m.named(m.fsType) + " can't be seen", nil
	}
	return l.device(m.deviceDir(l.sys), depth)
}

// overlay looks at the upper layer of an overlay, which holds what is written
// to it.
func (l locator) overlay(m mount, st unix.Statfs_t, depth int) (volatile, unknown string, err error) {
	upper, ok := m.option("upperdir")
	if !ok { // it is read-only
		return "", "", nil
	}
	upper = strings.ReplaceAll(upper, `\`, "") // before a comma, as overlayfs wants it
	what := m.named("overlay")
	// The path is that of the process which mounted it, maybe in an initramfs.
	// The size that an overlay reports is that of its upper layer.
	var under unix.Statfs_t
	err = unix.Statfs(upper, &under)
	if err != nil || under.Blocks != st.Blocks || under.Bsize != st.Bsize {
		if on, ok := mountAt(upper); ok && on.memory() && errors.Is(err, fs.ErrPermission) { // it is root's
			return what + " whose upper layer is " + on.named(on.fsType), "", nil
		}
		if inMemory(st) {
			return what + " whose upper layer can't be seen, and looks like a tmpfs", "", nil
		}
		return "", "the upper layer of " + what + " can't be seen", nil
	}
	volatile, unknown, err = l.look(upper, depth+1)
	if volatile != "" {
		volatile = what + " whose upper layer is " + volatile
	}
	return volatile, unknown, err
}

// inMemory reports whether the numbers of a file system are those of a ramfs,
// which has no size, or of a tmpfs: it has no identifier before Linux 5.13, and
// by default as many inodes as half of the memory has pages.
func inMemory(st unix.Statfs_t) bool {
	if st.Blocks == 0 || st.Fsid == (unix.Fsid{}) {
		return true
	}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return false
	}
	page := uint64(os.Getpagesize())
	pages := func(n uint64) uint64 { return n * uint64(info.Unit) / page }
	total, high := pages(uint64(info.Totalram)), pages(uint64(info.Totalhigh))
	inodes := min(total/2, total-high)
	// The kernel frees some memory of its own after a mount in an initramfs.
	near := max(st.Files, inodes)-min(st.Files, inodes) <= inodes/100
	return near && st.Bfree == st.Bavail && uint64(st.Bsize) == page
}

// device looks at a block device by its directory in sysfs: a RAM disk is
// volatile, and so is what stands on one.
func (l locator) device(dir string, depth int) (volatile, unknown string, err error) {
	if depth > maxDepth || dir == "" {
		return "", "", nil
	}
	dir, err = filepath.EvalSymlinks(dir)
	if err != nil { // without sysfs it counts as a disk
		return "", "", nil
	}
	if _, err := os.Stat(filepath.Join(dir, "partition")); err == nil {
		dir = filepath.Dir(dir)
	}
	name := filepath.Base(dir)
	number := strings.TrimLeft(name, "abcdefghijklmnopqrstuvwxyz")
	switch strings.TrimSuffix(name, number) {
	case "zram", "ram":
		return "the RAM disk " + name, "", nil
	case "loop":
		return l.loop(dir, name, depth)
	}
	under, err := os.ReadDir(filepath.Join(dir, "slaves"))
	if err != nil { // most devices have none
		return "", "", nil
	}
	for _, slave := range under {
		volatile, unknown, err = l.device(filepath.Join(dir, "slaves", slave.Name()), depth+1)
		if volatile != "" || unknown != "" || err != nil {
			break
		}
	}
	return volatile, unknown, err
}

// loop looks at the file behind a loop device.
func (l locator) loop(dir, name string, depth int) (volatile, unknown string, err error) {
	hidden := "the file behind " + name + " can't be seen"
	path, err := os.ReadFile(filepath.Join(dir, "loop", "backing_file"))
	if err != nil {
		return "", hidden, nil
	}
	volatile, unknown, err = l.look(strings.TrimSuffix(string(path), "\n"), depth+1)
	if err != nil {
		return "", hidden, nil
	}
	if volatile != "" {
		volatile = "a file on " + volatile
	}
	return volatile, unknown, nil
}
