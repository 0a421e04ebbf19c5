package hostfile

import (
	"errors"
	"io"
	"io/fs"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// worker is the goroutine in which a Dir's calls run. A call that hangs in the
// kernel can't be ended: then the Dir goes on with another worker, and this one
// ends when the kernel answers.
type worker struct {
	dir  *Dir
	jobs chan func(*worker) error
	done chan error
	buf  []byte        // of the next read
	hung *atomic.Int32 // of the rule, after a call that ran out of time

	stack     dirStack // where the last walk was: the next one often leads near there
	missing   error    // of the last folder that is not there
	missingAt string   // the path up to it
}

// within runs do on the worker for as long as the rule allows. What do wrote may
// be read only if the error is nil.
func (d *Dir) within(op, name string, do func(*worker) error) error {
	w := d.worker
	if w == nil {
		w = &worker{dir: d, stack: dirStack{dir: d}, jobs: make(chan func(*worker) error), done: make(chan error, 1)}
		d.worker = w
		d.held.Add(1)
		go w.run()
	}
	d.timer.Reset(d.rule.Within)
	defer d.timer.Stop()
	w.jobs <- do
	var err error
	select {
	case err = <-w.done:
	case <-d.timer.C:
		err = late()
		if d.rule.Hung != nil {
			d.rule.Hung.Add(1)
			w.hung = d.rule.Hung
		}
		close(w.jobs)
		d.worker = nil
	}
	if err != nil {
		return &fs.PathError{Op: op, Path: name, Err: err}
	}
	return nil
}

func (w *worker) run() {
	for do := range w.jobs {
		w.done <- do(w)
	}
	if w.hung != nil {
		w.hung.Add(-1)
	}
	w.stack.close()
	w.dir.release()
	close(w.done)
}

func (w *worker) read(name string, limit int, deadline time.Time) (*File, error) {
	fd, o, err := w.open(name, true)
	if err != nil {
		return nil, err
	}
	file := &File{
		Owner: o.stat.Uid, Group: o.stat.Gid, Mode: fs.FileMode(o.stat.Mode & 0o777),
		Public: o.public && o.stat.Mode&unix.S_IROTH != 0,
	}
	if allow := w.dir.rule.Allow; allow != nil {
		if err := allow(file); err != nil {
			return nil, errors.Join(err, unix.Close(fd))
		}
	}
	skipped := w.dir.rule.Tail && o.stat.Size > int64(limit)
	if skipped {
		_, err = unix.Seek(fd, o.stat.Size-int64(limit), io.SeekStart)
	}
	n := 0
	if err == nil {
		n, err = w.readFull(fd, limit+1, deadline)
	}
	if err := errors.Join(err, unix.Close(fd)); err != nil {
		return nil, err
	}
	file.Data, file.Cut = slices.Clone(w.buf[:min(n, limit)]), skipped || n > limit
	return file, nil
}

// readFull reads until the file ends or limit bytes are there. It goes past
// Go's poller, which would wait for ever for a sysfs file whose driver answers
// "try again".
func (w *worker) readFull(fd, limit int, deadline time.Time) (int, error) {
	n := 0
	for n < limit {
		if n == len(w.buf) {
			w.buf = append(w.buf, make([]byte, max(n, 4<<10))...)
		}
		left := time.Until(deadline)
		if left <= 0 {
			return n, late()
		}
		got, err := unix.Read(fd, w.buf[n:min(len(w.buf), limit)])
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN && w.dir.rule.Special:
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

// opened is what is known of an open file.
type opened struct {
	stat   unix.Stat_t
	public bool // everybody may enter the folders that it is in
}

// open opens a file, or a folder, for reading, if it is of the kind wanted both
// before and after it is opened.
func (w *worker) open(name string, file bool) (int, *opened, error) {
	dir, last, err := w.walk(name)
	if err != nil {
		return -1, nil, err
	}
	defer dir.leave()
	if err := w.dir.rightKind(dir.stat.Mode, file); err != nil {
		return -1, nil, err
	}
	fd, err := unix.Openat(dir.fd(), last, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, nil, err
	}
	err = unix.Fstat(fd, &dir.stat)
	if err == nil {
		err = w.dir.rightKind(dir.stat.Mode, file)
	}
	if err == nil && file {
		err = dir.trust(last)
	}
	if err != nil {
		return -1, nil, errors.Join(err, unix.Close(fd))
	}
	return fd, &opened{dir.stat, dir.isPublic()}, nil
}
