package config

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"sync"
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
		*s = append(*s, trace{name, limit, by, sha256.Sum256([]byte(err.Error()))})
	default:
		sum := sha256.Sum256(fmt.Appendf(nil, "%d %o %s", file.Owner, file.Mode, file.Data))
		*s = append(*s, trace{name, limit, by, sum})
	}
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
	*s = append(*s, trace{dir, 0, reader{}, sha256.Sum256(names)})
}

// changed returns the first file that is no longer what Load read, or "". It
// leaves out the files that hang.
func (c *Config) changed() string {
	f := c.disk.files()
	for _, was := range c.seen {
		f.seen, f.author = nil, was.by.uid
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

// Drift notices that the files on disk are no longer those of the configuration in
// force. The zero Drift is ready to use.
type Drift struct {
	mu   sync.Mutex
	conf *Config       // that file is about
	file string        // the last answer
	next time.Time     // when to look again
	busy chan struct{} // closed at the end of the look that is under way; nil if none is
}

const (
	// lookShare limits the looks to this part of the time.
	lookShare = 20
	// lookWait is how long a caller waits for a look before it gets the last answer:
	// a file system may hang.
	lookWait = 100 * time.Millisecond
)

// Changed returns a file that changed since c was read, or "".
func (d *Drift) Changed(c *Config) string {
	d.mu.Lock()
	if d.conf != c {
		d.conf, d.file, d.next = c, "", time.Time{}
	}
	if d.busy == nil && time.Now().After(d.next) {
		d.busy = make(chan struct{})
		go d.look(c, d.busy)
	}
	busy := d.busy
	d.mu.Unlock()
	if busy != nil {
		select {
		case <-busy:
		case <-time.After(lookWait):
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.file
}

// look ends after loadTime at the latest.
func (d *Drift) look(c *Config, done chan struct{}) {
	began := time.Now()
	file := c.changed()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conf == c {
		d.file = file
	}
	d.next = time.Now().Add(lookShare * time.Since(began))
	d.busy = nil
	close(done)
}
