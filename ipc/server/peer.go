package server

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// peerOf asks the kernel who made a connection. What /proc says of the process is no substitute: it may be another one by
// now, and a sandbox hides it.
func peerOf(c net.Conn) (Peer, error) {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return Peer{}, fmt.Errorf("identify the caller: a %T has no peer", c)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return Peer{}, fmt.Errorf("identify the caller: %w", err)
	}
	var peer Peer
	var asked error
	err = raw.Control(func(fd uintptr) { peer, asked = peerOfFD(int(fd)) })
	if err = errors.Join(err, asked); err != nil {
		return Peer{}, fmt.Errorf("identify the caller: %w", err)
	}
	return peer, nil
}

func peerOfFD(fd int) (Peer, error) {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return Peer{}, os.NewSyscallError("getsockopt SO_PEERCRED", err)
	}
	groups, err := peerGroups(fd)
	if err != nil {
		return Peer{}, os.NewSyscallError("getsockopt SO_PEERGROUPS", err)
	}
	return Peer{UID: cred.Uid, GID: cred.Gid, Groups: groups, PID: cred.Pid}, nil
}

// peerGroups asks for the supplementary groups, for which x/sys has no function. Kernels before 4.13 don't know them: there
// the primary group has to do.
func peerGroups(fd int) ([]uint32, error) {
	const each = unsafe.Sizeof(uint32(0))
	groups := make([]uint32, 32)
	for {
		size := uint32(uintptr(len(groups)) * each)
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
		got := int(uintptr(size) / each)
		switch {
		case errno == unix.ENOPROTOOPT:
			return nil, nil
		case errno == unix.ERANGE && got > len(groups): // size is now what it takes
			groups = make([]uint32, got)
		case errno != 0:
			return nil, errno
		default:
			return groups[:got:got], nil
		}
	}
}
