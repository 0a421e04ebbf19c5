package storage

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Inspection is what a state directory holds, without secrets.
type Inspection struct {
	Database, Copy error       // nil: sound; fs.ErrNotExist: missing; ErrDamaged; any other: it can't be read
	Refused        error       // why a start ends, and leaves both files as they are; nil: it does not
	Registered     int         // apps with client credentials, of every endpoint
	Identifier     *Identifier // nil: none is stored
	Gate           Gate
}

// Inspect reads a state directory and changes nothing in it: damage stays until
// a daemon opens the directory. The error is ErrInUse while a daemon has it, or
// that of the directory. A daemon that starts meanwhile waits for its end.
func Inspect(dir string) (_ Inspection, err error) {
	lock, err := tryLockDir(dir, unix.LOCK_SH)
	if err != nil {
		return Inspection{}, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	s := &Store{dir: dir}
	var found Inspection
	entries, err := readDB(s.path(dbName))
	found.Database = err
	copied, err := readCopy(s.path(copyName))
	var kept identity
	if err == nil {
		kept, err = decodeCopy(copied)
	}
	found.Copy = err
	found.Refused = refusal(found.Database, found.Copy)
	id := identityOf(entries).filled(kept)
	for _, acc := range id.Apps {
		if acc.Credentials != nil {
			found.Registered++
		}
	}
	found.Identifier = id.Identifier
	entries.find(keyGate, &found.Gate)
	return found, nil
}
