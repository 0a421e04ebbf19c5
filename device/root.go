package device

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	maxFile  = 64 << 10 // no file that says something about a device is longer; a hostile one is read no further
	maxTotal = 4 << 20  // nor do all of them together come near this
	maxLinks = 40       // as in the kernel
	maxNames = 1024     // names taken from one directory
)

var (
	errWrongKind    = errors.New("not the kind of file that is read")
	errTooMuch      = errors.New("more data than a device has")
	errTooManyLinks = errors.New("too many symbolic links")
)

// tree reads the files below one folder, each at most once. No path and no link leads out of the folder: an absolute
// link counts from its top, and ".." at the top stays there, as in a chroot. (os.Root refuses absolute links, and
// /proc/device-tree is one.) It reads regular files only and never opens anything else for reading: a FIFO would block,
// and opening a device may do something.
type tree struct {
	top    int // descriptor of the folder
	files  map[string]content
	values map[string]map[string]string // what was parsed of a file, by its name
	buf    []byte                       // one read buffer for all files
	left   int                          // bytes that may still be kept
}

type content struct {
	data []byte
	err  error
}

// openTree opens the folder; "" is this machine's root.
func openTree(folder string) (*tree, error) {
	if folder == "" {
		folder = "/"
	}
	top, err := unix.Open(folder, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the device's file tree %s: %w", folder, err)
	}
	return &tree{top: top, files: map[string]content{}, values: map[string]map[string]string{}, buf: make([]byte, maxFile), left: maxTotal}, nil
}

func (t *tree) close() error { return unix.Close(t.top) }

// read returns the first 64 KiB of a file. The result belongs to the tree: callers don't change it.
func (t *tree) read(name string) ([]byte, error) {
	if c, ok := t.files[name]; ok {
		return c.data, c.err
	}
	data, err := t.readOnce(name)
	t.files[name] = content{data, err}
	return data, err
}

func (t *tree) readOnce(name string) ([]byte, error) {
	fd, err := t.open(name, unix.S_IFREG)
	if err != nil {
		return nil, err
	}
	n, err := readFull(fd, t.buf)
	if err := errors.Join(err, unix.Close(fd)); err != nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	if t.left -= n; t.left < 0 {
		return nil, &fs.PathError{Op: "read", Path: name, Err: errTooMuch}
	}
	return slices.Clone(t.buf[:n]), nil
}

// readFull reads until the buffer is full or the file ends. It goes past Go's poller, which would wait for ever for a
// sysfs file whose driver answers "try again".
func readFull(fd int, buf []byte) (int, error) {
	n := 0
	for n < len(buf) {
		got, err := unix.Read(fd, buf[n:])
		switch {
		case err == unix.EINTR:
		case err != nil:
			return n, err
		case got == 0:
			return n, nil
		default:
			n += got
		}
	}
	return n, nil
}

// list returns the names in a directory, in natural order (eth2 before eth10); none if it can't be read.
func (t *tree) list(name string) []string {
	fd, err := t.open(name, unix.S_IFDIR)
	if err != nil {
		return nil
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	names, err := f.Readdirnames(maxNames)
	if err != nil {
		return nil
	}
	slices.SortFunc(names, naturalOrder)
	return names
}

// exists says whether there is something, of whatever kind, behind a path.
func (t *tree) exists(name string) bool {
	dir, _, _, err := t.walk(name)
	if err == nil {
		dir.close()
	}
	return err == nil
}

// linkBase returns the last element of where a symbolic link points, as sysfs names a device's driver; "" if it is none.
func (t *tree) linkBase(name string) string {
	dir, _, kind, err := t.walk(path.Dir(name))
	if err != nil {
		return ""
	}
	defer dir.close()
	if kind != unix.S_IFDIR {
		return ""
	}
	target, err := readlink(dir.fd(), path.Base(name))
	if err != nil {
		return ""
	}
	return path.Base(target)
}

// open opens a file or directory for reading, if it is of the kind wanted both before and after it is opened.
func (t *tree) open(name string, want uint32) (int, error) {
	fail := func(err error) (int, error) { return -1, &fs.PathError{Op: "open", Path: name, Err: err} }
	dir, last, kind, err := t.walk(name)
	if err != nil {
		return fail(err)
	}
	defer dir.close()
	if kind != want {
		return fail(errWrongKind)
	}
	fd, err := unix.Openat(dir.fd(), last, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fail(err)
	}
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil || uint32(stat.Mode)&unix.S_IFMT != want {
		return fail(errors.Join(errWrongKind, err, unix.Close(fd)))
	}
	return fd, nil
}

// walk follows a path, links included, and returns what it ends in: for a directory the directory itself with the name
// ".", for anything else the directory that holds it and its name there.
func (t *tree) walk(name string) (*dirStack, string, uint32, error) {
	dir := &dirStack{top: t.top}
	todo := elements(name)
	links := 0
	for len(todo) > 0 {
		element := todo[0]
		todo = todo[1:]
		if element == ".." {
			dir.up()
			continue
		}
		var stat unix.Stat_t
		if err := unix.Fstatat(dir.fd(), element, &stat, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return nil, "", 0, dir.fail(err)
		}
		switch kind := uint32(stat.Mode) & unix.S_IFMT; kind {
		case unix.S_IFLNK:
			links++
			target, err := readlink(dir.fd(), element)
			if err == nil && links > maxLinks {
				err = errTooManyLinks
			}
			if err != nil {
				return nil, "", 0, dir.fail(err)
			}
			if strings.HasPrefix(target, "/") {
				dir.close()
			}
			todo = append(elements(target), todo...)
		case unix.S_IFDIR:
			if err := dir.down(element); err != nil {
				return nil, "", 0, dir.fail(err)
			}
		default:
			if len(todo) > 0 {
				return nil, "", 0, dir.fail(unix.ENOTDIR)
			}
			return dir, element, kind, nil
		}
	}
	return dir, ".", unix.S_IFDIR, nil
}

// elements splits a path; empty ones and "." go.
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

// dirStack is where a walk stands: the open directories from below the top down.
type dirStack struct {
	top int
	fds []int
}

func (d *dirStack) fd() int {
	if len(d.fds) == 0 {
		return d.top
	}
	return d.fds[len(d.fds)-1]
}

func (d *dirStack) down(name string) error {
	fd, err := unix.Openat(d.fd(), name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == nil {
		d.fds = append(d.fds, fd)
	}
	return err
}

func (d *dirStack) up() {
	if last := len(d.fds) - 1; last >= 0 {
		unix.Close(d.fds[last])
		d.fds = d.fds[:last]
	}
}

func (d *dirStack) close() {
	for len(d.fds) > 0 {
		d.up()
	}
}

func (d *dirStack) fail(err error) error {
	d.close()
	return err
}
