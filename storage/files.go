package storage

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tvpassd/tvpassd/storage/fserr"
)

// maxFile is more than any state needs, in bytes. A larger file was not written
// by this package, and reading it would fill the memory.
const maxFile = 16 << 20

// advise adds to an error of the file system what a person can do about it.
func advise(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: check its owner and mode", err)
	}
	if advice := fserr.Advice(err); advice != "" {
		return fmt.Errorf("%w: %s", err, advice)
	}
	return err
}

// prepareDir makes the state directory so that it survives a power cut, and
// closes it to others.
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
	if fi.Mode().Perm()&0o077 != 0 {
		// A file system without modes refuses, and so does a full or a
		// read-only one. The modes of the files must do then; doctor warns.
		_ = os.Chmod(dir, 0o700)
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
	if err := syncDir(parent); err != nil {
		return errors.Join(err, os.Remove(dir)) // made again, and synced again, by the next attempt
	}
	return nil
}

// readFile reads a file that may be anything. The error is fs.ErrNotExist if
// there is nothing, and ErrDamaged if it can't be what was written. Any other
// error comes from the file system and says nothing about the content.
func readFile(path string) ([]byte, error) {
	return readInto(path, false)
}

// readInto is readFile. If mapped is true the content is in memory of its own,
// which the caller unmaps.
func readInto(path string, mapped bool) (content []byte, err error) {
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
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	size := int(fi.Size())
	if mapped {
		content, err = unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	}
	if !mapped || err != nil { // the file is empty, or the kernel has no memory maps
		content = make([]byte, size)
	}
	_, err = io.ReadFull(f, content)
	err = errors.Join(err, f.Close())
	if fserr.BadSector(err) {
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return content, err
}

// unreadable reports whether an error of readFile comes from the file system: the
// file is there, and may be sound.
func unreadable(err error) bool {
	_, ok := errors.AsType[syscall.Errno](err)
	return ok && !errors.Is(err, fs.ErrNotExist)
}

// writeFile makes a file and syncs it.
func writeFile(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = synced(f.Sync())
	}
	return errors.Join(err, f.Close())
}

// replace puts a new file in the place of the one at path: a power cut leaves
// either the old file or the new one. build makes and syncs the new file under
// the name that it is given. Some file systems do not let one file replace
// another. There the new content is written into the file at path, but only if
// no such file exists, or if backed is true: another file holds its content.
func replace(path string, backed bool, build func(name string) error) error {
	name := path + ".new"
	if err := removeLeftover(name); err != nil {
		return err
	}
	err := build(name)
	if err == nil {
		err = os.Rename(name, path)
		_, statErr := os.Lstat(path)
		if err != nil && !fserr.MayPass(err) && (backed || errors.Is(statErr, fs.ErrNotExist)) {
			err = copyOver(name, path, err)
		}
	}
	if rmErr := os.Remove(name); !errors.Is(rmErr, fs.ErrNotExist) {
		err = errors.Join(err, rmErr)
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// removeLeftover removes what a power cut may have left of a file that was
// being made.
func removeLeftover(name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// copyOver copies a file over another after a rename failed: a file that is a
// mount point can't be replaced, and on some file systems no file can. If the
// copy fails too, the error is that of the rename.
func copyOver(from, to string, renameErr error) error {
	content, err := readFile(from)
	if err != nil {
		return renameErr
	}
	if err = removeLeftover(to); err == nil {
		err = writeFile(to, content)
	} else {
		err = overwrite(to, content)
	}
	if err != nil {
		return renameErr
	}
	return nil
}

// overwrite gives an existing file this content and syncs it.
func overwrite(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Truncate(int64(len(content)))
	}
	if err == nil {
		err = synced(f.Sync())
	}
	return errors.Join(err, f.Close())
}

// syncFile makes sure that a file can be written and, unless sync is false, that
// it is on the disk: a daemon that was killed may have left its last page in
// memory only.
func syncFile(path string, sync bool) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if sync {
		err = synced(f.Sync())
	}
	return errors.Join(err, f.Close())
}

// syncDir makes the names in a directory survive a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if errors.Is(err, fs.ErrPermission) { // it may be entered, not read
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(synced(d.Sync()), d.Close())
}

// synced ignores the error of a file system that has no sync: it can do no
// better.
func synced(err error) error {
	if fserr.MayPass(err) {
		return err
	}
	return nil
}

// countAside counts the files that were set aside from a path.
func countAside(path string) (n int) {
	all, _ := os.ReadDir(filepath.Dir(path)) // what can't be counted is kept
	for _, de := range all {
		if strings.HasPrefix(de.Name(), filepath.Base(path)+damagedMark) {
			n++
		}
	}
	return n
}

const damagedMark = ".damaged-"

// setAside renames a damaged file and returns its new name. It never
// overwrites: a second file in the same second gets a number.
func setAside(path string, now time.Time) (string, error) {
	base := path + damagedMark + now.UTC().Format("20060102T150405Z")
	for name, n := base, 2; ; name, n = fmt.Sprintf("%s-%d", base, n), n+1 {
		if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
			if err != nil {
				return "", err
			}
			continue
		}
		err := os.Rename(path, name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !fserr.MayPass(err) {
			err = copyOver(path, name, err) // the original stays until it is replaced
		}
		if err != nil {
			return "", err
		}
		return name, syncDir(filepath.Dir(path))
	}
}
