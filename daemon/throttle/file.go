package throttle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// File is a [Memory] in a file below /run, which does not survive a reboot. It is
// not safe for concurrent use.
type File struct {
	Path string

	file *os.File    // as Save made it; nil before
	info fs.FileInfo // of file
}

// maxFile is more than any State needs, in bytes.
const maxFile = 64 << 10

// Load is part of [Memory]. It believes only a regular file of the daemon's
// user with one link, in a folder that nobody else may write to.
func (f *File) Load() (State, error) {
	if err := f.checkFolder(); err != nil {
		return State{}, err
	}
	file, err := os.OpenFile(f.Path, os.O_RDWR|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return State{}, err
	}
	defer file.Close()
	fi, err := file.Stat()
	if err != nil {
		return State{}, err
	}
	if sys := stat(fi); !fi.Mode().IsRegular() || sys.Nlink != 1 || int(sys.Uid) != os.Geteuid() {
		return State{}, f.unusable("it is not a regular file of the daemon's user with one link")
	}
	raw, err := io.ReadAll(io.LimitReader(file, maxFile))
	if err != nil {
		return State{}, err
	}
	s, err := unmarshal(raw)
	if err != nil || s.BootID == "" {
		return State{}, f.unusable("it is damaged")
	}
	return s, nil
}

// Save is part of [Memory]. If it can't replace the file it empties it, so that
// the next start does not believe an old state.
func (f *File) Save(s State) error {
	raw, err := marshal(s)
	if err != nil {
		return err
	}
	if f.overwrite(raw) {
		return nil
	}
	if err := f.checkFolder(); err != nil {
		return err
	}
	if err = f.replace(raw); err == nil {
		return nil
	}
	const spoil = os.O_WRONLY | os.O_TRUNC | syscall.O_NOFOLLOW | syscall.O_NONBLOCK
	if old, openErr := os.OpenFile(f.Path, spoil, 0); openErr == nil {
		err = errors.Join(err, old.Close())
	}
	return fmt.Errorf("remember the calls that left: %w", err)
}

// marshal is json.Marshal, and faster for the usual state: nothing shuts the gate.
func marshal(s State) ([]byte, error) {
	if s.Shut|s.Earlier|s.Throttled != 0 || s.Row != 0 || len(s.Unanswered) > 0 {
		return json.Marshal(s)
	}
	return fmt.Appendf(nil, `{"boot_id":%q,"last":%d}`, s.BootID, s.Last), nil
}

// unmarshal is json.Unmarshal, and faster for what marshal mostly writes.
func unmarshal(raw []byte) (s State, err error) {
	boot, last, _ := strings.Cut(strings.TrimPrefix(string(raw), `{"boot_id":"`), `","last":`)
	n, _ := strconv.ParseInt(strings.TrimSuffix(last, "}"), 10, 64)
	usual := State{BootID: boot, Last: time.Duration(n)}
	if same, _ := marshal(usual); bytes.Equal(same, raw) {
		return usual, nil
	}
	return s, json.Unmarshal(raw, &s)
}

// overwrite writes content over that of the file, and reports whether it did: the
// file must be the one that replace made, still at its path, with no other name
// and of the same length. Mostly it is. Each call to the server waits for this: a
// new file takes ten times as long, and wakes up who watches the folder for the
// socket. A kill does not tear a write of less than a page, and what a power cut
// leaves on a disk is of another boot.
func (f *File) overwrite(content []byte) bool {
	if f.file == nil {
		return false
	}
	now, err := os.Lstat(f.Path)
	if err != nil || !os.SameFile(now, f.info) || stat(now).Nlink != 1 || now.Size() != int64(len(content)) {
		return false
	}
	_, err = f.file.WriteAt(content, 0)
	return err == nil
}

func stat(fi fs.FileInfo) *syscall.Stat_t { return fi.Sys().(*syscall.Stat_t) }

func (f *File) replace(content []byte) error {
	temporary := f.Path + ".new"
	file, err := create(temporary)
	if errors.Is(err, fs.ErrExist) { // a kill may have left one
		if err = os.Remove(temporary); err == nil {
			file, err = create(temporary)
		}
	}
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err == nil {
		_, err = file.Write(content)
	}
	if err == nil {
		err = os.Rename(temporary, f.Path)
	}
	if err != nil {
		return errors.Join(err, file.Close(), os.Remove(temporary))
	}
	if f.file != nil {
		err = f.file.Close()
	}
	f.file, f.info = file, info
	return err
}

func create(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
}

// checkFolder returns an error unless the folder belongs to the daemon's user,
// and nobody else may write to it.
func (f *File) checkFolder() error {
	dir := filepath.Dir(f.Path)
	fi, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("look at the folder of the gate's file: %w", err)
	}
	if int(stat(fi).Uid) != os.Geteuid() || fi.Mode().Perm()&0o022 != 0 {
		return f.unusable("others may write to its folder")
	}
	return nil
}

func (f *File) unusable(why string) error {
	return fmt.Errorf("%s can't be believed: %s", f.Path, why)
}
