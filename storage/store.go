package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/tvpassd/tvpassd/storage/fserr"
)

const (
	dbName   = "tvpassd.db"
	copyName = "tvpassd.copy"
)

var (
	// ErrInUse means that another process has the state directory.
	ErrInUse = errors.New("another tvpassd uses this state directory: " +
		"stop it first, or give this one a state_dir of its own")
	// ErrDamaged means that a file does not hold what was written to it.
	ErrDamaged = errors.New("damaged")

	errClosed = errors.New("the state directory is closed")
)

// Config describes where the state is.
type Config struct {
	Dir string           // made with mode 0700 if it is missing
	Now func() time.Time // dates what is set aside
	// Boot is the clock by which a write takes too long, which nothing steps. If it is
	// nil none does.
	Boot func() time.Duration
	// Opening, unless it is nil, is called with each file or directory before Open
	// uses it: its file system may hang.
	Opening func(path string)
}

// Store is an open state directory. Its methods may be called from any
// goroutine.
//
// It reads the files once and answers from memory. bbolt has the database open
// during a write only. So a disk that fails later takes nothing from a running
// daemon, and state that bbolt keeps after a failed write is never reused.
type Store struct {
	dir string
	now func() time.Time
	age func() time.Duration // since the boot

	mu        sync.Mutex // guards the following, and orders writes
	lock      *dirLock   // nil: the directory could not be made yet
	closed    bool
	held      entries     // what the database must hold
	identity  identity    // what the copy must hold
	dbStale   bool        // the database may hold something else
	copyStale bool        // the copy may hold something else
	dbBad     error       // why the database must be set aside; nil: it is sound, or missing
	copyBad   error       // the same for the copy
	whole     bool        // this file system takes the database as a whole only
	refused   int         // bytes that a failed save wanted to write; 0 once there is room for them
	wrote     fs.FileInfo // the database as it was written last; nil: not by this process
	mended    []string
	unwritten error
	unsynced  bool // what was found may be in memory only: a daemon that was killed left it
	written   Written

	showing sync.Mutex // guards shown; whoever asks for that does not wait for a slow disk
	shown   health     // after the last change
	busy    bool       // a change is under way
	began   time.Duration
}

// health is what a store says of itself.
type health struct {
	mended    string
	unwritten error
	written   Written
}

// begin begins a change. A disk may hold it up for any time: see Busy.
func (s *Store) begin() {
	s.mu.Lock()
	s.showing.Lock()
	s.busy, s.began = true, s.age()
	s.showing.Unlock()
}

// end ends a change, and shows what came of it.
func (s *Store) end() {
	s.showing.Lock()
	s.shown, s.busy = health{strings.Join(s.mended, "; "), s.unwritten, s.written}, false
	s.showing.Unlock()
	s.mu.Unlock()
}

// Busy reports whether the store is waiting for the disk.
func (s *Store) Busy() bool {
	s.showing.Lock()
	defer s.showing.Unlock()
	return s.busy
}

// health returns what came of the last change. One that takes longer than
// slowAfter counts as failing.
func (s *Store) health() health {
	s.showing.Lock()
	defer s.showing.Unlock()
	h := s.shown
	if s.busy && s.age()-s.began > slowAfter {
		h.unwritten = errors.New("the disk has not taken it for more than 20 s: see dmesg")
	}
	return h
}

const slowAfter = 20 * time.Second

// Written counts what was written to the files, because flash wears.
type Written struct {
	Writes int64 // transactions of the database, and copies
	Bytes  int64 // without what the file system adds
}

// Written returns what was written since Open began.
func (s *Store) Written() Written { return s.health().written }

func (w *Written) add(bytes int) {
	w.Writes++
	w.Bytes += int64(bytes)
}

