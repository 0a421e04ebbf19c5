package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	// lockTimeout is how long Open waits for another process to let go of the state directory: a service manager may start
	// the new daemon while the old one writes its last page.
	lockTimeout = 2 * time.Second
	lockPoll    = 50 * time.Millisecond

	// maxFile is more than any state needs, in bytes; what is larger is no state of ours and would fill the memory.
	maxFile = 16 << 20
)

// prepareDir makes the state directory, so that it survives a power cut, and closes it to others.
func prepareDir(dir string) error {
	if err := makeDir(dir); err != nil {
		return fmt.Errorf("make the state directory: %w", err)
	}
	fi, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("look at the state directory: %w", err)
	}
	if !fi.IsDir() {
		return fmt.Errorf("state_dir %s is not a directory", dir)
	}
	if fi.Mode().Perm()&0o077 == 0 {
		return nil
	}
	// On a disk that has become read-only the modes of the files must do.
	if err := os.Chmod(dir, 0o700); err != nil && !errors.Is(err, syscall.EROFS) {
		return fmt.Errorf("close the state directory to others: %w", err)
	}
	return nil
}

// makeDir is os.MkdirAll with every new name synced.
func makeDir(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(dir)
	if err := makeDir(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	return syncDir(parent)
}

// lockDir takes the state directory for this process until the file is closed.
func lockDir(dir string) (*os.File, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open the state directory: %w: check its owner and mode", err)
	}
	for waited := time.Duration(0); ; waited += lockPoll {
		err = syscall.Flock(int(d.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil || !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return d, nil // where a file system has no locks it does without
		}
		if waited >= lockTimeout {
			return nil, errors.Join(fmt.Errorf("%s: %w", dir, ErrInUse), d.Close())
		}
		time.Sleep(lockPoll)
	}
}

// readFile reads a file that may be anything. The error is fs.ErrNotExist where there is nothing, and ErrDamaged where
// it can't be what was written; any other is the file system's, and says nothing about the file.
func readFile(path string) ([]byte, error) {
	fi, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(path); err == nil {
			return nil, fmt.Errorf("%w: it is a link to nothing", ErrDamaged)
		}
	}
	switch {
	case errors.Is(err, syscall.ELOOP):
		return nil, fmt.Errorf("%w: it is a link to itself", ErrDamaged)
	case err != nil:
		return nil, err
	case !fi.Mode().IsRegular(): // opening a pipe would wait for a writer
		return nil, fmt.Errorf("%w: it is not a regular file", ErrDamaged)
	case fi.Size() > maxFile:
		return nil, fmt.Errorf("%w: it has %d bytes", ErrDamaged, fi.Size())
	}
	raw, err := os.ReadFile(path)
	if errors.Is(err, syscall.EIO) {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return raw, err
}

// writeFile makes a file and syncs it.
func writeFile(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// advise adds to an error of the file system what a person can do.
func advise(err error) error {
	var sys syscall.Errno
	if errors.As(err, &sys) {
		return fmt.Errorf("%w: check owner, mode and free space", err)
	}
	return err
}

// replace puts the file that build makes and syncs, under the name it is given, in the place of the file at path: after
// a power cut there is either the old or the new.
func replace(path string, build func(name string) error) error {
	name := path + ".new"
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) { // a power cut may have left one
		return err
	}
	err := build(name)
	if err == nil {
		err = os.Rename(name, path)
	}
	if err != nil {
		if rmErr := os.Remove(name); !errors.Is(rmErr, fs.ErrNotExist) {
			err = errors.Join(err, rmErr)
		}
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncFile makes sure that a file is on the disk and can be written: a daemon that was killed may have left its last
// page in memory only.
func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// syncDir makes the names in a directory survive a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) { // a file system without it
		err = nil
	}
	return errors.Join(err, d.Close())
}

// setAside renames a damaged file and returns its new name. It never overwrites: two of one second get a number.
func setAside(path string, now time.Time) (string, error) {
	base := path + ".damaged-" + now.UTC().Format("20060102T150405Z")
	for name, n := base, 2; ; name, n = fmt.Sprintf("%s-%d", base, n), n+1 {
		if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
			if err != nil {
				return "", err
			}
			continue
		}
		if err := os.Rename(path, name); err != nil {
			return "", err
		}
		return name, syncDir(filepath.Dir(path))
	}
}
