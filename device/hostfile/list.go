package hostfile

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
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

// Folder is a folder with what is in it.
type Folder struct {
	Entry           // of the folder itself
	Entries []Entry // by name
}

// List returns a folder, with at most limit of its entries.
func (d *Dir) List(name string, limit int) (*Folder, error) {
	var folder *Folder
	err := d.within("read", name, func(w *worker) error {
		fd, o, err := w.open(name, false)
		if err != nil {
			return err
		}
		f := os.NewFile(uintptr(fd), name)
		defer f.Close()
		names, err := f.Readdirnames(limit)
		if err != nil && !errors.Is(err, io.EOF) { // EOF: the folder is empty
			return err
		}
		slices.Sort(names)
		folder = &Folder{Entry: entryOf(name, &o.stat)}
		for _, name := range names {
			var stat unix.Stat_t
			if err := unix.Fstatat(fd, name, &stat, unix.AT_SYMLINK_NOFOLLOW); err == nil { // it may just have gone
				folder.Entries = append(folder.Entries, entryOf(name, &stat))
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return folder, nil
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