// Open opens the state directory, and mends what it can. A damaged file is not
// an error, and neither is a disk that can't be written at the moment: see
// [Store.Mended] and [Store.Unwritten]. The errors that remain need a person:
// ErrInUse, a database or a directory that may not be read, and a directory
// that holds no state and may not be written.
func Open(cfg Config) (*Store, error) {
	s := &Store{dir: cfg.Dir, now: cfg.Now, age: cfg.Boot}
	if s.age == nil {
		s.age = func() time.Duration { return 0 }
	}
	opening := cfg.Opening
	if opening == nil {
		opening = func(string) {}
	}
	s.begin()
	err := s.start(opening)
	s.end()
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Store) start(opening func(path string)) error {
	opening(s.dir)
	err := prepareDir(s.dir)
	if _, statErr := os.Stat(s.dir); fserr.MayPass(err) && errors.Is(statErr, fs.ErrNotExist) {
		s.unwritten = advise(err) // there is no state yet, and ready makes the directory later
		return s.reconcile(nil, fs.ErrNotExist, nil, fs.ErrNotExist)
	}
	if err != nil {
		return advise(err)
	}
	if s.lock, err = lockDir(s.dir); err != nil {
		return advise(err)
	}
	return s.load(opening)
}

// load reads both files and brings each up to date with the other. If both are
// sound it writes nothing, and leaves the sync to Flush: a disk takes longer for
// that than everything else that a start does.
func (s *Store) load(opening func(path string)) error {
	opening(s.path(dbName))
	found, err := readDB(s.path(dbName))
	opening(s.path(copyName))
	copied, copyErr := readCopy(s.path(copyName))
	if err := refusal(err, copyErr); err != nil {
		return err
	}
	if err := s.reconcile(found, err, copied, copyErr); err != nil {
		return err
	}
	bad := errors.Join(s.dbBad, s.copyBad)
	opening(s.dir)
	s.unsynced = err == nil && !s.dbStale
	if bad == nil && s.unsynced && !s.copyStale {
		s.unwritten = advise(syncFile(s.path(dbName), false))
	} else {
		s.unwritten = s.flush()
	}
	if s.unwritten != nil && bad != nil {
		s.unwritten = fmt.Errorf("a file is not usable (%w) and could not be made anew: %w", bad, s.unwritten)
	}
	if s.identity.empty() && len(found) == 0 && s.unwritten != nil && !fserr.MayPass(s.unwritten) {
		return s.unwritten
	}
	return nil
}

// refusal returns why a start leaves both files as they are: one of them may hold
// the credentials, and can't be read. Without them apps would register anew.
func refusal(dbErr, copyErr error) error {
	switch {
	case dbErr != nil && !errors.Is(dbErr, ErrDamaged) && !errors.Is(dbErr, fs.ErrNotExist):
		return advise(fmt.Errorf("read the database: %w", dbErr))
	case dbErr != nil && copyErr != nil && (unreadable(dbErr) || unreadable(copyErr)):
		return fmt.Errorf("read the database: %w; its copy: %w", advise(dbErr), advise(copyErr))
	}
	return nil
}

// ready makes and locks the state directory if the start could not make it, or
// if its path leads to another directory by now: it was removed, or something
// was mounted over it. A state that is there already may be the true one, which
// was mounted late: it is left alone.
func (s *Store) ready() error {
	switch {
	case s.closed:
		return errClosed
	case s.lock != nil && s.lock.isAt(s.dir):
		return nil
	}
	if err := prepareDir(s.dir); err != nil {
		return advise(err)
	}
	lock, err := lockDir(s.dir)
	if err != nil {
		return advise(err)
	}
	for _, name := range []string{dbName, copyName} {
		if _, err := os.Lstat(s.path(name)); err == nil {
			late := fmt.Errorf("%s came after the start: restart tvpassd to use it", s.path(name))
			return errors.Join(late, lock.Close())
		}
	}
	if s.lock != nil {
		s.dbStale, s.copyStale, s.unsynced = true, true, false
		text := "the state directory was replaced, and the state is written there anew"
		place, _ := Locate(s.dir) // what is not known is left out
		if detail, _ := place.Loss(); detail != "" {
			text += ": " + detail
		}
		s.mended = append(s.mended, text)
		err = s.lock.Close()
	}
	s.lock = lock
	return err
}

