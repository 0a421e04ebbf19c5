package storage

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

const (
	dbName   = "tvpassd.db"
	copyName = "tvpassd.copy"

	// lockTimeout is how long Open waits for another process to let go of the database: a service manager
	// may start the new daemon while the old one writes its last page.
	lockTimeout = 2 * time.Second
)

var (
	// ErrInUse says that another process has the database open.
	ErrInUse = errors.New("another tvpassd uses this state directory: stop it first, or give this one a state_dir of its own")
	// ErrDamaged says that the database can't be read.
	ErrDamaged = errors.New("the database is damaged")
)

// The one bucket. Everything is small and in few keys, so that a change touches one leaf, the root and a meta page.
var bucket = []byte("tvpassd")

const (
	keyMeta       = "meta"
	keyIdentifier = "device\x00identifier"
	keyGate       = "gate"
)

// meta says which edition of the database this is.
type meta struct {
	Version    int    `json:"version"`
	Generation uint64 `json:"generation"` // counts the changes of credentials and identifier; the copy carries it too
}

const version = 1

// Config says where the state lives.
type Config struct {
	Dir string           // made with mode 0700 where it is missing
	Now func() time.Time // names what is set aside
}

// Store is an open state directory. Its methods may be called from any goroutine.
type Store struct {
	dir string

	mu        sync.Mutex // guards what follows, and orders writes
	db        *bbolt.DB
	identity  identity // what the copy must hold
	copyStale bool     // the copy does not hold it yet
	mended    string
}

// Open opens the state directory, mending what it can. What stays is ErrInUse, or an error that says what is wrong with
// the directory itself; a damaged database is never an error.
func Open(cfg Config) (*Store, error) {
	if err := prepareDir(cfg.Dir); err != nil {
		return nil, err
	}
	s := &Store{dir: cfg.Dir}
	kept, copyErr := readCopy(s.path(copyName))
	db, found, dbErr := openDB(s.path(dbName))
	switch {
	case dbErr == nil:
		s.db = db
	case errors.Is(dbErr, ErrDamaged):
		aside, err := setAside(s.path(dbName), cfg.Now())
		if err != nil {
			return nil, fmt.Errorf("set the damaged database aside: %w", err)
		}
		s.mended = fmt.Sprintf("the database was damaged (%v); it is kept as %s", dbErr, aside)
		if s.db, _, err = openDB(s.path(dbName)); err != nil {
			return nil, fmt.Errorf("make a new database: %w", err)
		}
	default:
		return nil, dbErr
	}
	if err := s.reconcile(found, kept, copyErr); err != nil {
		return nil, errors.Join(err, s.db.Close())
	}
	return s, nil
}

// Mended says what Open had to repair, in words for people; "" where all was well.
func (s *Store) Mended() string { return s.mended }

// Close lets go of the database.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.db.Close()
}

func (s *Store) path(name string) string { return filepath.Join(s.dir, name) }

func prepareDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the state directory: %w", err)
	}
	fi, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("look at the state directory: %w", err)
	}
	if !fi.IsDir() {
		return fmt.Errorf("state_dir %s is not a directory", dir)
	}
	if fi.Mode().Perm()&0o077 == 0 {
		return nil
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return fmt.Errorf("close the state directory to others: %w", err)
	}
	return nil
}

// openDB opens or makes the database and reads every entry once, so that damage shows now and not in the middle of a
// night. What could be read comes back even where the database is damaged.
func openDB(path string) (db *bbolt.DB, found entries, err error) {
	_, statErr := os.Stat(path)
	if found, err = inspect(path); err != nil {
		return nil, found, err
	}
	err = guard(func() error {
		var err error
		db, err = bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockTimeout, NoFreelistSync: true})
		return err
	})
	if err != nil {
		return nil, nil, openError(path, err)
	}
	if errors.Is(statErr, fs.ErrNotExist) {
		if err := syncDir(filepath.Dir(path)); err != nil {
			return nil, nil, errors.Join(err, db.Close())
		}
	}
	if found, err = readAll(db); err != nil {
		return nil, found, errors.Join(fmt.Errorf("%w: %w", ErrDamaged, err), closeDamaged(db))
	}
	return db, found, nil
}

