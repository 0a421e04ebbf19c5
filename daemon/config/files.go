package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/tvpassd/tvpassd/device/hostfile"
)

// The largest files that are read, in bytes. A TOML file has room for a hundred
// apps with their software statements; real statements are shorter than 2 KiB,
// and the roots of a whole system take 250 KiB.
const (
	maxFile      = 256 << 10
	maxStatement = 64 << 10
	maxRoots     = 1 << 20
)

// maxNames is how many names of one user in apps.d are looked at, other than root's.
const maxNames = 128

// maxUserBytes is how much TOML and software statements one user other than root may
// have in apps.d, in bytes: it takes time to parse, and memory.
const maxUserBytes = 1 << 20

var errTooMuch = errors.New("its user has more than 1 MiB in apps.d: delete what is not needed")

// How long one file may take, any other one after a file took too long, and all
// of them together.
const (
	fileTime = 2 * time.Second
	nextTime = 300 * time.Millisecond
	loadTime = 6 * time.Second
)

// files reads the files of one configuration. They may be other users', on file
// systems that hang: each takes a limited time, and so do all together.
type files struct {
	disk     *Disk
	deadline time.Time
	hung     map[uint32]bool // users other than root with a file that took too long
	author   uint32          // the user on whose behalf files are read
	kept     map[uint32]int  // bytes for users other than root
	late     int             // files that took too long
	vital    bool            // read them however many others hang
	risks    []Risk
	seen     seen
}

var errLate = fmt.Errorf("other files took too long: %w", os.ErrDeadlineExceeded)

// rule returns how the file of that name may be read, or an error if it hangs, or
// if others took too long. A user with a file that hangs spends the time of that
// one only.
func (f *files) rule(name string, vital bool) (hostfile.Rule, *call, error) {
	left := time.Until(f.deadline)
	if left <= 0 || f.hung[f.author] {
		return hostfile.Rule{}, nil, errLate
	}
	if f.late > 0 {
		left = min(left, nextTime)
	}
	c, err := f.disk.begin(name, f.author, vital)
	if err != nil {
		return hostfile.Rule{}, nil, err
	}
	return hostfile.Rule{Within: min(left, fileTime), Hung: &c.hangs}, c, nil
}

// ended notes the outcome of a call.
func (f *files) ended(c *call, err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		f.late++
		f.hung[f.author] = f.author != 0
		f.disk.end(c)
	}
}

// read reads a regular file of at most limit bytes, without the byte order mark
// that some editors put in front.
func (f *files) read(name string, limit int, by reader) (*hostfile.File, error) {
	file, err := f.readNow(name, limit, by)
	f.seen.file(name, limit, by, file, err)
	return file, err
}

// keep is read for what stays in memory. The author may have maxUserBytes of that.
func (f *files) keep(name string, limit int, by reader) (file *hostfile.File, err error) {
	if f.kept[f.author] <= maxUserBytes {
		if file, err = f.read(name, limit, by); err != nil || f.author == 0 {
			return file, err
		}
		f.kept[f.author] += len(file.Data)
	}
	if f.kept[f.author] > maxUserBytes {
		return nil, errTooMuch
	}
	return file, nil
}

// reader is the user for whom a file is read. The zero reader is root.
type reader struct {
	uid   uint32
	plain bool // the file must be the user's own, and not a link
	way   bool // nobody but root may change which file is read: it is named by a link of root's
}

// allow returns an error unless the file is the reader's, or everybody may read
// it: the daemon must not read for users what they can't read themselves.
func (r reader) allow(file *hostfile.File) error {
	if r.uid == 0 || r.uid == file.Owner || file.Public && !r.plain {
		return nil
	}
	return &borrowedError{file.Owner, r.uid}
}

type borrowedError struct{ owner, reader uint32 }

func (e *borrowedError) Error() string {
	return fmt.Sprintf("belongs to user %d, and user %d wrote this: what is in apps.d may lead to a file of its own "+
		"owner, or to one that everybody may read", e.owner, e.reader)
}

func (f *files) readNow(name string, limit int, by reader) (*hostfile.File, error) {
	rule, call, err := f.rule(name, f.vital)
	if err != nil {
		return nil, err
	}
	rule.Allow, rule.Way = by.allow, by.way
	read := hostfile.Read
	if by.plain {
		read = readPlain
	}
	file, err := read(name, limit, rule)
	f.ended(call, err)
	if err != nil {
		return nil, err
	}
	if file.Cut {
		return nil, fmt.Errorf("it is longer than %d KiB", limit>>10)
	}
	file.Data = bytes.TrimPrefix(file.Data, []byte("\uFEFF"))
	return file, nil
}

// readPlain reads a file unless it is a link. Its owner may put one in its place at
// any time; a link in the way to its folder is followed.
func readPlain(name string, limit int, rule hostfile.Rule) (*hostfile.File, error) {
	rule.NoLinks = true
	folder, err := hostfile.Open(filepath.Dir(name), rule)
	if err != nil {
		return nil, err
	}
	defer folder.Close()
	return folder.Read(filepath.Base(name), limit)
}

// list returns a folder. The error is fs.ErrNotExist if there is none.
func (f *files) list(folder string) (*hostfile.Folder, error) {
	rule, call, err := f.rule(folder, true)
	if err != nil {
		return nil, err
	}
	root, err := hostfile.Open("/", rule)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	listed, err := root.List(folder, maxNames)
	f.ended(call, err)
	return listed, err
}

// Risk is what other users may do to a file, and should not be able to.
type Risk struct {
	Detail string // the file and what is wrong
	Todo   string // the command that mends it
}

func (r Risk) String() string { return r.Detail + ": " + r.Todo }

// Risks returns the risks of the files, and of the directory of config.toml.
func (c *Config) Risks() []Risk {
	if c.File == "" {
		return c.risks
	}
	f, dir := c.disk.files(), filepath.Dir(c.File)
	if folder, err := f.list(dir); err == nil {
		f.judge(dir, folder.Mode, folder.Group, "")
	}
	return append(f.risks, c.risks...)
}

// judge notes the risks of a file or folder. secret names what is in it that
// others should not read, if anything.
func (f *files) judge(name string, mode fs.FileMode, group uint32, secret string) {
	risk := func(who, may, change string) {
		f.risks = append(f.risks, Risk{
			Detail: fmt.Sprintf("%s: %s may %s", name, who, may),
			Todo:   "chmod " + change + " " + name,
		})
	}
	switch {
	case mode&0o002 != 0:
		risk("everybody", "write to it", "o-w")
	case mode&0o020 != 0 && group != 0:
		risk(fmt.Sprint("group ", group), "write to it", "g-w")
	}
	if mode&0o004 != 0 && secret != "" {
		risk("everybody", "read "+secret+" in it", "o-r")
	}
}

// unreadable is the reason why a file can't be read, in words for people.
type unreadable struct{ error }

func (u unreadable) Error() string { return reason(u.error) }
func (u unreadable) Unwrap() error { return u.error }

// reason describes why a file can't be read, without its name.
func reason(err error) string {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		err = path.Err
	}
	if borrowed, ok := errors.AsType[*borrowedError](err); ok {
		return borrowed.Error()
	}
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("can't be read: permission denied for user %d: let this user read it", os.Geteuid())
	case errors.Is(err, errLate):
		return "was not read, because other files took too long: their file systems hang"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "can't be read: its file system does not answer"
	}
	return fmt.Sprintf("can't be read: %v", err)
}
