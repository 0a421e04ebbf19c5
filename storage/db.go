package storage

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"runtime/debug"
	"slices"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/tvpassd/tvpassd/storage/fserr"
)

// bucket is the name of the one bucket. Everything is small and has few keys,
// so that a change touches one leaf, the root and a meta page.
const bucket = "tvpassd"

var (
	errStale = errors.New("the database may hold something else")
	errWhole = errors.New("this file system does not let the database be changed in place")
)

// commit changes entries of the database in one transaction. It writes nothing
// if nothing changes, because flash wears.
func (s *Store) commit(want []entry) error {
	if err := s.ready(); err != nil {
		return err
	}
	changes := s.held.changes(want)
	if len(changes) == 0 && !s.dbStale {
		return nil
	}
	if s.unsynced { // bbolt reuses pages that the state on the disk may still need
		if err := s.sync(); err != nil && !s.dbStale { // a stale one is made anew
			return err
		}
	}
	next := s.held.with(changes)
	err := s.change(changes)
	if errors.Is(err, ErrDamaged) || errors.Is(err, fs.ErrNotExist) ||
		errors.Is(err, errStale) || errors.Is(err, errWhole) {
		err = s.rebuild(next, err)
		s.dbStale, s.unsynced = err != nil, s.unsynced && err != nil
	}
	if err != nil {
		return advise(fmt.Errorf("write %s: %w", s.path(dbName), err))
	}
	s.held = next
	s.wrote, _ = os.Stat(s.path(dbName)) // nil is for [Store.aside]
	return nil
}

// change changes entries of the database in place. After ErrDamaged,
// fs.ErrNotExist, errStale and errWhole the database must be made anew.
func (s *Store) change(changes []entry) error {
	if err := s.inspect(); err != nil {
		return err
	}
	if s.whole {
		return errWhole
	}
	err := s.written.update(s.path(dbName), changes)
	s.dbStale = err != nil && !untouched(err)
	if unsupported(err) {
		return fmt.Errorf("%w: %w", errWhole, err)
	}
	return err
}

// inspect reads the database before bbolt does, because bbolt trusts its pages.
// It returns nil if the database can be changed in place.
func (s *Store) inspect() error {
	found, err := readDB(s.path(dbName))
	switch {
	case err != nil:
		return err
	case s.dbStale:
		return errStale
	case !maps.EqualFunc(found, s.held, bytes.Equal):
		return fmt.Errorf("%w: it does not hold what was written to it", ErrDamaged)
	}
	return nil
}

// untouched reports whether an error of update left the database as it was: it
// could not be opened, or there was no room for a page. After a failed sync its
// state is unknown.
func untouched(err error) bool {
	at, ok := errors.AsType[*fs.PathError](err)
	return ok && (at.Op == "open" || at.Op == "lock" || at.Op == "write")
}

// unsupported reports whether an error of update means that the file system or
// the kernel lacks something that bbolt needs: locks, shared memory maps, a
// sync, a change of size. bbolt passes some of these errors on as text alone,
// so this is whatever is not known to be something else.
func unsupported(err error) bool {
	if at, ok := errors.AsType[*fs.PathError](err); ok && (at.Op == "open" || at.Op == "lock") {
		return false
	}
	return err != nil && !errors.Is(err, ErrDamaged) && !fserr.MayPass(err)
}

// rebuild makes a new database. The old one stays in place until the new one is
// complete; then, if it is damaged, it gets another name. It is not written to:
// if a power cut undid a write that failed, bbolt would take used pages for
// free ones.
func (s *Store) rebuild(next entries, why error) error {
	s.dbBad = nil
	if errors.Is(why, ErrDamaged) {
		s.dbBad = why
	}
	whole := s.whole || errors.Is(why, errWhole)
	copied := !s.copyStale && s.copyBad == nil
	return replace(s.path(dbName), copied, func(name string) error {
		if err := s.build(name, next.list(), whole); err != nil {
			return err
		}
		return s.aside(dbName, "the database", &s.dbBad)
	})
}

// build makes a database under a name that is free: with bbolt, or as a whole
// where bbolt can't.
func (s *Store) build(name string, all []entry, whole bool) error {
	if !whole {
		err := s.written.update(name, all)
		if !unsupported(err) && !errors.Is(err, ErrDamaged) { // a new file is sound: its memory map failed
			return err
		}
		if err := removeLeftover(name); err != nil {
			return err
		}
	}
	file := compose(all)
	if err := writeFile(name, file); err != nil {
		return err
	}
	s.written.add(len(file))
	s.whole = true
	return nil
}

// keptAside is how many of the databases are kept that this process wrote and the
// disk does not give back. They held what the process holds; the next one would
// only fill the disk. What anybody else wrote, or an earlier process, is kept.
const keptAside = 8

// aside sets a file aside if it is bad.
func (s *Store) aside(name, what string, bad *error) error {
	if *bad == nil {
		return nil
	}
	now, err := os.Stat(s.path(name))
	own := name == dbName && err == nil && s.wrote != nil && os.SameFile(now, s.wrote) &&
		now.Size() == s.wrote.Size() && now.ModTime().Equal(s.wrote.ModTime())
	kept, err := setAside(s.path(name), s.now())
	if errors.Is(err, fs.ErrNotExist) { // somebody else took it away
		*bad = nil
		return nil
	}
	if err != nil {
		return fmt.Errorf("set %s aside, which is damaged: %w", what, err)
	}
	became := "it is kept as " + kept
	if own && countAside(s.path(name)) > keptAside && os.Remove(kept) == nil {
		became = "others are kept already"
	}
	said := fmt.Sprintf("%s was not usable (%v); %s", what, *bad, became)
	if !slices.Contains(s.mended, said) {
		s.mended = append(s.mended, said)
	}
	*bad = nil
	return nil
}

// update changes a database that is known to be sound, or makes one.
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
			_ = file.Close() // bbolt leaves it open, and locked, when it panics
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
		w.add(int(stats.GetPageAlloc()) + uncounted*db.Info().PageSize)
		return errors.Join(err, db.Close())
	})
}

func apply(tx *bbolt.Tx, changes []entry) error {
	b, err := tx.CreateBucketIfNotExists([]byte(bucket))
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

// openError sorts the errors of bbolt.Open: those of the file's content are
// ErrDamaged.
func openError(path string, err error) error {
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return &fs.PathError{Op: "lock", Path: path, Err: errors.New("another program has it open: end that")}
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrVersionMismatch),
		errors.Is(err, berrors.ErrChecksum):
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	default:
		return err
	}
}

// guard runs f and turns a panic into an error. bbolt panics on pages that make
// no sense, and a file that is cut short under its memory map faults.
func guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", ErrDamaged, r)
		}
	}()
	return f()
}
