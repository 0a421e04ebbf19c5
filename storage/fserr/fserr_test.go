package fserr

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"testing"
)

// Every error that ext4, f2fs, UBIFS, squashfs, overlayfs, NFS, FUSE and a block
// device may give, and some of their calls' own.
func TestMayPass(t *testing.T) {
	const passes, stays = true, false
	for errno, want := range map[syscall.Errno]bool{
		// a full disk, or one that must not be written
		syscall.ENOSPC: passes, syscall.EDQUOT: passes, syscall.EROFS: passes,
		// damage: EUCLEAN and EBADMSG are ext4's, f2fs' and UBIFS' of a wrong checksum
		syscall.EIO: passes, syscall.EUCLEAN: passes, syscall.EBADMSG: passes, syscall.ENODATA: passes,
		syscall.EREMOTEIO: passes,
		// gone: a FUSE server that died, a file that NFS removed, a stick that was pulled out
		syscall.ENOTCONN: passes, syscall.ECONNABORTED: passes, syscall.ESTALE: passes, syscall.ESHUTDOWN: passes,
		syscall.ENOMEDIUM: passes, syscall.ENOLINK: passes,
		// the network of NFS, CIFS or sshfs
		syscall.ETIMEDOUT: passes, syscall.EHOSTDOWN: passes, syscall.EHOSTUNREACH: passes, syscall.ENETDOWN: passes,
		syscall.ENETUNREACH: passes, syscall.ECONNREFUSED: passes, syscall.ECONNRESET: passes, syscall.EPIPE: passes,
		// fscrypt before the folder is unlocked, Kerberos after its ticket
		syscall.ENOKEY: passes, syscall.EKEYEXPIRED: passes, syscall.EKEYREVOKED: passes,
		// the kernel's own lacks
		syscall.EINTR: passes, syscall.EAGAIN: passes, syscall.ENOMEM: passes, syscall.ENOBUFS: passes,
		syscall.EMFILE: passes, syscall.ENFILE: passes,
		// a person must mend the path, the owner or the configuration
		syscall.ENOENT: stays, syscall.EACCES: stays, syscall.EPERM: stays, syscall.ENOTDIR: stays, syscall.EISDIR: stays,
		syscall.ELOOP: stays, syscall.ENAMETOOLONG: stays, syscall.EEXIST: stays, syscall.ENOTEMPTY: stays,
		syscall.EFBIG: stays, syscall.EOVERFLOW: stays, syscall.ETXTBSY: stays, syscall.EILSEQ: stays,
		// the file system lacks it: storage goes another way
		syscall.EINVAL: stays, syscall.ENOSYS: stays, syscall.EOPNOTSUPP: stays, syscall.ENOTTY: stays,
		syscall.EXDEV: stays, syscall.EBUSY: stays, syscall.ENODEV: stays, syscall.ENXIO: stays, syscall.ENOLCK: stays,
		syscall.ESPIPE: stays, syscall.EMLINK: stays, syscall.EBADF: stays, syscall.EFAULT: stays,
	} {
		err := fmt.Errorf("open the state: %w", &fs.PathError{Op: "open", Path: "/x", Err: errno})
		if got := MayPass(err); got != want {
			t.Errorf("%v: %t", errno, got)
		}
	}
	for err, want := range map[error]bool{nil: false, errors.New("x"): false, os.ErrDeadlineExceeded: true} {
		if got := MayPass(err); got != want {
			t.Errorf("%v: %t", err, got)
		}
	}
}

func TestAdvice(t *testing.T) {
	for err, want := range map[error]string{
		syscall.ENOTCONN: mount, &fs.PathError{Err: syscall.ENOSPC}: room, syscall.ENOMEM: "", syscall.EACCES: "", nil: "",
	} {
		if got := Advice(err); got != want {
			t.Errorf("%v: %q", err, got)
		}
	}
}

func TestBadSector(t *testing.T) {
	for err, want := range map[error]bool{
		syscall.EIO: true, syscall.ENODATA: true, syscall.EREMOTEIO: true, syscall.EUCLEAN: true,
		&fs.PathError{Err: syscall.EBADMSG}: true,
		syscall.ENOSPC:                      false, syscall.ESTALE: false, syscall.EACCES: false, nil: false,
	} {
		if got := BadSector(err); got != want {
			t.Errorf("%v: %t", err, got)
		}
	}
}
