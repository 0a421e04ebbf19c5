package service

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/tvpassd/tvpassd/device/hostfile"
)

// Folder is a directory that the daemon needs before it can give up root.
type Folder struct {
	Path string // absolute
	Mode uint32 // of a directory that is made
	// HandOver gives an existing directory of root's to the account, with the
	// regular files in it: an earlier version of the service ran as root.
	HandOver bool
}

// Make makes a missing directory, as the account's, and its missing parents, as
// root's. It changes nothing where another user decides what is there: the
// daemon itself makes what it can there.
func (f Folder) Make(a Account) error {
	err := f.make(a)
	if errors.Is(err, hostfile.ErrUntrusted) || errors.Is(err, unix.EEXIST) { // somebody else has just made it
		return nil
	}
	if err != nil {
		return fmt.Errorf("make the directory %s: %w", f.Path, err)
	}
	return nil
}

func (f Folder) make(a Account) error {
	if !filepath.IsAbs(f.Path) {
		return errors.New("the path is not absolute")
	}
	place, err := hostfile.Reach(f.Path)
	if err != nil {
		return err
	}
	dir := place.FD
	defer func() { unix.Close(dir) }()
	for i, name := range place.Missing {
		uid, gid, mode := 0, 0, uint32(0o755)
		if i == len(place.Missing)-1 {
			uid, gid, mode = a.UID, a.GID, f.Mode
		}
		made, err := makeIn(dir, name, mode, uid, gid)
		if err != nil {
			return err
		}
		unix.Close(dir)
		dir = made
	}
	var stat unix.Stat_t
	if err := unix.Fstatat(dir, ".", &stat, 0); err != nil {
		return err
	}
	if f.HandOver && stat.Uid == 0 && !place.Shared && len(place.Missing) == 0 {
		return handOver(dir, a)
	}
	return nil
}

// makeIn makes a directory in another one and returns it open.
func makeIn(dir int, name string, mode uint32, uid, gid int) (int, error) {
	if err := unix.Mkdirat(dir, name, 0o700); err != nil {
		return -1, err
	}
	made, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	err = unix.Fchown(made, uid, gid)
	if err == nil || lacksOwners(err) {
		err = unix.Fchmod(made, mode) // whatever the umask
	}
	if err != nil && !lacksOwners(err) {
		return -1, errors.Join(err, unix.Close(made))
	}
	return made, nil
}

// lacksOwners reports whether a file system, such as vfat, has neither owners nor
// modes.
func lacksOwners(err error) bool {
	return errors.Is(err, unix.EPERM) || errors.Is(err, unix.EOPNOTSUPP)
}

// harmless are names that show nothing about whose a directory is: what is in the
// root of a file system or keeps a directory in an image, and the gate's file.
var harmless = []string{"lost+found", ".gitkeep", ".keep", ".empty", "gate", "gate.new"}

// handOver gives a directory of root's, and the regular files in it, to the
// account, if its content shows that it is tvpassd's: state_dir may name /etc
// by mistake. The directory itself goes last: until then nobody else can change
// what is in it.
func handOver(dir int, a Account) error {
	fd, err := unix.Openat(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), "") // for the names; fd stays usable until f is closed
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return err
	}
	ours := func(file string) bool { return strings.HasPrefix(file, name+".") }
	foreign := func(file string) bool { return !slices.Contains(harmless, file) }
	if slices.ContainsFunc(names, foreign) && !slices.ContainsFunc(names, ours) {
		return nil
	}
	for _, name := range names {
		if err := handOverFile(fd, name, a); err != nil {
			return fmt.Errorf("give %s to %s: %w", name, a.Name, err)
		}
	}
	if err := unix.Fchown(fd, a.UID, a.GID); err != nil && !lacksOwners(err) {
		return fmt.Errorf("give it to %s: %w", a.Name, err)
	}
	return nil
}

// handOverFile gives one file of root's to the account. It skips whatever is
// not a regular file with one name.
func handOverFile(dir int, name string, a Account) error {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return err
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFREG || stat.Nlink != 1 || stat.Uid != 0 {
		return nil
	}
	if err := unix.Fchown(fd, a.UID, a.GID); err != nil && !lacksOwners(err) {
		return err
	}
	return nil
}
