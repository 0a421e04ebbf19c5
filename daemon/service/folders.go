package service

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Folder is a directory that the daemon needs before it can give up root.
type Folder struct {
	Path string // absolute
	Mode uint32 // of a directory that is made
	// HandOver gives an existing directory of root's to the account, with the
	// regular files in it: an earlier version of the service ran as root.
	HandOver bool
}

// Make makes a missing directory, as the account's, and its missing parents, as
// root's. It changes nothing in a directory that another user may write to: there
// the daemon makes what it can by itself. Links are followed only if root made
// them and nobody else can replace them.
func (f Folder) Make(a Account) error {
	w, err := walkTrusted(f.Path)
	if w == nil || err != nil {
		return f.wrap(err)
	}
	defer w.close()
	for len(w.rest) > 1 {
		if ok, err := w.make(w.rest[0], 0o755, 0, 0); !ok || err != nil {
			return f.wrap(err)
		}
	}
	if len(w.rest) == 1 {
		_, err := w.make(w.rest[0], f.Mode, a.UID, a.GID)
		return f.wrap(err)
	}
	if f.HandOver && w.stat.Uid == 0 && w.trusted() {
		return f.wrap(w.handOver(a))
	}
	return nil
}

func (f Folder) wrap(err error) error {
	if err != nil {
		err = fmt.Errorf("make the directory %s: %w", f.Path, err)
	}
	return err
}

// trustedWalk is where a walk along a path stands: an open directory, and the
// elements that are still missing behind it.
type trustedWalk struct {
	fd   int
	stat unix.Stat_t // of fd
	rest []string
}

const (
	pathOnly = unix.O_PATH | unix.O_CLOEXEC | unix.O_NOFOLLOW
	maxLinks = 40 // as in the kernel
)

// walkTrusted follows a path for as long as nobody but root decides where it
// leads. It returns nil where another user does, and for what is not a directory.
func walkTrusted(path string) (*trustedWalk, error) {
	if !filepath.IsAbs(path) {
		return nil, errors.New("the path is not absolute")
	}
	w := &trustedWalk{fd: -1, rest: strings.Split(path, "/")}
	if err := w.enter(unix.AT_FDCWD, "/"); err != nil {
		return nil, err
	}
	for links := 0; len(w.rest) > 0; {
		name := w.rest[0]
		if name == "" || name == "." {
			w.rest = w.rest[1:]
			continue
		}
		var stat unix.Stat_t
		err := unix.Fstatat(w.fd, name, &stat, unix.AT_SYMLINK_NOFOLLOW)
		switch {
		case errors.Is(err, unix.ENOENT):
			return w, nil
		case err != nil:
			return nil, w.fail(err)
		case stat.Mode&unix.S_IFMT == unix.S_IFLNK:
			links++
			if !w.trusted() || stat.Uid != 0 || links > maxLinks {
				return nil, w.fail(nil)
			}
			err = w.follow(name)
		case stat.Mode&unix.S_IFMT == unix.S_IFDIR:
			w.rest = w.rest[1:]
			err = w.enter(w.fd, name)
		default:
			return nil, w.fail(unix.ENOTDIR)
		}
		if err != nil {
			return nil, w.fail(err)
		}
	}
	return w, nil
}

// enter makes a directory in dir the current one.
func (w *trustedWalk) enter(dir int, name string) error {
	fd, err := unix.Openat(dir, name, pathOnly|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	w.close()
	w.fd = fd
	return unix.Fstat(fd, &w.stat)
}

// follow puts the target of a link in place of its name.
func (w *trustedWalk) follow(name string) error {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(w.fd, name, buf)
	if err != nil {
		return err
	}
	target := string(buf[:n])
	w.rest = append(strings.Split(target, "/"), w.rest[1:]...)
	if strings.HasPrefix(target, "/") {
		return w.enter(unix.AT_FDCWD, "/")
	}
	return nil
}

// trusted reports whether only root can put something into the current
// directory, or take away what root put there.
func (w *trustedWalk) trusted() bool {
	shared := w.stat.Mode&unix.S_IWOTH != 0 || w.stat.Mode&unix.S_IWGRP != 0 && w.stat.Gid != 0
	return w.stat.Uid == 0 && (!shared || w.stat.Mode&unix.S_ISVTX != 0)
}

// make makes a directory in the current one and enters it. It reports false
// without an error if others may write here.
func (w *trustedWalk) make(name string, mode uint32, uid, gid int) (bool, error) {
	if !w.trusted() {
		return false, nil
	}
	switch err := unix.Mkdirat(w.fd, name, 0o700); {
	case errors.Is(err, unix.EEXIST): // somebody else has just made it
		return false, nil
	case err != nil:
		return false, err
	}
	if err := w.enter(w.fd, name); err != nil {
		return false, err
	}
	w.rest = w.rest[1:]
	dir, err := w.reopen()
	if err != nil {
		return false, err
	}
	defer unix.Close(dir)
	if err := unix.Fchown(dir, uid, gid); err != nil && !lacksOwners(err) {
		return false, err
	}
	if err := unix.Fchmod(dir, mode); err != nil && !lacksOwners(err) { // whatever the umask
		return false, err
	}
	return true, nil
}

// lacksOwners reports whether a file system, such as vfat, has neither owners nor
// modes.
func lacksOwners(err error) bool {
	return errors.Is(err, unix.EPERM) || errors.Is(err, unix.EOPNOTSUPP)
}

// reopen opens the current directory for more than its path.
func (w *trustedWalk) reopen() (int, error) {
	return unix.Openat(w.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
}

// handOver gives the current directory, which is root's, and the regular files in
// it to the account. The directory goes last: until then nobody else can change
// what is in it.
func (w *trustedWalk) handOver(a Account) error {
	dir, err := w.reopen()
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(dir), "") // for the names; dir stays usable until f is closed
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := handOverFile(dir, name, a); err != nil {
			return fmt.Errorf("give %s to %s: %w", name, a.Name, err)
		}
	}
	if err := unix.Fchown(dir, a.UID, a.GID); err != nil && !lacksOwners(err) {
		return fmt.Errorf("give it to %s: %w", a.Name, err)
	}
	return nil
}

// handOverFile gives one file of root's to the account. It skips whatever is
// not a regular file with one name.
func handOverFile(dir int, name string, a Account) error {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return err
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFREG || stat.Nlink != 1 || stat.Uid != 0 {
		return nil
	}
	if err := unix.Fchown(fd, a.UID, a.GID); err != nil && !lacksOwners(err) {
		return err
	}
	return nil
}

func (w *trustedWalk) close() {
	if w.fd >= 0 {
		unix.Close(w.fd)
		w.fd = -1
	}
}

func (w *trustedWalk) fail(err error) error {
	w.close()
	return err
}
