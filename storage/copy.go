package storage

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
)

// identity is what a viewer would be signed out without.
type identity struct {
	Generation uint64             `json:"generation"`
	Identifier *Identifier        `json:"identifier,omitempty"`
	Apps       map[string]account `json:"apps"` // by appKey
	Holders    Holders            `json:"holders,omitempty"`
}

// account is the part of an App that the copy holds too.
type account struct {
	Credentials *Credentials `json:"credentials,omitempty"`
	History     History      `json:"history"`
}

// readCopy reads the second copy, for decodeCopy. Its errors are those of
// readFile.
func readCopy(path string) ([]byte, error) {
	raw, err := readFile(path)
	if err != nil {
		return nil, err
	}
	value, ok := unseal(copyName, raw)
	if !ok {
		return nil, fmt.Errorf("%w: its checksum is wrong", ErrDamaged)
	}
	return value, nil
}

func decodeCopy(value []byte) (id identity, err error) {
	if json.Unmarshal(value, &id) != nil {
		return identity{}, fmt.Errorf("%w: it is not an identity", ErrDamaged)
	}
	return id, nil
}

// writeCopy writes s.identity to the second copy if that is stale.
func (s *Store) writeCopy() error {
	if !s.copyStale {
		return nil
	}
	value, err := json.Marshal(s.identity)
	if err != nil {
		return fmt.Errorf("encode the copy of the credentials: %w", err)
	}
	stored := !s.dbStale && s.dbBad == nil
	err = replace(s.path(copyName), stored, func(name string) error {
		sealed := seal(copyName, value)
		if err := writeFile(name, sealed); err != nil {
			return err
		}
		s.written.add(len(sealed))
		return s.aside(copyName, "the copy of the credentials", &s.copyBad)
	})
	if err != nil {
		return advise(fmt.Errorf("write the copy of the credentials: %w", err))
	}
	s.copyStale = false
	return nil
}

// reconcile combines the content of database and copy. If both are readable, the
// one with the higher generation is right: a power cut between the two writes
// leaves the copy behind, and a database that fell back to its older meta page
// is behind the copy. If the database is damaged, each supplies what the other
// lacks.
func (s *Store) reconcile(found entries, dbErr error, copied []byte, copyErr error) error {
	id := identityOf(found)
	kept := id
	encoded, err := json.Marshal(id)
	same := copyErr == nil && err == nil && bytes.Equal(encoded, copied) // as usual: decoding takes longer
	if copyErr == nil && !same {
		kept, copyErr = decodeCopy(copied)
	}
	behind := copyErr == nil && kept.Generation > id.Generation
	_, hasMeta := found[keyMeta]
	switch {
	case behind && !hasMeta:
		id = kept.filled(id)
	case behind:
		id = kept
	case copyErr == nil && dbErr != nil:
		id = id.filled(kept)
	}
	s.identity = id
	s.dbStale = behind || dbErr != nil
	s.copyStale = copyErr != nil || !same && !sameJSON(id, kept)
	if errors.Is(dbErr, ErrDamaged) {
		s.dbBad = dbErr
	}
	if copyErr != nil && !errors.Is(copyErr, fs.ErrNotExist) { // whatever the reason: it may be the last copy
		s.copyBad = copyErr
	}
	s.noteRestored(dbErr, copyErr)
	if !s.dbStale {
		s.held = found // byte for byte: another version of this program may know more fields
		return nil
	}
	all, err := id.values().encode()
	s.held = found.without(isIdentity).with(all)
	return err
}

// noteRestored notes for Mended what came from the copy, or that nothing could.
func (s *Store) noteRestored(dbErr, copyErr error) {
	switch {
	case s.identity.empty() && (s.dbBad != nil || s.copyBad != nil):
		s.mended = append(s.mended, "nothing could be restored: this device has no credentials and registers every app anew")
	case errors.Is(dbErr, fs.ErrNotExist) && copyErr == nil && !s.identity.empty():
		s.mended = append(s.mended, "the database was missing; the credentials were restored from their copy")
	}
}

// isIdentity reports whether an entry is part of the identity.
func isIdentity(key string) bool {
	_, kind, _ := splitKey(key)
	return key == keyMeta || key == keyIdentifier || key == keyHolders || kind == kindCredentials || kind == kindHistory
}

// identityOf collects the identity from the entries of a database.
func identityOf(found entries) identity {
	var m meta
	found.find(keyMeta, &m)
	id := identity{Generation: m.Generation, Apps: map[string]account{}}
	found.find(keyIdentifier, &id.Identifier)
	found.find(keyHolders, &id.Holders)
	for key := range found {
		app, kind, ok := splitKey(key)
		if !ok {
			continue
		}
		acc := id.Apps[app]
		switch kind {
		case kindCredentials:
			found.find(key, &acc.Credentials)
		case kindHistory:
			found.find(key, &acc.History)
		default:
			continue
		}
		id.Apps[app] = acc
	}
	return id
}

// filled returns the identity with what it lacks taken from another one.
func (id identity) filled(other identity) identity {
	if id.Identifier == nil {
		id.Identifier = other.Identifier
	}
	apps := map[string]account{}
	maps.Copy(apps, id.Apps)
	for key, acc := range other.Apps {
		have := apps[key]
		if have.Credentials == nil {
			have.Credentials = acc.Credentials
		}
		if have.History.Registrations < acc.History.Registrations {
			have.History = acc.History
		}
		apps[key] = have
	}
	holders := maps.Clone(other.Holders)
	if holders == nil {
		holders = Holders{}
	}
	maps.Copy(holders, id.Holders)
	id.Apps, id.Holders = apps, holders
	id.Generation = max(id.Generation, other.Generation)
	return id
}

// empty reports whether the identity holds nothing that a viewer would miss.
func (id identity) empty() bool {
	for _, acc := range id.Apps {
		if acc.Credentials != nil {
			return false
		}
	}
	return id.Identifier == nil
}

// with returns the identity with one account changed, one generation later, or
// the same identity if nothing changes.
func (id identity) with(key string, acc account) identity {
	if sameJSON(id.Apps[key], acc) {
		return id
	}
	apps := maps.Clone(id.Apps)
	if apps == nil {
		apps = map[string]account{}
	}
	apps[key] = acc
	id.Apps = apps
	id.Generation++
	return id
}

// values returns what the database holds of an identity.
func (id identity) values() values {
	all := values{keyMeta: meta{Version: version, Generation: id.Generation}}
	if id.Identifier != nil {
		all[keyIdentifier] = id.Identifier
	}
	if len(id.Holders) > 0 {
		all[keyHolders] = id.Holders
	}
	for key, acc := range id.Apps {
		maps.Copy(all, acc.values(key))
	}
	return all
}

// sameJSON reports whether two values would be stored as the same bytes.
func sameJSON(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
