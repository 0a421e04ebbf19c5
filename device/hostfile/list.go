package hostfile

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"sort"
	"time"

	"golang.org/x/sys/unix"
)

// Entry is one name in a folder, with what stat says about it. It does not
// follow a link.
type Entry struct {
	Name         string
	Owner, Group uint32
	Mode         fs.FileMode // type and permissions
	Size         int64
	Changed      time.Time
}

// maxEntries is how many entries of all users but root are listed: one user may
// have many ids.
const maxEntries = 16384

// Folder is a folder with what is in it.
type Folder struct {
	Entry            // of the folder itself
	Entries []Entry  // by name
	Crowd   []uint32 // users who have more entries than these
	Cut     bool     // time ran out before all names were read
}

// List returns a folder with its entries: all of root's, and at most limit of
// each other user. A user who fills the folder hides only files of that user,
// unless there are more names than can be read in three quarters of the time.
func (d *Dir) List(name string, limit int) (*Folder, error) {
	var folder *Folder
	until := time.Now().Add(d.rule.Within * 3 / 4)
	err := d.within("read", name, func(w *worker) error {
		fd, o, err := w.open(name, false)
		if err != nil {
			return err
		}
		f := os.NewFile(uintptr(fd), name)
		defer f.Close()
		folder = &Folder{Entry: entryOf(name, &o.stat)}
		return folder.fill(f, fd, limit, until)
	})
	if err != nil {
		return nil, err
	}
	return folder, nil
}

// fill adds the entries of the folder that is open.
func (f *Folder) fill(open *os.File, fd, limit int, until time.Time) error {
	count := map[uint32]int{}
	for !f.Cut {
		names, err := open.Readdirnames(256)
		for _, name := range names {
			var stat unix.Stat_t
			if unix.Fstatat(fd, name, &stat, unix.AT_SYMLINK_NOFOLLOW) == nil { // it may just have gone
				f.add(entryOf(name, &stat), limit, count)
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		f.Cut = time.Now().After(until)
	}
	sort.Sort(byName(f.Entries))
	sort.Sort(byNumber(f.Crowd))
	return nil
}

// add adds an entry, unless its owner has too many.
func (f *Folder) add(e Entry, limit int, count map[uint32]int) {
	switch n := count[e.Owner]; {
	case e.Owner == 0 || n < limit && len(f.Entries)-count[0] < maxEntries:
		f.Entries = append(f.Entries, e)
	case n <= limit:
		f.Crowd = append(f.Crowd, e.Owner)
		count[e.Owner] = limit // once
	}
	count[e.Owner]++
}

func entryOf(name string, stat *unix.Stat_t) Entry {
	return Entry{
		Name: name, Owner: stat.Uid, Group: stat.Gid, Mode: fileMode(stat.Mode),
		Size: stat.Size, Changed: time.Unix(stat.Mtim.Unix()),
	}
}

// fileMode converts a mode of stat(2).
func fileMode(mode uint32) fs.FileMode {
	kinds := map[uint32]fs.FileMode{
		unix.S_IFDIR: fs.ModeDir, unix.S_IFLNK: fs.ModeSymlink, unix.S_IFIFO: fs.ModeNamedPipe, unix.S_IFSOCK: fs.ModeSocket,
		unix.S_IFBLK: fs.ModeDevice, unix.S_IFCHR: fs.ModeDevice | fs.ModeCharDevice,
	}
	m := kinds[mode&unix.S_IFMT] | fs.FileMode(mode&0o777)
	if mode&unix.S_ISVTX != 0 {
		m |= fs.ModeSticky
	}
	return m
}

// byName and byNumber are for package sort. A sort of package slices would bring
// its own 10 kB of machine code for each of them.
type (
	byName   []Entry
	byNumber []uint32
)

func (b byName) Len() int           { return len(b) }
func (b byName) Less(i, j int) bool { return b[i].Name < b[j].Name }
func (b byName) Swap(i, j int)      { b[i], b[j] = b[j], b[i] }

func (b byNumber) Len() int           { return len(b) }
func (b byNumber) Less(i, j int) bool { return b[i] < b[j] }
func (b byNumber) Swap(i, j int)      { b[i], b[j] = b[j], b[i] }
