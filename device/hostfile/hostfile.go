// Package hostfile reads files that other users may own, write or replace.
//
// It follows a path element by element and looks at each before it opens it: a
// FIFO or a device node is never opened by accident, and a file that changes
// its nature in between is noticed by its descriptor. Every call ends within a
// time limit, whatever the file system does. What a file means is not its
// concern.
package hostfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// The reasons why a file is not read, beside those of the operating system.
// Errors wrap them.
var (
	ErrNotRegular = errors.New("not a regular file")
	ErrLink       = errors.New("a symbolic link")
	ErrUntrusted  = errors.New("other users could have put it there")

	errTooManyLinks = errors.New("too many symbolic links")
)

// Rule says what may be read. The zero Rule reads regular files of any owner,
// through symbolic links.
type Rule struct {
	// Trusted refuses what other users could have put there: the file, every
	// folder and every link on the way must belong to root or to this process's
	// user, and nobody else may write to them. A folder that others may write to
	// passes if it is root's and sticky, as /tmp is; a regular file right in
	// such a folder must have no second name. What the kernel itself shows in
	// procfs and sysfs passes whoever owns it.
	Trusted bool

	NoLinks bool          // refuse symbolic links instead of following them
	Special bool          // read FIFOs and character devices too
	Within  time.Duration // limit of each call; 2 s if it is zero
}

// File is what was read of a file, and what its descriptor said about it.
type File struct {
	Data         []byte
	Cut          bool // the file is longer than the limit
	Owner, Group uint32
	Mode         fs.FileMode
	Public       bool // everybody may read the file and enter the folders that it is in
}

// Dir is a folder that files are read from. No path and no link leads out of
// it: an absolute link counts from the folder, and ".." stays there, as in a
// chroot. ([os.Root] refuses absolute links, and /proc/device-tree is one.)
// A Dir is not for concurrent use.
type Dir struct {
	top  int // descriptor of the folder
	rule Rule
	user uint32 // of this process
	held atomic.Int32
	buf  []byte // of the next read
}

// Open opens a folder. Rule.Trusted judges the folder and what is in it, not
// the way to it.
func Open(folder string, rule Rule) (*Dir, error) {
	if rule.Within == 0 {
		rule.Within = 2 * time.Second
	}
	d := &Dir{top: -1, rule: rule, user: uint32(os.Geteuid())}
	d.held.Store(1)
	_, err := within(d, "open", folder, func() (_ struct{}, err error) {
		d.top, err = unix.Open(folder, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		return struct{}{}, err
	})
	if err != nil {
		d.release()
		return nil, err
	}
	return d, nil
}

// Read reads the file at a path of this device, up to limit bytes.
func Read(name string, limit int, rule Rule) (*File, error) {
	if !filepath.IsAbs(name) {
		here, err := os.Getwd()
		if err != nil {
			return nil, err
		}
		name = here + "/" + name // not cleaned: "link/.." is not "."
	}
	d, err := Open("/", rule)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Read(name, limit)
}

// Close closes the folder. It does not wait for a call that ran out of time.
func (d *Dir) Close() { d.release() }

// release closes the folder once nothing uses it any more.
func (d *Dir) release() {
	if d.held.Add(-1) == 0 && d.top >= 0 {
		unix.Close(d.top)
	}
}

// Read reads a file, up to limit bytes.
func (d *Dir) Read(name string, limit int) (*File, error) {
	buf := d.buf
	d.buf = nil // a read that runs out of time keeps it
	deadline := time.Now().Add(d.rule.Within)
	var grown []byte
	file, err := within(d, "read", name, func() (*File, error) {
		file, err := d.readFile(name, limit, &buf, deadline)
		grown = buf
		return file, err
	})
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		d.buf = grown
	}
	return file, err
}

// Names returns the names in a folder, at most limit of them, in no order.
func (d *Dir) Names(name string, limit int) ([]string, error) {
	return within(d, "read", name, func() ([]string, error) {
		fd, _, _, err := d.open(name, false)
		if err != nil {
			return nil, err
		}
		f := os.NewFile(uintptr(fd), name)
		defer f.Close()
		names, err := f.Readdirnames(limit)
		if errors.Is(err, io.EOF) { // an empty folder
			err = nil
		}
		return names, err
	})
}

