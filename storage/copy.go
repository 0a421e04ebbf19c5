package storage

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// identity is what a viewer is signed out without.
type identity struct {
	Generation uint64             `json:"generation"`
	Identifier *Identifier        `json:"identifier,omitempty"`
	Apps       map[string]account `json:"apps"` // by appKey
}

// account is the part of an App that the copy holds too.
type account struct {
	Credentials *Credentials `json:"credentials,omitempty"`
	History     History      `json:"history"`
}

// readCopy reads the second copy. A missing one is fs.ErrNotExist, a damaged one ErrDamaged.
func readCopy(path string) (identity, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return identity{}, fmt.Errorf("read the copy of the credentials: %w", err)
	}
	var id identity
	value, ok := unseal(copyName, raw)
	if !ok || json.Unmarshal(value, &id) != nil {
		return identity{}, fmt.Errorf("the copy of the credentials, %s: %w", path, ErrDamaged)
	}
	return id, nil
}

// writeCopy brings the second copy up to s.identity.
func (s *Store) writeCopy() error {
	value, err := json.Marshal(s.identity)
	if err != nil {
		return fmt.Errorf("encode the copy of the credentials: %w", err)
	}
	s.copyStale = true
	if err := replaceFile(s.path(copyName), seal(copyName, value)); err != nil {
		return fmt.Errorf("write the copy of the credentials: %w", err)
	}
	s.copyStale = false
	return nil
}

// replaceFile puts content in the place of the file at path, so that after a power cut there is either the old or the new.
func replaceFile(path string, content []byte) (err error) {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes the names in a directory survive a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) { // a file system without it
		err = nil
	}
	return errors.Join(err, d.Close())
}

// setAside renames a damaged file and returns its new name. It never overwrites: two of one second get a number.
func setAside(path string, now time.Time) (string, error) {
	base := path + ".damaged-" + now.UTC().Format("20060102T150405Z")
	for name, n := base, 2; ; name, n = fmt.Sprintf("%s-%d", base, n), n+1 {
		if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
			if err != nil {
				return "", err
			}
			continue
		}
		if err := os.Rename(path, name); err != nil {
			return "", err
		}
		return name, syncDir(filepath.Dir(path))
	}
}

// reconcile makes database and copy agree after Open. The one that has seen more changes is right: a cut between the two
// writes leaves the copy behind, a database that fell back to its older meta page is behind itself.
func (s *Store) reconcile(found entries, kept identity, copyErr error) error {
	s.identity = identityOf(found)
	var m meta
	hasMeta := found.decode(keyMeta, &m)
	newer := copyErr == nil && (!hasMeta || kept.Generation > m.Generation || s.mended != "")
	if newer {
		s.identity.merge(kept)
	}
	if s.mended == "" && copyErr == nil && hasMeta && kept.Generation == m.Generation {
		return nil
	}
	if errors.Is(copyErr, ErrDamaged) && s.mended == "" {
		s.mended = copyErr.Error() + "; it was made anew from the database"
	}
	if newer && !hasMeta && s.mended == "" {
		s.mended = "the database was missing or empty; the credentials were restored from their copy"
	}
	all, err := s.identity.entries()
	if err != nil {
		return err
	}
	for key, value := range found { // what was saved of a damaged database goes into the new one
		all = append(all, entry{key, value})
	}
	all = dropShadowed(all)
	if err := s.write(all); err != nil {
		return err
	}
	return s.writeCopy()
}

// dropShadowed keeps the first entry of every key.
func dropShadowed(all []entry) []entry {
	seen := map[string]bool{}
	kept := all[:0]
	for _, e := range all {
		if !seen[e.key] {
			seen[e.key] = true
			kept = append(kept, e)
		}
	}
	return kept
}

// identityOf collects the identity out of a database's entries.
func identityOf(found entries) identity {
	id := identity{Apps: map[string]account{}}
	var m meta
	if found.decode(keyMeta, &m) {
		id.Generation = m.Generation
	}
	if dev := (Identifier{}); found.decode(keyIdentifier, &dev) {
		id.Identifier = &dev
	}
	for key := range found {
		app, kind, ok := splitKey(key)
		if !ok {
			continue
		}
		acc := id.Apps[app]
		switch kind {
		case kindCredentials:
			if c := (Credentials{}); found.decode(key, &c) {
				acc.Credentials = &c
			}
		case kindHistory:
			found.decode(key, &acc.History)
		default:
			continue
		}
		id.Apps[app] = acc
	}
	return id
}

// merge takes over what the copy knows better: all of it where the copy has seen more changes, otherwise what is missing.
func (id *identity) merge(kept identity) {
	if kept.Generation > id.Generation {
		*id = kept
		if id.Apps == nil {
			id.Apps = map[string]account{}
		}
		return
	}
	if id.Identifier == nil {
		id.Identifier = kept.Identifier
	}
	for key, acc := range kept.Apps {
		have := id.Apps[key]
		if have.Credentials == nil {
			have.Credentials = acc.Credentials
		}
		if have.History.Registrations < acc.History.Registrations {
			have.History = acc.History
		}
		id.Apps[key] = have
	}
}

// entries are the database's form of an identity.
func (id identity) entries() ([]entry, error) {
	m, err := encode(keyMeta, meta{Version: version, Generation: id.Generation})
	if err != nil {
		return nil, err
	}
	all := []entry{m}
	if id.Identifier != nil {
		e, err := encode(keyIdentifier, id.Identifier)
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	for key, acc := range id.Apps {
		es, err := acc.entries(key)
		if err != nil {
			return nil, err
		}
		all = append(all, es...)
	}
	return all, nil
}

// equal tells whether two accounts would be stored as the same bytes.
func (acc account) equal(other account) bool {
	a, errA := json.Marshal(acc)
	b, errB := json.Marshal(other)
	return errA == nil && errB == nil && bytes.Equal(a, b)
}
