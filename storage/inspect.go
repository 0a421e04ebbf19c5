package storage

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// Inspection is what a state directory holds, as far as a person may be told: no secret is in it.
type Inspection struct {
	Database, Copy error       // nil: sound; fs.ErrNotExist: not there; ErrDamaged; else it can't be read
	Registered     int         // apps with client credentials, of every endpoint
	Identifier     *Identifier // nil: none is kept
	Gate           Gate
}

// Inspect reads a state directory and changes nothing in it: what is damaged stays so until a daemon opens it. The error is
// ErrInUse while a daemon has it, else that of the directory.
func Inspect(dir string) (Inspection, error) {
	d, err := os.Open(dir)
	if err != nil {
		return Inspection{}, err
	}
	defer d.Close()
	// Shared: two that only read don't mind each other. A daemon that starts meanwhile waits for its end.
	if err := syscall.Flock(int(d.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); errors.Is(err, syscall.EWOULDBLOCK) {
		return Inspection{}, fmt.Errorf("%s: %w", dir, ErrInUse)
	}
	s := &Store{dir: dir}
	var found Inspection
	entries, err := readDB(s.path(dbName))
	found.Database = err
	kept, err := readCopy(s.path(copyName))
	found.Copy = err
	id := identityOf(entries)
	id.fill(kept)
	for _, acc := range id.Apps {
		if acc.Credentials != nil {
			found.Registered++
		}
	}
	found.Identifier = id.Identifier
	entries.decode(keyGate, &found.Gate)
	return found, nil
}
