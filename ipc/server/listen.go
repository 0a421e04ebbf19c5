package server

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// ErrInUse says that somebody listens on the socket already.
var ErrInUse = errors.New("in use by a running daemon")

// SocketOptions say where to listen, and who may connect.
type SocketOptions struct {
	Path  string
	Mode  fs.FileMode // 0 is 0660
	Group *uint32     // nil leaves the group alone
}

// maxPath is the longest path of a socket that the kernel takes, in bytes.
const maxPath = 107

// Listen makes a socket. It takes the place of one that nobody listens on any longer, never that of a running daemon (ErrInUse)
// or of any other file. Of its directory the last element is made if need be. Nobody can connect before mode and group are
// as they should be. Closing the listener removes the socket, unless the path leads to another one by then.
func Listen(o SocketOptions) (net.Listener, error) {
	l, err := listen(o)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", o.Path, err)
	}
	return l, nil
}

func listen(o SocketOptions) (net.Listener, error) {
	if len(o.Path) > maxPath {
		return nil, fmt.Errorf("the path has %d bytes, and a socket's may have %d: choose a shorter [socket] path", len(o.Path), maxPath)
	}
	if err := makeDir(filepath.Dir(o.Path)); err != nil {
		return nil, err
	}
	if err := removeStale(o.Path); err != nil {
		return nil, err
	}
	l, name, err := bind(o)
	if err != nil {
		return nil, err
	}
	// A link, for it never replaces anything: whoever came first stays.
	err = os.Link(name, o.Path)
	if errors.Is(err, fs.ErrExist) {
		err = ErrInUse
	}
	err = errors.Join(err, os.Remove(name))
	var own fs.FileInfo
	if err == nil {
		own, err = os.Lstat(o.Path)
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return &socket{Listener: l, path: o.Path, own: own}, nil
}

// makeDir makes a missing directory, but not its parents: they would be a typing error.
func makeDir(dir string) error {
	err := os.Mkdir(dir, 0o755)
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("the directory %s is missing, and so is its parent: make it, or correct [socket] path", dir)
	case err != nil:
		return fmt.Errorf("make the directory: %w", err)
	}
	return os.Chmod(dir, 0o755) // whatever the umask: players must get through
}

// removeStale removes a socket that nobody listens on.
func removeStale(path string) error {
	found, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if found.Mode().Type() != fs.ModeSocket {
		return errors.New("a file that is no socket is in the way: move it, or change [socket] path")
	}
	probe, err := net.DialTimeout("unix", path, time.Second)
	switch {
	case err == nil:
		return errors.Join(ErrInUse, probe.Close())
	case errors.Is(err, unix.EAGAIN): // its backlog is full: somebody listens
		return ErrInUse
	case !errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("find out whether the socket is in use: %w", err)
	}
	if now, err := os.Lstat(path); err != nil || !os.SameFile(found, now) {
		return ErrInUse // it has just been replaced by another daemon's
	}
	return os.Remove(path)
}

// bind makes a socket under a temporary name beside its path. It listens only once it has its mode and group.
func bind(o SocketOptions) (l net.Listener, name string, err error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, "", os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), o.Path)
	defer f.Close() // FileListener has a copy
	for range 8 {
		name = temporary(o.Path)
		if err = unix.Bind(fd, &unix.SockaddrUnix{Name: name}); err != unix.EADDRINUSE {
			break
		}
	}
	if err != nil {
		return nil, "", &fs.PathError{Op: "bind", Path: filepath.Dir(o.Path), Err: err}
	}
	if err = permit(name, o); err == nil {
		err = os.NewSyscallError("listen", unix.Listen(fd, unix.SOMAXCONN))
	}
	if err == nil {
		l, err = net.FileListener(f)
	}
	if err != nil {
		return nil, "", errors.Join(err, os.Remove(name))
	}
	return l, name, nil
}

// temporary makes up a hidden name that is no longer than the kernel takes where path isn't.
func temporary(path string) string {
	dir := filepath.Dir(path)
	name := ".tv" + rand.Text()[:8]
	room := maxPath - len(dir) - len("/")
	return filepath.Join(dir, name[max(len(name)-room, 0):])
}

func permit(name string, o SocketOptions) error {
	if o.Group != nil {
		err := os.Chown(name, -1, int(*o.Group))
		if errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("user %d may not give the socket to group %d: make the user a member of it, or set [socket] group = \"\"",
				os.Geteuid(), *o.Group)
		}
		if err != nil {
			return err
		}
	}
	return os.Chmod(name, cmp.Or(o.Mode, 0o660))
}

// socket removes its path when it is closed.
type socket struct {
	net.Listener
	path string
	own  fs.FileInfo
	once sync.Once
	err  error // of the first Close
}

// Addr is the path that callers use; the kernel remembers the temporary name.
func (s *socket) Addr() net.Addr { return &net.UnixAddr{Name: s.path, Net: "unix"} }

func (s *socket) Close() error {
	s.once.Do(func() {
		if now, err := os.Lstat(s.path); err == nil && os.SameFile(s.own, now) {
			s.err = os.Remove(s.path)
		}
		s.err = errors.Join(s.err, s.Listener.Close())
	})
	return s.err
}