// Mended describes what had to be repaired since Open began, in words for
// people, or "".
func (s *Store) Mended() string { return s.health().mended }

// Unwritten returns why the files do not hold everything that the store was
// given, or nil. The next save tries again, and so does Flush.
func (s *Store) Unwritten() error { return s.health().unwritten }

// Flush makes sure that what Open found is on the disk. Whoever acts on that,
// beyond telling it, calls Flush before. It also writes what is held and could
// not be written, and looks whether there is room again for a save that failed:
// after nil, repeat that. It writes nothing unless something failed. The error
// is the one that Unwritten then returns.
func (s *Store) Flush() error {
	s.begin()
	defer s.end()
	if s.unwritten != nil || s.unsynced {
		s.unwritten = s.flush()
	}
	return s.unwritten
}

// Close releases the state directory.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	lock := s.lock
	s.lock, s.closed = nil, true
	if lock == nil {
		return nil
	}
	return lock.Close()
}

func (s *Store) path(name string) string { return filepath.Join(s.dir, name) }

// flush brings the files up to date with what is held. If the database must be
// set aside, a stale copy comes first: at every moment one of the two files has
// the credentials.
func (s *Store) flush() error {
	if err := s.ready(); err != nil {
		return err
	}
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
	err := s.sync()
	if err != nil && s.dbStale {
		err = s.commit(nil)
	}
	if err != nil {
		return err
	}
	if err := s.tryRoom(); err != nil {
		return advise(fmt.Errorf("write %s: %w", s.path(dbName), err))
	}
	return nil
}

// sync makes sure that both files are on the disk.
func (s *Store) sync() error {
	if err := syncFile(s.path(dbName), true); err != nil {
		s.dbStale = s.dbStale || !untouched(err) || errors.Is(err, fs.ErrNotExist)
		return advise(fmt.Errorf("sync the database: %w", err))
	}
	if err := syncDir(s.dir); err != nil {
		return advise(fmt.Errorf("sync the state directory: %w", err))
	}
	s.unsynced = false
	return nil
}

// roomToChange is how much a small change of the database takes at most, in
// bytes, if no page of it is free.
const roomToChange = 64 << 10

// tryRoom finds out whether a save that failed would succeed now. Only a write
// shows whether a full disk has room again.
func (s *Store) tryRoom() error {
	if s.refused == 0 {
		return nil
	}
	name := s.path(dbName) + ".new"
	if err := removeLeftover(name); err != nil {
		return err
	}
	err := writeFile(name, make([]byte, roomToChange+s.refused))
	if rmErr := os.Remove(name); !errors.Is(rmErr, fs.ErrNotExist) {
		err = errors.Join(err, rmErr)
	}
	if err == nil {
		s.refused = 0
	}
	return err
}

// save writes values and, if the identity changed, its generation and the copy.
// The database comes first, because it is the one that is read.
func (s *Store) save(changed values, next identity) error {
	renewed := next.Generation != s.identity.Generation
	if renewed {
		changed[keyMeta] = meta{Version: version, Generation: next.Generation}
	}
	es, err := changed.encode()
	if err != nil {
		return err
	}
	if err = s.commit(es); err == nil {
		s.identity, s.copyStale = next, s.copyStale || renewed
		err = s.writeCopy()
	}
	switch {
	case err != nil:
		s.unwritten = err
		s.refused = max(s.refused, sizeOf(es))
	case s.unwritten != nil:
		s.unwritten = s.flush()
	}
	return err
}

func sizeOf(es []entry) (size int) {
	for _, e := range es {
		size += len(e.key) + len(e.value)
	}
	return size
}
