package storage

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
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

// readCopy reads the second copy. Its errors are those of readFile.
func readCopy(path string) (identity, error) {
	raw, err := readFile(path)
	if err != nil {
		return identity{}, err
	}
	var id identity
	value, ok := unseal(copyName, raw)
	if !ok || json.Unmarshal(value, &id) != nil {
		return identity{}, fmt.Errorf("%w: its checksum is wrong", ErrDamaged)
	}
	return id, nil
}

// writeCopy brings the second copy up to s.identity, where it is not.
func (s *Store) writeCopy() error {
	if !s.copyStale {
		return nil
	}
	value, err := json.Marshal(s.identity)
	if err != nil {
		return fmt.Errorf("encode the copy of the credentials: %w", err)
	}
	err = replace(s.path(copyName), func(name string) error {
		sealed := seal(copyName, value)
		if err := writeFile(name, sealed); err != nil {
			return err
		}
		s.written.add(int64(len(sealed)))
		return s.aside(copyName, "the copy of the credentials", &s.copyBad)
	})
	if err != nil {
		return fmt.Errorf("write the copy of the credentials: %w", advise(err))
	}
	s.copyStale = false
	return nil
}

// reconcile decides what is held, of what database and copy hold. The one that has seen more changes is right: a cut
// between the two writes leaves the copy behind, a database that fell back to its older meta page is behind itself.
// Where the database is damaged each gives what the other lacks.
func (s *Store) reconcile(found entries, dbErr error, kept identity, copyErr error) error {
	id := identityOf(found)
	behind := copyErr == nil && kept.Generation > id.Generation
	_, hasMeta := found[keyMeta]
	switch {
	case behind && !hasMeta:
		kept.fill(id)
		id = kept
	case behind:
		id = kept
	case copyErr == nil && dbErr != nil:
		id.fill(kept)
	}
	s.identity = id
	s.dbStale = behind || dbErr != nil
	s.copyStale = copyErr != nil || errors.Is(dbErr, ErrDamaged) || kept.Generation != id.Generation
	if errors.Is(dbErr, ErrDamaged) {
		s.dbBad = dbErr
	}
	if copyErr != nil && !errors.Is(copyErr, fs.ErrNotExist) { // whatever keeps us from reading it: it may be the last
		s.copyBad = copyErr
	}
	s.tell(dbErr, copyErr)
	if !s.dbStale {
		s.held = found // byte for byte: another version of this program may know more fields
		return nil
	}
	all, err := id.entries()
	s.held = found.without(isIdentity).with(all)
	return err
}

// tell notes what Mended says beside what was set aside.
func (s *Store) tell(dbErr, copyErr error) {
	switch {
	case s.identity.empty() && (s.dbBad != nil || s.copyBad != nil):
		s.mended = append(s.mended, "nothing could be restored: this device has no credentials and registers every app anew")
	case errors.Is(dbErr, fs.ErrNotExist) && copyErr == nil && !s.identity.empty():
		s.mended = append(s.mended, "the database was missing; the credentials were restored from their copy")
	}
}

// isIdentity tells whether an entry is part of the identity.
func isIdentity(key string) bool {
	_, kind, _ := splitKey(key)
	return key == keyMeta || key == keyIdentifier || kind == kindCredentials || kind == kindHistory
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

// fill takes from another identity what this one lacks.
func (id *identity) fill(other identity) {
	if id.Identifier == nil {
		id.Identifier = other.Identifier
	}
	if id.Apps == nil {
		id.Apps = map[string]account{}
	}
	for key, acc := range other.Apps {
		have := id.Apps[key]
		if have.Credentials == nil {
			have.Credentials = acc.Credentials
		}
		if have.History.Registrations < acc.History.Registrations {
			have.History = acc.History
		}
		id.Apps[key] = have
	}
	id.Generation = max(id.Generation, other.Generation)
}

// empty tells that there is nothing that a viewer would miss.
func (id identity) empty() bool {
	for _, acc := range id.Apps {
		if acc.Credentials != nil {
			return false
		}
	}
	return id.Identifier == nil
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
