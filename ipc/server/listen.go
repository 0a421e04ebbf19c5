package server

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// ErrInUse means that another process listens on the socket.
var ErrInUse = errors.New("in use by a running daemon")

// SocketOptions say where to listen, and who may connect.
type SocketOptions struct {
	Path  string
	Mode  fs.FileMode // 0 is 0660
	Group *uint32     // nil leaves the group alone
}

// backlog is how many callers may wait to be accepted. The kernel takes less if
// net.core.somaxconn is less, which is 128 before Linux 5.4. A longer queue
// takes in a longer flood while the daemon does not run, but a caller behind
// the flood waits for all of it, some 25 ms for each 1024 connections.
const backlog = 2048

// maxPath is the longest path of a socket that the kernel takes, in bytes.
const maxPath = 107

// Listen makes a socket. It replaces one that nobody listens on any more, but
// never that of a running daemon ([ErrInUse]) or any other file. It makes the
// last element of the directory if that is missing. Nobody can connect before
// mode and group are right.
func Listen(o SocketOptions) (*Socket, error) {
	l, own, err := listen(o)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", o.Path, err)
	}
	return &Socket{options: o, listener: l, own: own}, nil
}

func listen(o SocketOptions) (*listener, fs.FileInfo, error) {
	if len(o.Path) > maxPath {
		return nil, nil, fmt.Errorf("the path has %d bytes, and a socket's may have %d: choose a shorter [socket] path",
			len(o.Path), maxPath)
	}
	dir := filepath.Dir(o.Path)
	if err := makeDir(dir); err != nil {
		return nil, nil, err
	}
	defer lock(dir)()
	if err := removeStale(o.Path); err != nil {
		return nil, nil, err
	}
	return bind(o)
}

// makeDir makes a missing directory, but not its parents: if they are missing
// too, the path is probably mistyped.
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

// lock keeps daemons that start together from removing each other's socket: one
// that is bound and does not listen yet looks stale. It waits for a second at
// most, and goes on without the lock if it can't be had: any user may hold it,
// and not every file system has one.
func lock(dir string) (unlock func()) {
	f, err := os.Open(dir)
	if err != nil {
		return func() {}
	}
	for range 100 {
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != unix.EWOULDBLOCK {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	return func() { _ = f.Close() } // it was only read
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
		return errors.New("a file that is not a socket is in the way: move it, or change [socket] path")
	}
	probe, err := net.DialTimeout("unix", path, time.Second)
	switch {
	case err == nil:
		return errors.Join(ErrInUse, probe.Close())
	case errors.Is(err, unix.EAGAIN): // its backlog is full, so a process listens
		return ErrInUse
	case !errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("find out whether the socket is in use: %w", err)
	}
	if now, err := os.Lstat(path); err != nil || !os.SameFile(found, now) {
		return ErrInUse // another daemon has just replaced it
	}
	return os.Remove(path)
}

// bind makes the socket where nothing is. It listens only once it has its mode
// and group.
func bind(o SocketOptions) (_ *listener, own fs.FileInfo, err error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), o.Path)
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	if err := unix.Fchmod(fd, 0o600); err != nil {
		return nil, nil, os.NewSyscallError("fchmod", err)
	}
	switch err := unix.Bind(fd, &unix.SockaddrUnix{Name: o.Path}); {
	case err == unix.EADDRINUSE:
		return nil, nil, ErrInUse
	case err != nil:
		return nil, nil, os.NewSyscallError("bind", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(o.Path))
		}
	}()
	if own, err = permit(o); err != nil {
		return nil, nil, err
	}
	refuseRights(fd)
	if err := unix.Listen(fd, backlog); err != nil {
		return nil, nil, os.NewSyscallError("listen", err)
	}
	l, err := newListener(f)
	return l, own, err
}

// lstatAlone is os.Lstat for a path in a folder where nobody else can replace it.
func lstatAlone(path string) (fs.FileInfo, error) {
	dir, err := os.Stat(filepath.Dir(path))
	if err == nil && dir.Mode()&0o022 != 0 {
		return nil, errors.New("others may write to the directory, and only procfs would keep them from replacing " +
			"the socket: mount /proc")
	}
	if err != nil {
		return nil, err
	}
	return os.Lstat(path)
}

// permit sets group and mode of the socket, and returns what identifies it. It
// follows no link that somebody may have put in its place.
func permit(o SocketOptions) (fs.FileInfo, error) {
	f, err := os.OpenFile(o.Path, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	name := fmt.Sprintf("/proc/self/fd/%d", f.Fd())
	own, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) { // there is no procfs
		name = o.Path
		own, err = lstatAlone(name)
	}
	if err != nil {
		return nil, err
	}
	if own.Mode().Type() != fs.ModeSocket {
		return nil, ErrInUse
	}
	if o.Group != nil {
		err := os.Chown(name, -1, int(*o.Group))
		if errors.Is(err, fs.ErrPermission) {
			return nil, fmt.Errorf("user %d may not give the socket to group %d: make the user a member of it, "+
				"or set [socket] group = \"\"", os.Geteuid(), *o.Group)
		}
		if err != nil {
			return nil, err
		}
	}
	return own, os.Chmod(name, cmp.Or(o.Mode, 0o660))
}
