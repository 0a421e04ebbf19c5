package server

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// listener is a listening socket that hands out bare descriptors. What net does
// with a connection costs as much as making one, and most of a flood is closed
// at once.
type listener struct {
	file *os.File
	raw  syscall.RawConn
}

// newListener returns a listener for a socket that does not block.
func newListener(f *os.File) (*listener, error) {
	if err := f.SetReadDeadline(time.Time{}); err != nil { // the runtime could not register it
		return nil, err
	}
	raw, err := f.SyscallConn()
	return &listener{f, raw}, err
}

// listenerOf returns a listener in the place of l. It makes the queue as long
// as that of our own sockets: the service manager's is shorter.
func listenerOf(l net.Listener) (*listener, error) {
	defer l.Close()
	u, ok := l.(*net.UnixListener)
	if !ok {
		return nil, fmt.Errorf("a %T is not a Unix socket", l)
	}
	u.SetUnlinkOnClose(false)
	f, err := u.File()
	if err != nil {
		return nil, err
	}
	made, err := newListener(f)
	if err == nil {
		err = made.raw.Control(func(fd uintptr) {
			refuseRights(int(fd))
			_ = unix.Listen(int(fd), backlog)
		})
	}
	return made, err
}

// accept waits for a connection. Its descriptor blocks until it is a net.Conn. The
// error of a closed listener is [os.ErrClosed].
func (l *listener) accept() (fd int, err error) {
	closed := l.raw.Read(func(listening uintptr) bool {
		for err = unix.EINTR; err == unix.EINTR; {
			fd, _, err = syscall.Accept4(int(listening), unix.SOCK_CLOEXEC) // x/sys' adds 20 kB
		}
		return err != unix.EAGAIN
	})
	if closed != nil { // the only reason, without a deadline
		return -1, os.ErrClosed
	}
	return fd, os.NewSyscallError("accept4", err)
}

// try returns a connection that waits, if there is one.
func (l *listener) try() (fd int, ok bool) {
	var err error
	closed := l.raw.Read(func(listening uintptr) bool {
		fd, _, err = syscall.Accept4(int(listening), unix.SOCK_CLOEXEC)
		return true
	})
	return fd, closed == nil && err == nil
}

// close turns away the callers who wait. What they have sent is closed, too.
func (l *listener) close() error { return hurry(nil, l.file.Close) }

// connOf makes a net.Conn of a descriptor, which it closes. If that fails, such as
// because no descriptor is left, it answers with the refusal, and closes the
// connection later.
func (d *door) connOf(fd int) (net.Conn, error) {
	f := os.NewFile(uintptr(fd), "")
	c, err := net.FileConn(f)
	if err != nil {
		_, _ = syscall.SendmsgN(fd, d.leaving.answer(), nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		d.closeInside(f.Close)
		return nil, err
	}
	_ = f.Close() // c has a copy
	return c, nil
}

// patient accepts connections and waits out every error that may pass, such as a
// lack of memory or of files.
type patient struct {
	accept  func() (fd int, err error)
	log     *slog.Logger
	done    <-chan struct{} // ends a wait
	failing bool            // the last Accept failed
}

// What the kernel answers for a socket that will never accept anything.
var hopeless = []error{unix.EBADF, unix.EINVAL, unix.ENOTSOCK, unix.EOPNOTSUPP, unix.EFAULT, unix.ENOSYS}

// next returns an error only if the socket is closed or out of order. The first
// error of several in a row is logged, and so is their end.
func (p *patient) next() (fd int, err error) {
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		fd, err := p.accept()
		if err == nil {
			if p.failing {
				p.log.Info("connections are accepted again")
			}
			p.failing = false
			return fd, nil
		}
		if errors.Is(err, os.ErrClosed) || slices.ContainsFunc(hopeless,
			func(e error) bool { return errors.Is(err, e) }) {
			return -1, err
		}
		if !p.failing {
			p.log.Warn("no connection can be accepted for now", "code", "accept_failed", "err", err)
		}
		p.failing = true
		select {
		case <-time.After(pause):
		case <-p.done:
			return -1, os.ErrClosed
		}
	}
}
