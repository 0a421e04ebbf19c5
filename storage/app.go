package storage

import (
	"errors"
	"maps"
	"strings"
)

// The kinds of entries of one app. An entry's key is endpoint, app and kind,
// separated by NULs, which none of them holds.
const (
	kindCredentials = "credentials"
	kindHistory     = "history"
	kindToken       = "token"
	kindRetry       = "retry"
	kindTransitions = "story"
)

func appKey(endpoint, app string) string { return endpoint + "\x00" + app }

// splitKey splits an entry's key into the key of its app and the kind.
func splitKey(key string) (app, kind string, ok bool) {
	i := strings.LastIndexByte(key, 0)
	if i < 0 || strings.IndexByte(key, 0) == i {
		return "", "", false
	}
	return key[:i], key[i+1:], true
}

// App returns what is stored for an app, or the zero App.
func (s *Store) App(endpoint, app string) (App, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return App{}, errClosed
	}
	key := appKey(endpoint, app)
	acc := s.identity.Apps[key]
	return App{
		Credentials: acc.Credentials, History: acc.History,
		Token:       find[Token](s.held, key+"\x00"+kindToken),
		Retry:       find[Retry](s.held, key+"\x00"+kindRetry),
		Transitions: find[Transitions](s.held, key+"\x00"+kindTransitions),
	}, nil
}

// SaveApp stores an app as it is now, in one transaction, and the copy if the
// credentials changed. After an error the same call may be repeated; the part
// that was done by then stays.
func (s *Store) SaveApp(endpoint, app string, a App) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	es, err := a.entries(endpoint, app)
	if err != nil {
		return err
	}
	next := s.identity.with(appKey(endpoint, app), account{a.Credentials, a.History})
	return s.save(es, next)
}

// Identifier returns the stored device identifier, and whether there is one.
func (s *Store) Identifier() (Identifier, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.identity.Identifier == nil {
		return Identifier{}, false
	}
	return *s.identity.Identifier, true
}

// SaveIdentifier stores the device identifier in both files.
func (s *Store) SaveIdentifier(dev Identifier) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := encode(keyIdentifier, dev)
	if err != nil {
		return err
	}
	next := s.identity
	if next.Identifier == nil || *next.Identifier != dev {
		next.Identifier = &dev
		next.Generation++
	}
	return s.save([]entry{e}, next)
}

// Holders returns the files that have the ids of the apps.
func (s *Store) Holders() Holders {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.identity.Holders)
}

// SaveHolders stores the files that have the ids, in both files.
func (s *Store) SaveHolders(h Holders) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := encode(keyHolders, h)
	if err != nil {
		return err
	}
	next := s.identity
	if !maps.Equal(next.Holders, h) {
		next.Holders = maps.Clone(h)
		next.Generation++
	}
	return s.save([]entry{e}, next)
}

// Gate returns how long the throttle stays shut: the zero Gate if it is open.
func (s *Store) Gate() (Gate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return Gate{}, errClosed
	}
	if g := find[Gate](s.held, keyGate); g != nil {
		return *g, nil
	}
	return Gate{}, nil
}

// SaveGate stores how long the throttle stays shut.
func (s *Store) SaveGate(g Gate) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := encode(keyGate, g)
	if err != nil {
		return err
	}
	return s.save([]entry{e}, s.identity)
}

// entries returns the database's form of an app: one entry of each kind. Nil
// fields become entries to delete.
func (a App) entries(endpoint, app string) ([]entry, error) {
	key := appKey(endpoint, app)
	es, err := account{a.Credentials, a.History}.entries(key)
	token, errToken := encode(key+"\x00"+kindToken, a.Token)
	retry, errRetry := encode(key+"\x00"+kindRetry, a.Retry)
	transitions, errTransitions := encode(key+"\x00"+kindTransitions, a.Transitions)
	return append(es, token, retry, transitions), errors.Join(err, errToken, errRetry, errTransitions)
}

func (acc account) entries(key string) ([]entry, error) {
	credentials, errCredentials := encode(key+"\x00"+kindCredentials, acc.Credentials)
	history, errHistory := encode(key+"\x00"+kindHistory, acc.History)
	return []entry{credentials, history}, errors.Join(errCredentials, errHistory)
}
