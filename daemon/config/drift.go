package config

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/tvpassd/tvpassd/device/hostfile"
)

// seen is what was read, in order. A later reading is compared with it: the same
// file may have been read for several users, with different outcomes.
type seen []trace

func (s seen) has(name string) bool {
	for i := range s {
		if s[i].name == name {
			return true
		}
	}
	return false
}

// trace is the outcome of one reading.
type trace struct {
	name  string
	limit int // of the file; 0 for apps.d
	by    reader
	sum   [sha256.Size]byte
}

// file notes the outcome of reading a file. One that took too long is not
// compared later.
func (s *seen) file(name string, limit int, by reader, file *hostfile.File, err error) {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
	case err != nil:
		s.add(name, limit, by, []byte(err.Error()))
	default:
		s.add(name, limit, by, fmt.Appendf(nil, "%d %o %s", file.Owner, file.Mode, file.Data))
	}
}

func (s *seen) add(name string, limit int, by reader, outcome []byte) {
	*s = append(*s, trace{name, limit, by, sha256.Sum256(outcome)})
}

// folder notes the names of the files in apps.d.
func (s *seen) folder(dir string, folder *hostfile.Folder, err error) {
	var names []byte
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), err == nil && folder.Cut:
		return
	case err != nil:
		names = []byte(err.Error())
	default:
		for _, e := range folder.Entries {
			if isApps(e.Name) {
				names = fmt.Appendf(names, "%q %d %v ", e.Name, e.Owner, e.Mode.Type())
			}
		}
	}
	s.add(dir, 0, reader{}, names)
}

// changed returns the first file that is no longer what Load read, or "". It
// leaves out the files that hang.
func (c *Config) changed() string {
	f := c.disk.files()
	for i, was := range c.seen {
		f.seen, f.author, f.vital = nil, was.by.uid, i == 0 // config.toml
		if was.limit > 0 {
			_, _ = f.read(was.name, was.limit, was.by) // an error is part of what is compared
		} else {
			folder, err := f.list(was.name)
			f.seen.folder(was.name, folder, err)
		}
		if len(f.seen) > 0 && f.seen[0] != was {
			return was.name
		}
	}
	return ""
}

const (
	// lookShare limits the looks to this part of the time.
	lookShare = 20
	// lookWait is how long a caller waits for a look before it gets the last answer:
	// a file system may hang.
	lookWait = 100 * time.Millisecond
)

// Changed returns a file that changed since c was read, or "".
func (disk *Disk) Changed(c *Config) string {
	disk.mu.Lock()
	if disk.conf != c {
		disk.conf, disk.changed, disk.next = c, "", time.Time{}
	}
	if disk.busy == nil && time.Now().After(disk.next) {
		disk.busy = make(chan struct{})
		go disk.look(c, disk.busy)
	}
	busy := disk.busy
	disk.mu.Unlock()
	if busy != nil {
		select {
		case <-busy:
		case <-time.After(lookWait):
		}
	}
	disk.mu.Lock()
	defer disk.mu.Unlock()
	return disk.changed
}

// look ends after loadTime at the latest.
func (disk *Disk) look(c *Config, done chan struct{}) {
	began := time.Now()
	file := c.changed()
	disk.mu.Lock()
	defer disk.mu.Unlock()
	if disk.conf == c {
		disk.changed = file
	}
	disk.next = time.Now().Add(lookShare * time.Since(began))
	disk.busy = nil
	close(done)
}
