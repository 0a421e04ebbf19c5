package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// lockTimeout is how long Open waits for another process to release the
	// state directory: a service manager may start the new daemon while the old
	// one writes its last page.
	lockTimeout = 2 * time.Second
	lockPoll    = 50 * time.Millisecond

	// lockName is the FIFO that stands in for the directory's lock.
	lockName = "tvpassd.lock"
)

// dirLock holds a state directory until it is closed, or the process ends.
type dirLock struct {
	dir     *os.File
	standIn *os.File // nil: the directory itself is locked
}

// isAt reports whether a path leads to the directory that is held. What can't be
// known now, because the disk fails, is left to the write that follows.
func (l *dirLock) isAt(path string) bool {
	held, err := l.dir.Stat()
	now, nowErr := os.Stat(path)
	return err != nil || nowErr != nil && !errors.Is(nowErr, fs.ErrNotExist) || nowErr == nil && os.SameFile(held, now)
}

// Close releases the directory.
func (l *dirLock) Close() error {
	err := l.dir.Close()
	if l.standIn != nil {
		err = errors.Join(err, l.standIn.Close())
	}
	return err
}

// lockDir takes the state directory for this process. The error is ErrInUse if
// another process has it and keeps it.
func lockDir(dir string) (*dirLock, error) {
	for waited := time.Duration(0); ; waited += lockPoll {
		l, err := tryLockDir(dir, unix.LOCK_EX)
		if !errors.Is(err, ErrInUse) || waited >= lockTimeout {
			return l, err
		}
		time.Sleep(lockPoll)
	}
}

// tryLockDir takes the state directory without waiting. LOCK_SH is for those
// who only read: they may be several.
func tryLockDir(dir string, how int) (*dirLock, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open the state directory: %w", err)
	}
	l := &dirLock{dir: d}
	for {
		err = unix.Flock(int(d.Fd()), how|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil && !errors.Is(err, unix.EWOULDBLOCK) {
		l.standIn, err = lockWithoutFlock(d, how == unix.LOCK_EX)
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, errors.Join(fmt.Errorf("%s: %w", dir, ErrInUse), l.Close())
	}
	return l, nil
}

// lockWithoutFlock locks a directory where the kernel or the file system has no
// flock. A FIFO in it is full while somebody holds the lock: it belongs to the
// directory and so excludes every process of this kernel, whatever its
// namespaces. A file system without FIFOs, such as vfat, leaves a Unix socket
// that is named by the directory's device and inode. Its names are those of the
// network namespace: a daemon in another one is not excluded, and any user in
// the same one can take the name before the daemon does. The error is
// EWOULDBLOCK or nil: without any of these the directory is used unlocked.
func lockWithoutFlock(dir *os.File, create bool) (*os.File, error) {
	file, err := fillFIFO(filepath.Join(dir.Name(), lockName), create)
	if err == nil || errors.Is(err, unix.EWOULDBLOCK) {
		return file, err
	}
	file, err = bindName(dir)
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, unix.EWOULDBLOCK
	}
	return file, nil
}

// fillFIFO takes a FIFO by filling it. The kernel drops the content when the
// last process closes the FIFO.
func fillFIFO(path string, create bool) (*os.File, error) {
	if create {
		_ = unix.Mkfifo(path, 0o600) // it may be there already; else opening it fails
	}
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	size, err := unix.FcntlInt(uintptr(fd), unix.F_SETPIPE_SZ, 1) // one page is the least; a write of that is atomic
	if err == nil {
		_, err = unix.Write(fd, make([]byte, size))
	}
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), path), nil
}

// bindName takes an abstract socket's name.
func bindName(dir *os.File) (*os.File, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("@tvpassd-state-%x-%x", st.Dev, st.Ino)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: name}); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), name), nil
}
