package server

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// hostile is a socket that takes descriptors, as on a kernel before 6.16, and
// callers who wait there with one each whose last close takes an hour.
func hostile(t *testing.T, callers int) *Socket {
	t.Helper()
	s, err := Listen(SocketOptions{Path: filepath.Join(t.TempDir(), "s")})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.listener.raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSRIGHTS, 1) // older kernels always do
	}); err != nil {
		t.Fatal(err)
	}
	for range callers {
		c, err := net.Dial("unix", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		poison(t, c)
		poison(t, c)
	}
	return s
}

// poison sends a TCP socket whose peer reads nothing of what it has sent.
func poison(t *testing.T, c net.Conn) {
	t.Helper()
	peer, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { peer.Close() })
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	to := &unix.SockaddrInet4{Port: peer.Addr().(*net.TCPAddr).Port, Addr: [4]byte{127, 0, 0, 1}}
	err = errors.Join(unix.Connect(fd, to), unix.SetNonblock(fd, true))
	for err == nil {
		_, err = unix.Write(fd, make([]byte, 64<<10))
	}
	if err != unix.EAGAIN {
		t.Fatal(err)
	}
	linger := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1, Linger: 3600})
	_, _, err = c.(*net.UnixConn).WriteMsgUnix([]byte("GET / HTTP/1.1\r\n"), unix.UnixRights(fd), nil)
	if err := errors.Join(err, linger); err != nil {
		t.Fatal(err)
	}
}

// Callers who were never let in can't delay that the socket is closed.
func TestALongCloseOfTheQueue(t *testing.T) {
	if err := hostile(t, 3).Close(); err != nil {
		t.Error(err)
	}
}

// Nor can they delay that it is made again.
func TestALongCloseOfARemovedSocket(t *testing.T) {
	s := hostile(t, 3)
	if err := os.Remove(s.Addr().String()); err != nil {
		t.Fatal(err)
	}
	again := s.restore(discard(), func() {})
	if again || !s.leadsHere() {
		t.Errorf("it is not made again: %v", s.Gone())
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// Nor can callers delay the end, wherever the daemon is with what they sent.
func TestALongCloseAtTheEnd(t *testing.T) {
	s := hostile(t, 10)
	ctx, cancel := context.WithCancel(t.Context())
	server := New(configFor(newBackend()))
	server.identify = func(int) (Peer, error) {
		cancel() // the first of them is let in
		return person(stranger), nil
	}
	if err := server.Run(ctx, s); err != nil {
		t.Error(err)
	}
}
