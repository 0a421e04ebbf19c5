package server

import (
	"os"
	"os/user"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// peerOf asks the kernel who made a connection. What /proc says of the process
// will not do: it may be another process by now, and a sandbox hides it.
func peerOf(fd int) (Peer, error) {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return Peer{}, os.NewSyscallError("getsockopt SO_PEERCRED", err)
	}
	groups, err := peerGroups(fd)
	peer := Peer{UID: cred.Uid, GID: cred.Gid, Groups: groups, TooMany: err == unix.ERANGE, PID: cred.Pid}
	switch err {
	case nil, unix.ERANGE:
	case unix.ENOPROTOOPT:
		peer.Groups = listedGroups(cred.Uid)
	default:
		return Peer{}, os.NewSyscallError("getsockopt SO_PEERGROUPS", err)
	}
	return peer, nil
}

// GroupsKnown reports whether the kernel reports the supplementary groups of a
// caller. Kernels before 4.13 do not. There the groups that /etc/group lists
// for the user count, whatever groups the caller's process has.
func GroupsKnown() bool {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return true // a lack of files says nothing about the kernel
	}
	defer unix.Close(ends[0])
	defer unix.Close(ends[1])
	_, err = peerGroups(ends[0])
	return err != unix.ENOPROTOOPT
}

// listedGroups returns the groups that /etc/group lists for a user.
func listedGroups(uid uint32) []uint32 {
	u, err := user.LookupId(strconv.FormatUint(uint64(uid), 10))
	if err != nil {
		return nil // a user who is not listed is a member of nothing
	}
	ids, err := u.GroupIds()
	if err != nil {
		return nil
	}
	var groups []uint32
	for _, id := range ids {
		if gid, err := strconv.ParseUint(id, 10, 32); err == nil {
			groups = append(groups, uint32(gid))
		}
	}
	return groups
}

// maxGroups is how many supplementary groups a caller may have that count. To
// list 65,536 takes milliseconds, and users with a range of group numbers
// (/etc/subgid) can have so many.
const maxGroups = 256

// peerGroups asks for the supplementary groups, for which x/sys has no function.
// The error is ERANGE if there are too many.
func peerGroups(fd int) ([]uint32, error) {
	var all [maxGroups]uint32
	size := uint32(unsafe.Sizeof(all))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERGROUPS,
		uintptr(unsafe.Pointer(&all)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return nil, errno
	}
	groups := make([]uint32, uintptr(size)/unsafe.Sizeof(all[0]))
	copy(groups, all[:])
	return groups, nil
}
