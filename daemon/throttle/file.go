package throttle

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// File is a [Memory] in a file below /run, which does not survive a reboot.
type File string

// maxFile is more than any State needs, in bytes.
const maxFile = 64 << 10

// Load is part of [Memory]. It believes only a regular file of the daemon's
// user with one link, in a folder that nobody else may write to.
func (f File) Load() (State, error) {
	if err := f.checkFolder(); err != nil {
		return State{}, err
	}
	file, err := os.OpenFile(string(f), os.O_RDWR|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return State{}, err
	}
	defer file.Close()
	fi, err := file.Stat()
	if err != nil {
		return State{}, err
	}
	sys, ok := fi.Sys().(*syscall.Stat_t)
	if !fi.Mode().IsRegular() || !ok || sys.Nlink != 1 || int(sys.Uid) != os.Geteuid() {
		return State{}, f.unusable("it is not a regular file of the daemon's user with one link")
	}
	raw, err := io.ReadAll(io.LimitReader(file, maxFile))
	if err != nil {
		return State{}, err
	}
	var s State
	if json.Unmarshal(raw, &s) != nil || s.BootID == "" {
		return State{}, f.unusable("it is damaged")
	}
	return s, nil
}

// Save is part of [Memory]. If it can't replace the file it empties it, so that
// the next start does not believe an old state.
func (f File) Save(s State) error {
	if err := f.checkFolder(); err != nil {
		return err
	}
	raw, err := json.Marshal(s)
	if err == nil {
		err = f.replace(raw)
	}
	if err == nil {
		return nil
	}
	const spoil = os.O_WRONLY | os.O_TRUNC | syscall.O_NOFOLLOW | syscall.O_NONBLOCK
	if old, openErr := os.OpenFile(string(f), spoil, 0); openErr == nil {
		err = errors.Join(err, old.Close())
	}
	return fmt.Errorf("remember the calls that left: %w", err)
}

// replace makes system calls of its own: each call to the server waits for them,
// and package os makes twice as many.
func (f File) replace(content []byte) error {
	temporary := string(f) + ".new"
	fd, err := create(temporary)
	if err == syscall.EEXIST { // a kill may have left one
		if err = os.Remove(temporary); err == nil {
			fd, err = create(temporary)
		}
	}
	if err != nil {
		return fmt.Errorf("create %s: %w", temporary, err)
	}
	n, err := syscall.Write(fd, content)
	if err == nil && n < len(content) {
		err = io.ErrShortWrite
	}
	if err = errors.Join(err, syscall.Close(fd)); err == nil {
		err = syscall.Rename(temporary, string(f))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", temporary, err), os.Remove(temporary))
	}
	return nil
}

func create(name string) (fd int, err error) {
	const flags = syscall.O_WRONLY | syscall.O_CREAT | syscall.O_EXCL | syscall.O_NOFOLLOW | syscall.O_CLOEXEC
	for {
		if fd, err = syscall.Open(name, flags, 0o600); err != syscall.EINTR {
			return fd, err
		}
	}
}

// checkFolder returns an error unless the folder belongs to the daemon's user,
// and nobody else may write to it.
func (f File) checkFolder() error {
	dir := filepath.Dir(string(f))
	fi, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("look at the folder of the gate's file: %w", err)
	}
	sys, ok := fi.Sys().(*syscall.Stat_t)
	if !ok || int(sys.Uid) != os.Geteuid() || fi.Mode().Perm()&0o022 != 0 {
		return f.unusable("others may write to its folder")
	}
	return nil
}

func (f File) unusable(why string) error {
	return fmt.Errorf("%s can't be believed: %s", string(f), why)
}
