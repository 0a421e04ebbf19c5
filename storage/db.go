package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

const (
	dbName   = "tvpassd.db"
	copyName = "tvpassd.copy"
)

var (
	// ErrInUse says that another process has the state directory.
	ErrInUse = errors.New("another tvpassd uses this state directory: stop it first, or give this one a state_dir of its own")
	// ErrDamaged says that a file can't be what was written to it.
	ErrDamaged = errors.New("damaged")

	errClosed = errors.New("the state directory is closed")
	errStale  = errors.New("the database may hold something else")
)

// The one bucket. Everything is small and in few keys, so that a change touches one leaf, the root and a meta page.
var bucket = []byte("tvpassd")

// Config says where the state lives.
type Config struct {
	Dir string           // made with mode 0700 where it is missing
	Now func() time.Time // names what is set aside
}

// Store is an open state directory. Its methods may be called from any goroutine.
//
// It reads once and answers from memory; bbolt has the database open for the length of a write only. So what happens to
// the disk later takes nothing from a running daemon, and nothing bbolt remembers of a failed write is ever built upon.
type Store struct {
	dir string
	now func() time.Time

	mu        sync.Mutex // guards what follows, and orders writes
	lock      *os.File   // the directory; nil: closed
	held      entries    // what the database must hold
	identity  identity   // what the copy must hold
	dbStale   bool       // the database may hold something else
	copyStale bool       // so may the copy
	dbBad     error      // why the database is to be set aside; nil: it is sound, or not there
	copyBad   error      // the same of the copy
	mended    []string
	unwritten error
	written   Written
}

// Written is what was written to the files: flash wears.
type Written struct {
	Writes int64 // transactions of the database, and copies
	Bytes  int64 // without what the file system adds
}

// Written tells what was written since Open began.
func (s *Store) Written() Written {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.written
}

func (w *Written) add(bytes int64) {
	w.Writes++
	w.Bytes += bytes
}

// Open opens the state directory, mending what it can. A damaged file is never an error, nor is a disk that can be read
// and not written: see Mended and Unwritten. What stays is ErrInUse, a database that may not be read, and a directory
// that neither holds a state nor takes one.
func Open(cfg Config) (*Store, error) {
	if err := prepareDir(cfg.Dir); err != nil {
		return nil, err
	}
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return nil, err
	}
	s := &Store{dir: cfg.Dir, now: cfg.Now, lock: lock}
	if err := s.load(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return s, nil
}

// load reads both files and brings them up to each other.
func (s *Store) load() error {
	found, err := readDB(s.path(dbName))
	if err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the database: %w: check its owner and mode", err)
	}
	kept, copyErr := readCopy(s.path(copyName))
	if err := s.reconcile(found, err, kept, copyErr); err != nil {
		return err
	}
	bad := errors.Join(s.dbBad, s.copyBad)
	s.unwritten = s.flush()
	if s.unwritten != nil && bad != nil {
		s.unwritten = fmt.Errorf("a file is not usable (%w) and could not be made anew: %w", bad, s.unwritten)
	}
	if s.unwritten != nil && s.identity.empty() && len(found) == 0 {
		return s.unwritten
	}
	return nil
}

// Mended says what had to be repaired since Open began, in words for people; "" where all was well.
func (s *Store) Mended() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.mended, "; ")
}

// Unwritten says why the files do not hold all that the store does; nil where they do. The next save tries again, and so
// does Flush.
func (s *Store) Unwritten() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unwritten
}

// Flush writes what a failed write left behind, and nothing where none did; the error is what Unwritten then says.
func (s *Store) Flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unwritten != nil {
		s.unwritten = s.flush()
	}
	return s.unwritten
}

// Close lets go of the state directory.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lock == nil {
		return nil
	}
	err := s.lock.Close()
	s.lock = nil
	return err
}

func (s *Store) path(name string) string { return filepath.Join(s.dir, name) }

// flush brings the files up to what is held. A copy that is behind comes first where the database is to be set aside: at
// every moment one of the two holds the credentials.
func (s *Store) flush() error {
	if s.dbBad != nil {
		if err := s.writeCopy(); err != nil {
			return err
		}
	}
	if err := s.commit(nil); err != nil {
		return err
	}
	if err := s.writeCopy(); err != nil {
		return err
	}
	if err := syncFile(s.path(dbName)); err != nil {
		return fmt.Errorf("sync the database: %w", advise(err))
	}
	return syncDir(s.dir)
}

