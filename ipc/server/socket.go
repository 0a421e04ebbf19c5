package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tvpassd/tvpassd/ipc"
)

// Socket is a listening Unix socket with a path. Closing it removes the path,
// unless that leads to another socket by then.
type Socket struct {
	options SocketOptions
	passed  bool // made by the service manager

	mu       sync.Mutex // guards what follows
	listener *listener
	own      fs.FileInfo // of the path, as long as it leads here
	gone     error       // why players can't find the socket
	closed   bool
}

// Passed returns a socket that the service manager made and passed, in the place
// of the listener, which it closes. Path, mode and group are the manager's, and
// closing the socket leaves its path alone.
func Passed(passed net.Listener) (*Socket, error) {
	path := passed.Addr().String()
	l, err := listenerOf(passed)
	if err != nil {
		return nil, fmt.Errorf("listen on %s, which the service manager passed: %w", path, err)
	}
	own, _ := os.Lstat(path) // if it is missing, Keep says so
	return &Socket{options: SocketOptions{Path: path}, passed: true, listener: l, own: own}, nil
}

// Gone returns why players can't find the socket at its path, or nil.
func (s *Socket) Gone() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gone
}

// Addr returns the path.
func (s *Socket) Addr() net.Addr { return &net.UnixAddr{Name: s.options.Path, Net: "unix"} }

// accept waits for a connection and returns its descriptor.
func (s *Socket) accept() (int, error) {
	for {
		s.mu.Lock()
		l := s.listener
		s.mu.Unlock()
		fd, err := l.accept()
		if err == nil || !s.replaced(l) {
			return fd, err
		}
	}
}

// try returns a connection that waits, if there is one.
func (s *Socket) try() (fd int, ok bool) {
	s.mu.Lock()
	l := s.listener
	s.mu.Unlock()
	return l.try()
}

// replaced reports whether l was closed because another listener took its place.
func (s *Socket) replaced(l *listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listener != l && !s.closed
}

// Close stops listening.
func (s *Socket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	var err error
	if !s.passed && s.leadsHere() {
		err = os.Remove(s.options.Path)
	}
	return errors.Join(err, s.listener.close())
}

// leadsHere reports whether the path leads to this socket. While the socket is
// open the kernel gives its inode to no other file.
func (s *Socket) leadsHere() bool {
	now, err := os.Lstat(s.options.Path)
	return err == nil && s.own != nil && os.SameFile(s.own, now)
}

// Keep listens again when the path is removed or replaced, until ctx is done.
// It can't make a socket again that the service manager passed; then
// [Socket.Gone] says who can. It calls changed when Gone changes. It sleeps
// until something happens in the directory, or is mounted. An abstract socket,
// whose name begins with @, has none.
func (s *Socket) Keep(ctx context.Context, log *slog.Logger, changed func()) error {
	if strings.HasPrefix(s.options.Path, "@") {
		return nil
	}
	dir := filepath.Dir(s.options.Path)
	late := sync.OnceFunc(func() {
		log.Warn("a removal of the socket is noticed late: inotify fails", "code", ipc.WarnSocketRemoved)
	})
	inotify, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	for ; err != nil; inotify, err = unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK) {
		late()
		select {
		case <-time.After(time.Minute):
			s.restore(log, changed)
		case <-ctx.Done():
			return nil
		}
	}
	folder := &sleeper{File: os.NewFile(uintptr(inotify), "inotify")}
	defer folder.Close()
	defer context.AfterFunc(ctx, folder.wake)()
	defer followMounts(folder.wake)()
	events := make([]byte, 512) // one fits, and the others are read next
	for retry := time.Second; ctx.Err() == nil; {
		folder.until(time.Time{})
		// The directory may be another one by now. Adding the same one again changes nothing.
		_, watching := unix.InotifyAddWatch(inotify, dir, unix.IN_DELETE|unix.IN_MOVED_FROM|unix.IN_MOVED_TO|
			unix.IN_DELETE_SELF|unix.IN_MOVE_SELF|unix.IN_ONLYDIR)
		if watching != nil && !errors.Is(watching, fs.ErrNotExist) { // the directory may be gone, too
			late()
		}
		if again := s.restore(log, changed); again || watching != nil {
			folder.until(time.Now().Add(retry))
			retry = min(2*retry, time.Minute)
		} else {
			retry = time.Second
		}
		_, err := folder.Read(events)
		folder.woken.Store(false)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("watch the directory of the socket: %w", err)
		}
	}
	return nil
}

// sleeper is a file on which Read waits until something happens.
type sleeper struct {
	*os.File
	woken atomic.Bool
}

// wake ends the Read that waits, or the next one.
func (s *sleeper) wake() {
	s.woken.Store(true)
	_ = s.SetReadDeadline(time.Unix(1, 0)) // Read has the error
}

// until sets when the next Read ends, unless wake ended it. The zero Time means
// never.
func (s *sleeper) until(t time.Time) {
	_ = s.SetReadDeadline(t)
	if s.woken.Load() {
		s.wake()
	}
}

// followMounts calls f after each mount and unmount, until the returned function
// is called: a mount over a directory is not an event in it. The kernel reports
// them on its table of mounts. Without procfs nobody does.
func followMounts(f func()) (stop func()) {
	table, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return func() {}
	}
	var follower sync.WaitGroup
	follower.Go(func() {
		conn, err := table.SyscallConn()
		for err == nil {
			waited := false
			err = conn.Read(func(uintptr) bool { // is called again once something has happened
				if waited {
					return true
				}
				f() // of what happened while nobody waited
				waited = true
				return false
			})
		}
	})
	return func() {
		_ = table.Close() // ends the wait
		follower.Wait()
	}
}

// restore listens again if the path does not lead here, and reports whether it
// must be called again later.
func (s *Socket) restore(log *slog.Logger, changed func()) (again bool) {
	s.mu.Lock()
	was, old := s.gone, s.listener
	defer func() {
		replaced := s.listener != old
		s.mu.Unlock()
		if replaced {
			_ = old.close() // nobody can find it any more
		}
	}()
	switch {
	case s.closed || s.leadsHere():
		s.gone = nil
	case s.passed:
		s.gone = fmt.Errorf("the socket %s was removed, and players can't find it: it is systemd's, so make it again with "+
			"`systemctl restart tvpassd.socket tvpassd.service`", s.options.Path)
	default:
		l, own, err := listen(s.options)
		if err != nil {
			s.gone = fmt.Errorf("the socket %s was removed, and can't be made again: %w", s.options.Path, err)
			break
		}
		s.listener, s.own, s.gone = l, own, nil
		log.Warn("the socket was removed: it was made again", "code", ipc.WarnSocketRemoved, "socket", s.options.Path)
	}
	if fmt.Sprint(was) != fmt.Sprint(s.gone) {
		if s.gone != nil {
			log.Error("players can't find the socket", "code", ipc.WarnSocketRemoved, "err", s.gone)
		}
		changed()
	}
	return s.gone != nil && !s.passed
}