// Exists reports whether there is anything behind a path, of whatever kind.
func (d *Dir) Exists(name string) bool {
	_, err := within(d, "stat", name, func() (struct{}, error) {
		dir, _, _, err := d.walk(name)
		if err == nil {
			dir.close()
		}
		return struct{}{}, err
	})
	return err == nil
}

// Link returns where a symbolic link points.
func (d *Dir) Link(name string) (string, error) {
	return within(d, "readlink", name, func() (string, error) {
		dir, _, err := d.walkTo(filepath.Dir(name), unix.S_IFDIR)
		if err != nil {
			return "", err
		}
		defer dir.close()
		return readlink(dir.fd(), filepath.Base(name))
	})
}

// within runs do for as long as the rule allows. A call that hangs in the
// kernel can't be ended: its goroutine lives until the kernel answers, and what
// it then finds is dropped.
func within[T any](d *Dir, op, name string, do func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	d.held.Add(1)
	done := make(chan answer, 1)
	go func() {
		defer d.release()
		value, err := do()
		done <- answer{value, err}
	}()
	timer := time.NewTimer(d.rule.Within)
	defer timer.Stop()
	var a answer
	select {
	case a = <-done:
	case <-timer.C:
		a.err = os.ErrDeadlineExceeded
	}
	if a.err != nil {
		a.err = &fs.PathError{Op: op, Path: name, Err: a.err}
	}
	return a.value, a.err
}

func (d *Dir) readFile(name string, limit int, buf *[]byte, deadline time.Time) (*File, error) {
	fd, stat, public, err := d.open(name, true)
	if err != nil {
		return nil, err
	}
	n, err := readFull(fd, buf, limit+1, deadline, d.rule.Special)
	if err := errors.Join(err, unix.Close(fd)); err != nil {
		return nil, err
	}
	return &File{
		Data:   slices.Clone((*buf)[:min(n, limit)]),
		Cut:    n > limit,
		Owner:  stat.Uid,
		Group:  stat.Gid,
		Mode:   fs.FileMode(stat.Mode & 0o777),
		Public: public && stat.Mode&unix.S_IROTH != 0,
	}, nil
}

// readFull reads until the file ends or limit bytes are there. It goes past
// Go's poller, which would wait for ever for a sysfs file whose driver answers
// "try again".
func readFull(fd int, buf *[]byte, limit int, deadline time.Time, wait bool) (int, error) {
	n := 0
	for n < limit {
		if n == len(*buf) {
			*buf = append(*buf, make([]byte, max(n, 4<<10))...)
		}
		left := time.Until(deadline)
		if left <= 0 {
			return n, os.ErrDeadlineExceeded
		}
		got, err := unix.Read(fd, (*buf)[n:min(len(*buf), limit)])
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN && wait:
			ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			if _, err := unix.Poll(ready, int(left.Milliseconds())+1); err != nil && err != unix.EINTR {
				return n, err
			}
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

// open opens a file, or a folder, for reading, if it is of the kind wanted both
// before and after it is opened. It reports whether everybody may enter the
// folders that it is in.
func (d *Dir) open(name string, file bool) (fd int, stat *unix.Stat_t, public bool, err error) {
	dir, last, stat, err := d.walk(name)
	if err != nil {
		return -1, nil, false, err
	}
	defer dir.close()
	if err := d.rightKind(stat.Mode, file); err != nil {
		return -1, nil, false, err
	}
	fd, err = unix.Openat(dir.fd(), last, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, nil, false, err
	}
	err = unix.Fstat(fd, stat)
	if err == nil {
		err = d.rightKind(stat.Mode, file)
	}
	if err == nil && file {
		err = dir.trust(last, stat)
	}
	if err != nil {
		return -1, nil, false, errors.Join(err, unix.Close(fd))
	}
	return fd, stat, !slices.Contains(dir.closed, true), nil
}

func (d *Dir) rightKind(mode uint32, file bool) error {
	kind := mode & unix.S_IFMT
	switch {
	case !file && kind != unix.S_IFDIR:
		return unix.ENOTDIR
	case !file, kind == unix.S_IFREG, d.rule.Special && (kind == unix.S_IFIFO || kind == unix.S_IFCHR):
		return nil
	case kind == unix.S_IFDIR:
		return fmt.Errorf("%w but a folder", ErrNotRegular)
	}
	return ErrNotRegular
}
