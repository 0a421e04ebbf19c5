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

// late returns the error of a call that ran out of time.
func late() error {
	return fmt.Errorf("its file system does not answer: %w", os.ErrDeadlineExceeded)
}

// Patience is the usual time limit of a call.
const Patience = 2 * time.Second

// Stat is os.Stat in limited time: a call that hangs in the kernel can't be ended,
// and goes on alone. The error is then [os.ErrDeadlineExceeded].
func Stat(name string) (fs.FileInfo, error) {
	type outcome struct {
		info fs.FileInfo
		err  error
	}
	done := make(chan outcome, 1)
	go func() {
		info, err := os.Stat(name)
		done <- outcome{info, err}
	}()
	select {
	case o := <-done:
		return o.info, o.err
	case <-time.After(Patience):
		return nil, &fs.PathError{Op: "stat", Path: name, Err: late()}
	}
}

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

	// Way is Trusted for the folders and links on the way: the file itself may be
	// anybody's.
	Way bool

	NoLinks bool          // refuse symbolic links instead of following them
	Special bool          // read FIFOs and character devices too
	Tail    bool          // read the end of a file that is longer than the limit
	Within  time.Duration // limit of each call; [Patience] if it is zero

	// Hung, unless it is nil, counts the calls that ran out of time and have not
	// ended. Each of them keeps a thread.
	Hung *atomic.Int32
	// Allow looks at a file, without its data, before it is read: in procfs and
	// the like, reading alone may change something. Its error is that of Read.
	Allow func(*File) error
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
	top       int   // descriptor of the folder
	topErr    error // why nothing in it is trusted
	topShared bool  // others may write there
	rule      Rule
	user      uint32       // of this process
	held      atomic.Int32 // by its owner and its workers
	timer     *time.Timer
	worker    *worker // nil before the first call, and after one that ran out of time
}

// Open opens a folder. Rule.Trusted judges the folder and what is in it, not
// the way to it.
func Open(folder string, rule Rule) (*Dir, error) {
	if rule.Within == 0 {
		rule.Within = Patience
	}
	d := &Dir{top: -1, rule: rule, user: uint32(os.Geteuid()), timer: time.NewTimer(rule.Within)}
	d.held.Store(1)
	err := d.within("open", folder, func(*worker) (err error) {
		if d.top, err = unix.Open(folder, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
			return err
		}
		var stat unix.Stat_t
		if err := unix.Fstatat(d.top, ".", &stat, 0); err != nil {
			return err
		}
		d.topShared, d.topErr = d.trustFolder(d.top, folder, &stat)
		return nil
	})
	if err != nil {
		d.Close()
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
func (d *Dir) Close() {
	if w := d.worker; w != nil {
		close(w.jobs)
		<-w.done
	}
	d.release()
}

// release closes the folder once nothing uses it any more.
func (d *Dir) release() {
	if d.held.Add(-1) == 0 && d.top >= 0 {
		unix.Close(d.top)
	}
}

// Read reads a file, up to limit bytes.
func (d *Dir) Read(name string, limit int) (*File, error) {
	deadline := time.Now().Add(d.rule.Within)
	var file *File
	err := d.within("read", name, func(w *worker) (err error) {
		file, err = w.read(name, limit, deadline)
		return err
	})
	if err != nil {
		return nil, err
	}
	return file, nil
}

// Names returns the names in a folder, at most limit of them, in no order.
func (d *Dir) Names(name string, limit int) ([]string, error) {
	var names []string
	err := d.within("read", name, func(w *worker) error {
		fd, _, err := w.open(name, false)
		if err != nil {
			return err
		}
		f := os.NewFile(uintptr(fd), name)
		defer f.Close()
		names, err = f.Readdirnames(limit)
		if errors.Is(err, io.EOF) { // an empty folder
			err = nil
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return names, nil
}

// Exists reports whether there is anything behind a path, of whatever kind.
func (d *Dir) Exists(name string) bool {
	return d.within("stat", name, func(w *worker) error {
		dir, _, err := w.walk(name)
		if err == nil {
			dir.leave()
		}
		return err
	}) == nil
}

// Link returns where a symbolic link points.
func (d *Dir) Link(name string) (string, error) {
	var target string
	err := d.within("readlink", name, func(w *worker) error {
		folder, last := split(name)
		dir, _, err := w.walk(folder)
		if err != nil {
			return err
		}
		defer dir.leave()
		if dir.stat.Mode&unix.S_IFMT != unix.S_IFDIR {
			return unix.ENOTDIR
		}
		target, err = readlink(dir.fd(), last)
		return err
	})
	if err != nil {
		return "", err
	}
	return target, nil
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
