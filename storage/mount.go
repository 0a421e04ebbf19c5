package storage

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const mountinfo = "/proc/self/mountinfo"

// mount is one line of /proc/self/mountinfo (proc_pid_mountinfo(5)).
type mount struct {
	id      string
	device  string // major:minor
	point   string
	fsType  string
	source  string
	options []string // of the file system, still escaped
}

// named returns a file system's kind and where it is mounted.
func (m mount) named(kind string) string {
	article := "a "
	if strings.ContainsRune("aeiou", rune(kind[0])) {
		article = "an "
	}
	if m.fsType == "rootfs" {
		return "the rootfs of the kernel, a " + kind
	}
	if m.point == "" {
		return article + kind
	}
	return article + kind + " on " + m.point
}

// stacked reports whether a file system keeps its files on other file systems
// that it does not name.
func (m mount) stacked() bool {
	for _, kind := range []string{"overlay", "union", "aufs", "mergerfs", "ecryptfs"} {
		if strings.Contains(m.fsType, kind) {
			return true
		}
	}
	return false
}

// option returns the value of an option of the file system.
func (m mount) option(name string) (string, bool) {
	for _, o := range m.options {
		if value, ok := strings.CutPrefix(o, name+"="); ok {
			return unescape(value), true
		}
	}
	return "", false
}

// deviceDir returns the directory in sysfs of the block device that the file
// system is on, or "".
func (m mount) deviceDir(sys string) string {
	device := m.device
	if strings.HasPrefix(device, "0:") { // btrfs has a number of its own
		var st unix.Stat_t
		if unix.Stat(m.source, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFBLK {
			return ""
		}
		device = fmt.Sprintf("%d:%d", unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev)))
	}
	return filepath.Join(sys, "dev", "block", device)
}

// holds reports whether a path is below the mount.
func (m mount) holds(path string) bool {
	return m.point == "/" || strings.HasPrefix(path+"/", m.point+"/")
}

// memory reports whether files of the mount are kept in memory.
func (m mount) memory() bool { return m.fsType == "tmpfs" || m.fsType == "ramfs" }

// mountAt returns the mount that a path is on. It needs no right to open the
// path.
func mountAt(path string) (mount, bool) {
	all, err := os.ReadFile(mountinfo)
	if err != nil {
		return mount{}, false
	}
	return findMount(string(all), path, "")
}

// mountOf returns the mount that an existing path is on.
func mountOf(path string) (mount, error) {
	all, err := os.ReadFile(mountinfo)
	if err != nil {
		return mount{}, err
	}
	m, ok := findMount(string(all), path, mountID(path))
	if !ok {
		return m, fmt.Errorf("%s does not list it", mountinfo)
	}
	return m, nil
}

// findMount finds the mount with an id. If the id is "" it finds that of a
// path: the last one with the longest mount point.
func findMount(table, path, id string) (m mount, ok bool) {
	for _, line := range strings.Split(table, "\n") {
		switch next, valid := parseMount(line); {
		case !valid:
		case next.id == id:
			return next, true
		case id == "" && next.holds(path) && len(next.point) >= len(m.point):
			m, ok = next, true
		}
	}
	return m, ok
}

// mountID returns the number of the mount that a path is on. A kernel before
// 3.15 does not report it: the result is then "".
func mountID(path string) string {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	info, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", fd))
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(info), "mnt_id:\t")
	id, _, _ := strings.Cut(rest, "\n")
	return id
}

// parseMount parses a line of mountinfo:
//
//	36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
func parseMount(line string) (m mount, ok bool) {
	before, after, _ := strings.Cut(line, " - ")
	of, behind := strings.Fields(before), strings.SplitN(after, " ", 3)
	if len(of) < 6 || len(behind) < 3 {
		return m, false
	}
	return mount{
		id: of[0], device: of[2], point: unescape(of[4]),
		fsType: behind[0], source: unescape(behind[1]), options: strings.Split(behind[2], ","),
	}, true
}

// unescape resolves the octal escapes of mountinfo, such as \040 for a space.
func unescape(text string) string {
	var plain strings.Builder
	for len(text) > 0 {
		if text[0] == '\\' && len(text) >= 4 {
			if n, err := strconv.ParseUint(text[1:4], 8, 8); err == nil {
				plain.WriteByte(byte(n))
				text = text[4:]
				continue
			}
		}
		plain.WriteByte(text[0])
		text = text[1:]
	}
	return plain.String()
}