// inspect looks at a database before bbolt may write to it, and returns what can be read of it. A missing or empty one is
// sound: bbolt makes it anew. Read-only, bbolt does not look for free pages, which it does where it can't be guarded.
func inspect(path string) (found entries, err error) {
	if fi, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) || err == nil && fi.Size() == 0 {
		return nil, nil
	}
	db, err := openReadOnly(path)
	if err != nil {
		return nil, openError(path, err)
	}
	err = guard(func() error {
		file, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return db.View(func(tx *bbolt.Tx) error {
			found, err = walk(file, db.Info().PageSize, uint64(tx.Cursor().Bucket().Root()))
			return err
		})
	})
	if err != nil {
		return found, errors.Join(fmt.Errorf("%w: %w", ErrDamaged, err), closeDamaged(db))
	}
	return found, db.Close()
}

func openReadOnly(path string) (db *bbolt.DB, err error) {
	err = guard(func() error {
		var err error
		db, err = bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockTimeout, ReadOnly: true})
		return err
	})
	return db, err
}

// closeDamaged lets go of a database that may panic on the way out.
func closeDamaged(db *bbolt.DB) error { return guard(db.Close) }

// openError sorts the errors of bbolt.Open: what the file system says of the place, or what the file says of itself.
func openError(path string, err error) error {
	var sys syscall.Errno
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return fmt.Errorf("%s: %w", path, ErrInUse)
	case errors.As(err, &sys) && sys != syscall.EINVAL:
		return fmt.Errorf("open the database: %w: check owner, mode and free space of its directory", err)
	default:
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
}

// guard runs f and turns a panic into an error. bbolt panics on pages that make no sense, and a file that is cut short
// behind its memory map faults.
func guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", ErrDamaged, r)
		}
	}()
	return f()
}

// entry is one key with its value as JSON; a nil value is one that is not there.
type entry struct {
	key   string
	value []byte
}

// entries are what a database holds, by key.
type entries map[string][]byte

// readAll returns every entry whose checksum is right. The error says that there are others, or that the walk ended early.
func readAll(db *bbolt.DB) (entries, error) {
	found := entries{}
	hasBucket := false
	var bad error
	err := guard(func() error {
		return db.View(func(tx *bbolt.Tx) error {
			b := tx.Bucket(bucket)
			if b == nil {
				return nil
			}
			hasBucket = true
			return b.ForEach(func(k, v []byte) error {
				if value, ok := unseal(string(k), v); ok {
					found[string(k)] = bytes.Clone(value)
				} else {
					bad = fmt.Errorf("entry %q has a wrong checksum", k)
				}
				return nil
			})
		})
	})
	if err == nil {
		err = bad
	}
	m := meta{}
	if hasMeta := found.decode(keyMeta, &m); err == nil && hasBucket && !hasMeta {
		err = errors.New("its first entry is missing")
	}
	if err == nil && m.Version > version {
		err = fmt.Errorf("it is of version %d, and this program reads %d: a newer tvpassd wrote it", m.Version, version)
	}
	return found, err
}

// decode reads one entry into v and tells whether it was there and could be read.
func (e entries) decode(key string, v any) bool {
	raw, ok := e[key]
	return ok && json.Unmarshal(raw, v) == nil
}

// write stores what differs from the database in one transaction, and nothing at all where nothing does.
func (s *Store) write(want []entry) error {
	err := guard(func() error {
		return s.db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists(bucket)
			if err != nil {
				return err
			}
			changed := false
			for _, e := range want {
				wrote, err := putChanged(b, e)
				if err != nil {
					return err
				}
				changed = changed || wrote
			}
			if !changed {
				return errUnchanged
			}
			return nil
		})
	})
	if errors.Is(err, errUnchanged) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", s.path(dbName), err)
	}
	return nil
}

// errUnchanged rolls a transaction back that would write what is there already: flash wears.
var errUnchanged = errors.New("nothing changed")

func putChanged(b *bbolt.Bucket, e entry) (bool, error) {
	old := b.Get([]byte(e.key))
	if e.value == nil {
		return old != nil, b.Delete([]byte(e.key))
	}
	sealed := seal(e.key, e.value)
	if bytes.Equal(old, sealed) {
		return false, nil
	}
	return true, b.Put([]byte(e.key), sealed)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal puts a checksum of key and value before a value: bbolt checks its meta pages only.
func seal(key string, value []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, checksum(key, value)), value...)
}

func checksum(key string, value []byte) uint32 {
	return crc32.Update(crc32.Checksum([]byte(key), castagnoli), castagnoli, value)
}

func unseal(key string, sealed []byte) ([]byte, bool) {
	if len(sealed) < 4 {
		return nil, false
	}
	value := sealed[4:]
	return value, binary.BigEndian.Uint32(sealed) == checksum(key, value)
}
