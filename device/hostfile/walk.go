package hostfile

import (
	"errors"
	"fmt"
	"io/fs"
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
// holds it and its name there. The stack's stat is that of what it ends in. The
// caller leaves the stack.
func (w *worker) walk(name string) (*dirStack, string, error) {
	folder, last := split(name)
	if err := w.enter(folder); err != nil {
		return nil, "", err
	}
	end, err := w.stack.follow(last)
	if err != nil {
		w.stack.leave()
		return nil, "", err
	}
	return &w.stack, end, nil
}

// enter walks to a folder, to look into it. It starts at the last folder that
// this path and the last one have in common.
func (w *worker) enter(folder string) error {
	if w.dir.topErr != nil {
		return w.dir.topErr
	}
	if w.missing != nil && strings.HasPrefix(folder, w.missingAt) {
		return w.missing
	}
	s := &w.stack
	for element, rest := nextElement(s.back(folder)); element != ""; element, rest = nextElement(rest) {
		end, err := s.follow(element)
		if err == nil && end != "." {
			err = unix.ENOTDIR
		}
		upTo := len(folder) - len(rest)
		if err != nil {
			s.leave()
			if errors.Is(err, fs.ErrNotExist) {
				w.missing, w.missingAt = err, folder[:upTo]
			}
			return err
		}
		s.marks = append(s.marks, mark{upTo, len(s.open)})
	}
	return nil
}

// split returns the folder of a path and the rest.
func split(name string) (folder, last string) {
	at := strings.LastIndexByte(name, '/') + 1
	return name[:at], name[at:]
}

// follow goes on along a path, and returns the name of what it ends in within
// the folder where the walk then is.
func (s *dirStack) follow(name string) (string, error) {
	for element, rest := nextElement(name); element != ""; element, rest = nextElement(rest) {
		if element == ".." {
			s.up()
			continue
		}
		if err := unix.Fstatat(s.fd(), element, &s.stat, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			s.left = element + "/" + rest
			return "", err
		}
		switch s.stat.Mode & unix.S_IFMT {
		case unix.S_IFLNK:
			target, err := s.readLink(element)
			if err != nil {
				return "", err
			}
			rest = target + "/" + rest
		case unix.S_IFDIR:
			if err := s.down(element); err != nil {
				return "", err
			}
		default:
			if next, _ := nextElement(rest); next != "" {
				return "", unix.ENOTDIR
			}
			return element, s.trust(element)
		}
	}
	s.stat.Mode = unix.S_IFDIR
	return ".", nil
}

// nextElement returns a path's first element and what follows it; empty elements
// and "." are left out.
func nextElement(name string) (element, rest string) {
	for {
		element, rest, _ = strings.Cut(strings.TrimLeft(name, "/"), "/")
		if element != "." {
			return element, rest
		}
		name = rest
	}
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
	dir   *Dir
	open  []folder
	path  string      // of the folder that the last walk looked into
	marks []mark      // of the elements of path, those that can still be gone back to
	links int         // followed in this walk
	stat  unix.Stat_t // of the element that the walk is at
	left  string      // of the path, where it could not be followed
}

// mark says that the path up to end leads to the folder at a depth of the stack.
type mark struct{ end, depth int }

// back goes back to the deepest folder that is also on the way to another
// folder, and returns the rest of that way.
func (s *dirStack) back(folder string) (rest string) {
	n, end := 0, 0
	for ; n < len(s.marks) && strings.HasPrefix(folder, s.path[:s.marks[n].end]); n++ {
		end = s.marks[n].end
	}
	s.path, s.marks = folder, s.marks[:n]
	s.leave()
	return folder[end:]
}

// leave goes back to the last mark, and ends the walk.
func (s *dirStack) leave() {
	depth := 0
	if n := len(s.marks); n > 0 {
		depth = s.marks[n-1].depth
	}
	for len(s.open) > depth {
		s.up()
	}
	s.links = 0
}

// folder is an open folder.
type folder struct {
	fd     int
	shared bool // others may write there
	closed bool // not everybody may enter it
}

// here returns the folder that the walk stands in.
func (s *dirStack) here() folder {
	if len(s.open) == 0 {
		return folder{fd: s.dir.top, shared: s.dir.topShared}
	}
	return s.open[len(s.open)-1]
}

func (s *dirStack) fd() int { return s.here().fd }

func (s *dirStack) down(name string) error {
	fd, err := unix.Openat(s.fd(), name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	shared, err := s.dir.trustFolder(fd, name, &s.stat)
	s.open = append(s.open, folder{fd, shared, s.stat.Mode&unix.S_IXOTH == 0})
	return err
}

func (s *dirStack) up() {
	if last := len(s.open) - 1; last >= 0 {
		unix.Close(s.open[last].fd)
		s.open = s.open[:last]
	}
	for n := len(s.marks); n > 0 && s.marks[n-1].depth > len(s.open); n-- {
		s.marks = s.marks[:n-1]
	}
}

// isPublic reports whether everybody may enter the folders that are open.
func (s *dirStack) isPublic() bool {
	return !slices.ContainsFunc(s.open, func(f folder) bool { return f.closed })
}

// readLink returns where a link in the current folder points. An absolute target
// counts from the top, so the walk starts again.
func (s *dirStack) readLink(name string) (string, error) {
	if s.dir.rule.NoLinks {
		return "", fmt.Errorf("%q is %w", name, ErrLink)
	}
	s.stat.Mode &^= otherWriters // every link has mode 0777, which means nothing
	if err := s.trust(name); err != nil {
		return "", err
	}
	if s.links++; s.links > maxLinks {
		return "", errTooManyLinks
	}
	target, err := readlink(s.fd(), name)
	if err == nil && strings.HasPrefix(target, "/") {
		s.close()
	}
	return target, err
}

func (s *dirStack) close() {
	for len(s.open) > 0 {
		s.up()
	}
}

// trust returns an error if other users could have put the file or link that the
// walk is at into the folder, or changed it.
func (s *dirStack) trust(name string) error {
	rule, why := s.dir.rule, ""
	if !rule.Trusted && !rule.Way {
		return nil
	}
	if rule.Trusted || s.stat.Mode&unix.S_IFMT == unix.S_IFLNK {
		why = s.dir.doubt(&s.stat)
	}
	if why == "" && s.here().shared && s.stat.Mode&unix.S_IFMT == unix.S_IFREG && s.stat.Nlink > 1 {
		why = "has a second name" // another user's link to a file of root's
	}
	if why == "" || isKernels(s.fd()) {
		return nil
	}
	return fmt.Errorf("%w: %q %s", ErrUntrusted, name, why)
}

// trustFolder is trust for a folder. It reports whether others may write to a
// folder that is trusted.
func (d *Dir) trustFolder(fd int, name string, stat *unix.Stat_t) (shared bool, err error) {
	if !d.rule.Trusted && !d.rule.Way {
		return false, nil
	}
	if stat.Uid == 0 && stat.Mode&unix.S_ISVTX != 0 && stat.Mode&otherWriters != 0 {
		return true, nil
	}
	if why := d.doubt(stat); why != "" && !isKernels(fd) {
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
