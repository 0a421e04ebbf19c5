// Package fserr judges the errors of file systems.
package fserr

import (
	"errors"
	"os"
	"syscall"
)

const (
	room    = "free some space"
	check   = "its file system is damaged: check it (fsck)"
	disk    = "its disk is failing, see dmesg"
	mount   = "its file system is no longer there: mount it again"
	network = "its server can't be reached: check the network"
	key     = "unlock it: its key is missing or has expired"
)

// passing lists the errors that may pass by themselves, or once a person has
// mended the disk, with what to do: the same call may succeed later. Any other
// error means that this file, file system or kernel can't do what was asked. That
// includes errors which may also pass, but mean a lack in the first place: EBUSY
// (a mount point can't be replaced), ENODEV (no memory maps), ENOLCK (no locks),
// EINVAL, EACCES and EPERM.
var passing = [...]struct {
	errno  syscall.Errno
	advice string
}{
	{syscall.ENOSPC, room},
	{syscall.EDQUOT, room + ", or raise the quota"},
	{syscall.EROFS, "mount its file system writable"},
	{syscall.EIO, disk},
	{syscall.ENODATA, disk}, // a sector can't be read
	{syscall.EREMOTEIO, disk},
	{syscall.EUCLEAN, check},
	{syscall.EBADMSG, check},
	{syscall.ESTALE, mount},
	{syscall.ENOTCONN, mount}, // FUSE: its server has ended
	{syscall.ECONNABORTED, mount},
	{syscall.ESHUTDOWN, mount},
	{syscall.ENOMEDIUM, mount},
	{syscall.ENOLINK, mount},
	{syscall.ETIMEDOUT, network},
	{syscall.EHOSTDOWN, network},
	{syscall.EHOSTUNREACH, network},
	{syscall.ENETDOWN, network},
	{syscall.ENETUNREACH, network},
	{syscall.ECONNREFUSED, network},
	{syscall.ECONNRESET, network},
	{syscall.EPIPE, network},
	{syscall.ENOKEY, key},
	{syscall.EKEYEXPIRED, key},
	{syscall.EKEYREVOKED, key},
	{syscall.EINTR, ""},
	{syscall.EAGAIN, ""},
	{syscall.ENOMEM, ""},
	{syscall.ENOBUFS, ""},
	{syscall.EMFILE, ""},
	{syscall.ENFILE, ""},
}

// MayPass reports whether an error may pass by itself, or once a person has mended
// the disk. So may a file system that does not answer ([os.ErrDeadlineExceeded]).
func MayPass(err error) bool {
	_, may := find(err)
	return may || errors.Is(err, os.ErrDeadlineExceeded)
}

// BadSector reports whether an error says that a part of a file can't be read
// from its disk, or is damaged there.
func BadSector(err error) bool {
	advice, _ := find(err)
	return advice == disk || advice == check
}

// Advice returns what a person can do about an error; "" if that is unknown.
func Advice(err error) string {
	advice, _ := find(err)
	return advice
}

func find(err error) (advice string, found bool) {
	for i := range passing {
		if errors.Is(err, passing[i].errno) {
			return passing[i].advice, true
		}
	}
	return "", false
}
