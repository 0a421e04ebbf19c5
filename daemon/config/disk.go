package config

import (
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// maxHung is how many files of root's may hang at a time, and how many of other
// users'. As many more of each may hang that were read before, and as many vital
// ones. Each holds a thread until its file system answers, perhaps forever, and
// the service manager allows 256.
const maxHung = 8

// maxTries is how many calls for one file may hang at a time, if it is vital or a
// person asks for it again: by now the file may be another one, in the place of the
// one that hangs.
const maxTries = 3

// Disk reads configurations again and again, and notices that the files are no
// longer those of the one in force. It does not read a file while an earlier call
// for it still hangs, see [Disk.Again]; for a vital one, while maxTries do. The zero
// Disk is ready to use.
type Disk struct {
	mu   sync.Mutex
	hung [5 * maxHung]*call // those that ran out of time, and may have ended
	last seen               // of the last configuration
	more atomic.Int32       // calls for one file that may hang, beyond the first

	// of Changed
	conf    *Config       // that changed is about
	changed string        // the last answer
	next    time.Time     // when to look again
	busy    chan struct{} // closed at the end of the look that is under way; nil if none is
}

// call is a call for a file.
type call struct {
	name   string
	author uint32 // the user on whose behalf it is
	hangs  atomic.Int32
}

// Load reads a configuration, as the function of that name does.
func (disk *Disk) Load(file string) (*Config, error) {
	return disk.load(file, DefaultFile, systemNames())
}

// Again has files read again for which calls hang. It helps maxTries-1 times.
func (disk *Disk) Again() { disk.more.Add(1) }

// ReadRoots reads [http] ca_file, in limited time.
func (disk *Disk) ReadRoots(name string) ([]byte, error) {
	f := disk.files()
	f.vital = true
	file, err := f.readNow(name, maxRoots, reader{})
	if err != nil {
		return nil, err
	}
	return file.Data, nil
}

// ReadRoots reads [http] ca_file once.
func ReadRoots(name string) ([]byte, error) { return new(Disk).ReadRoots(name) }

func (disk *Disk) files() *files {
	return &files{disk: disk, deadline: time.Now().Add(loadTime), hung: map[uint32]bool{}, kept: map[uint32]int{}}
}

// begin begins a call for a file. The error says that the file hangs, or that too
// many do to try another one. Those of users do not use up root's share.
func (disk *Disk) begin(name string, author uint32, vital bool) (*call, error) {
	disk.mu.Lock()
	defer disk.mu.Unlock()
	others, same, free := 0, 0, 0
	for _, c := range disk.hung {
		switch {
		case c == nil || c.hangs.Load() == 0:
			free++
		case c.name == name:
			same++
		case (c.author == 0) == (author == 0):
			others++
		}
	}
	most := maxHung
	if disk.last.has(name) {
		most += maxHung
	}
	switch {
	case same == maxTries || same > int(disk.more.Load()) && !vital:
		return nil, &fs.PathError{Op: "read", Path: name, Err: os.ErrDeadlineExceeded}
	case free == 0 || same+others >= most && !vital:
		return nil, errLate
	}
	return &call{name: name, author: author}, nil
}

// end remembers a call that ran out of time.
func (disk *Disk) end(c *call) {
	disk.mu.Lock()
	defer disk.mu.Unlock()
	for i, old := range disk.hung {
		if old == nil || old.hangs.Load() == 0 {
			disk.hung[i] = c
			return
		}
	}
}
