package hostfile

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	maxLinks = 40 // as in the kernel

	otherWriters = unix.S_IWGRP | unix.S_IWOTH
)

// walk follows a path, links included, and returns what it ends in: for a
// folder the folder itself with the name ".", for anything else the folder that
// holds it and its name there.
func (d *Dir) walk(name string) (*dirStack, string, *unix.Stat_t, error) {
	dir := &dirStack{dir: d}
	if err := dir.start(); err != nil {
		return nil, "", nil, err
	}
	todo := elements(name)
	for links := 0; len(todo) > 0; {
		element := todo[0]
		todo = todo[1:]
		if element == ".." {
			dir.up()
			continue
		}
		stat := new(unix.Stat_t)
		if err := unix.Fstatat(dir.fd(), element, stat, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return nil, "", nil, dir.fail(err)
		}
		switch stat.Mode & unix.S_IFMT {
		case unix.S_IFLNK:
			target, err := dir.follow(element, stat)
			if links++; err == nil && links > maxLinks {
				err = errTooManyLinks
			}
			if err != nil {
				return nil, "", nil, dir.fail(err)
			}
			todo = append(elements(target), todo...)
		case unix.S_IFDIR:
			if err := dir.down(element, stat); err != nil {
				return nil, "", nil, dir.fail(err)
			}
		default:
			if len(todo) > 0 {
				return nil, "", nil, dir.fail(unix.ENOTDIR)
			}
			if err := dir.trust(element, stat); err != nil {
				return nil, "", nil, dir.fail(err)
			}
			return dir, element, stat, nil
		}
	}
	return dir, ".", &unix.Stat_t{Mode: unix.S_IFDIR}, nil
}

// walkTo is walk for a path that must end in something of one kind.
func (d *Dir) walkTo(name string, kind uint32) (*dirStack, string, error) {
	dir, last, stat, err := d.walk(name)
	if err != nil {
		return nil, "", err
	}
	if stat.Mode&unix.S_IFMT != kind {
		return nil, "", dir.fail(unix.ENOTDIR)
	}
	return dir, last, nil
}

// elements splits a path; empty elements and "." are left out.
func elements(name string) []string {
	return slices.DeleteFunc(strings.Split(name, "/"), func(e string) bool { return e == "" || e == "." })
}

func readlink(dir int, name string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dir, name, buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

// dirStack is where a walk stands: the open folders from below the top down.
type dirStack struct {
	dir    *Dir
	shared []bool // for the top and each open folder: others may write there
	closed []bool // for each open folder: not everybody may enter it
	fds    []int
}

// start judges the top folder.
func (s *dirStack) start() error {
	var stat unix.Stat_t
	if s.dir.rule.Trusted {
		if err := unix.Fstatat(s.dir.top, ".", &stat, 0); err != nil {
			return err
		}
	}
	shared, err := s.trustFolder("/", &stat)
	s.shared = append(s.shared, shared)
	return err
}

func (s *dirStack) fd() int {
	if len(s.fds) == 0 {
		return s.dir.top
	}
	return s.fds[len(s.fds)-1]
}

func (s *dirStack) down(name string, stat *unix.Stat_t) error {
	fd, err := unix.Openat(s.fd(), name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	s.fds = append(s.fds, fd)
	shared, err := s.trustFolder(name, stat)
	s.shared = append(s.shared, shared)
	s.closed = append(s.closed, stat.Mode&unix.S_IXOTH == 0)
	return err
}

func (s *dirStack) up() {
	if last := len(s.fds) - 1; last >= 0 {
		unix.Close(s.fds[last])
		s.fds, s.shared, s.closed = s.fds[:last], s.shared[:last+1], s.closed[:last]
	}
}

// follow returns where a link in the current folder points. An absolute target
// counts from the top, so the walk starts again.
func (s *dirStack) follow(name string, stat *unix.Stat_t) (string, error) {
	if s.dir.rule.NoLinks {
		return "", fmt.Errorf("%q is %w", name, ErrLink)
	}
	link := *stat
	link.Mode &^= otherWriters // every link has mode 0777, which means nothing
	if err := s.trust(name, &link); err != nil {
		return "", err
	}
	target, err := readlink(s.fd(), name)
	if err == nil && strings.HasPrefix(target, "/") {
		s.close()
	}
	return target, err
}

func (s *dirStack) close() {
	for len(s.fds) > 0 {
		s.up()
	}
}

func (s *dirStack) fail(err error) error {
	s.close()
	return err
}

// trust returns an error if other users could have put a file or link into the
// current folder, or changed it.
func (s *dirStack) trust(name string, stat *unix.Stat_t) error {
	if !s.dir.rule.Trusted {
		return nil
	}
	why := s.dir.doubt(stat)
	if why == "" && s.shared[len(s.shared)-1] && stat.Mode&unix.S_IFMT == unix.S_IFREG && stat.Nlink > 1 {
		why = "has a second name" // another user's link to a file of root's
	}
	if why == "" || isKernels(s.fd()) {
		return nil
	}
	return fmt.Errorf("%w: %q %s", ErrUntrusted, name, why)
}

// trustFolder does so for the folder that was just entered, and reports whether
// others may write there all the same.
func (s *dirStack) trustFolder(name string, stat *unix.Stat_t) (shared bool, err error) {
	if !s.dir.rule.Trusted {
		return false, nil
	}
	if stat.Uid == 0 && stat.Mode&unix.S_ISVTX != 0 && stat.Mode&otherWriters != 0 {
		return true, nil
	}
	if why := s.dir.doubt(stat); why != "" && !isKernels(s.fd()) {
		return false, fmt.Errorf("%w: %q %s", ErrUntrusted, name, why)
	}
	return false, nil
}

// doubt says who else could have changed a file; "" if nobody could.
func (d *Dir) doubt(stat *unix.Stat_t) string {
	switch {
	case stat.Uid != 0 && stat.Uid != d.user:
		return fmt.Sprintf("belongs to user %d", stat.Uid)
	case stat.Mode&unix.S_IWOTH != 0:
		return "is writable for everybody"
	case stat.Mode&unix.S_IWGRP != 0 && stat.Gid != 0:
		return fmt.Sprintf("is writable for group %d", stat.Gid)
	}
	return ""
}

// isKernels reports whether a folder is in procfs or sysfs. What is there comes
// from the kernel, whoever owns it: in a container without root it belongs to
// nobody, and Android gives some of it to other users.
func isKernels(fd int) bool {
	var stat unix.Statfs_t
	if unix.Fstatfs(fd, &stat) != nil { // kernels before 3.12 refuse it for such a descriptor
		return false
	}
	return stat.Type == unix.PROC_SUPER_MAGIC || stat.Type == unix.SYSFS_MAGIC
}