// commit changes entries of the database in one transaction, and writes nothing where nothing changes: flash wears.
func (s *Store) commit(want []entry) error {
	if s.lock == nil {
		return errClosed
	}
	news := s.held.news(want)
	if len(news) == 0 && !s.dbStale {
		return nil
	}
	next := s.held.with(news)
	err := s.inspect()
	if err == nil {
		err = s.written.update(s.path(dbName), news)
		s.dbStale = err != nil && !asItWas(err)
	}
	if errors.Is(err, ErrDamaged) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, errStale) {
		err = s.rebuild(next, err)
		s.dbStale = err != nil
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", s.path(dbName), advise(err))
	}
	s.held = next
	return nil
}

// asItWas tells of an error of update whether the database is what it was before: it could not be opened, or a page found
// no room. After a sync that failed nobody knows.
func asItWas(err error) bool {
	var at *fs.PathError
	return errors.As(err, &at) && (at.Op == "open" || at.Op == "lock" || at.Op == "write")
}

// inspect looks at the database before bbolt does, which trusts its pages: nil says that it can be changed in place.
func (s *Store) inspect() error {
	found, err := readDB(s.path(dbName))
	switch {
	case err != nil:
		return err
	case s.dbStale:
		return errStale
	case !found.equal(s.held):
		return fmt.Errorf("%w: it does not hold what was written to it", ErrDamaged)
	}
	return nil
}

// rebuild makes a new database. The old one stays in its place until that is complete, and then, if it is damaged, under
// another name. It is not written to: should a power cut undo a write that failed, bbolt would take for free what is not.
func (s *Store) rebuild(next entries, why error) error {
	s.dbBad = nil
	if errors.Is(why, ErrDamaged) {
		s.dbBad = why
	}
	return replace(s.path(dbName), func(name string) error {
		if err := s.written.update(name, next.list()); err != nil {
			return err
		}
		return s.aside(dbName, "the database", &s.dbBad)
	})
}

// aside sets a file aside that is bad.
func (s *Store) aside(name, what string, bad *error) error {
	if *bad == nil {
		return nil
	}
	kept, err := setAside(s.path(name), s.now())
	if errors.Is(err, fs.ErrNotExist) { // somebody else took it away
		*bad = nil
		return nil
	}
	if err != nil {
		return fmt.Errorf("set %s aside, which is damaged: %w", what, err)
	}
	s.mended = append(s.mended, fmt.Sprintf("%s was not usable (%v); it is kept as %s", what, *bad, kept))
	*bad = nil
	return nil
}

// update changes a database that was seen to be sound, or makes one.
func (w *Written) update(path string, changes []entry) error {
	_, err := os.Stat(path)
	made := errors.Is(err, fs.ErrNotExist)
	var file *os.File
	open := func(name string, flag int, mode fs.FileMode) (f *os.File, err error) {
		file, err = os.OpenFile(name, flag, mode)
		return file, err
	}
	defer func() {
		if file != nil {
			_ = file.Close() // it is open still where bbolt panicked: nothing else lets go of its lock then
		}
	}()
	return guard(func() error {
		db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockTimeout, NoFreelistSync: true, OpenFile: open})
		if err != nil {
			return openError(path, err)
		}
		err = db.Update(func(tx *bbolt.Tx) error { return apply(tx, changes) })
		stats := db.Stats().TxStats
		uncounted := 1 // the meta page, by bbolt
		if made {
			uncounted += 4
		}
		w.add(stats.GetPageAlloc() + int64(uncounted*db.Info().PageSize))
		return errors.Join(err, db.Close())
	})
}

func apply(tx *bbolt.Tx, changes []entry) error {
	b, err := tx.CreateBucketIfNotExists(bucket)
	for _, c := range changes {
		if err != nil {
			return err
		}
		if c.value == nil {
			err = b.Delete([]byte(c.key))
		} else {
			err = b.Put([]byte(c.key), seal(c.key, c.value))
		}
	}
	return err
}

// openError sorts the errors of bbolt.Open: what the file system says of the place, or what the file says of itself.
func openError(path string, err error) error {
	var sys syscall.Errno
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return &fs.PathError{Op: "lock", Path: path, Err: errors.New("another program has it open: end that")}
	case errors.As(err, &sys):
		return err
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
