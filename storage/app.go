package storage

import (
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
	a := App{Credentials: acc.Credentials, History: acc.History}
	s.held.find(key+"\x00"+kindToken, &a.Token)
	s.held.find(key+"\x00"+kindRetry, &a.Retry)
	s.held.find(key+"\x00"+kindTransitions, &a.Transitions)
	return a, nil
}

// SaveApp stores an app as it is now, in one transaction, and the copy if the
// credentials changed. After an error the same call may be repeated; the part
// that was done by then stays.
func (s *Store) SaveApp(endpoint, app string, a App) error {
	s.begin()
	defer s.end()
	key := appKey(endpoint, app)
	return s.save(a.values(key), s.identity.with(key, account{a.Credentials, a.History}))
}

// Identifier returns the stored device identifier, and whether there is one. It
// calls Flush before: viewers sign in under the identifier.
func (s *Store) Identifier() (Identifier, bool) {
	_ = s.Flush() // Unwritten has the error
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.identity.Identifier == nil {
		return Identifier{}, false
	}
	return *s.identity.Identifier, true
}

// SaveIdentifier stores the device identifier in both files.
func (s *Store) SaveIdentifier(dev Identifier) error {
	s.begin()
	defer s.end()
	next := s.identity
	if next.Identifier == nil || *next.Identifier != dev {
		next.Identifier = &dev
		next.Generation++
	}
	return s.save(values{keyIdentifier: dev}, next)
}

// Holders returns the files that have the ids of the apps.
func (s *Store) Holders() Holders {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.identity.Holders)
}

// SaveHolders stores the files that have the ids, in both files.
func (s *Store) SaveHolders(h Holders) error {
	s.begin()
	defer s.end()
	next := s.identity
	if !maps.Equal(next.Holders, h) {
		next.Holders = maps.Clone(h)
		next.Generation++
	}
	return s.save(values{keyHolders: h}, next)
}

// Gate returns how long the throttle stays shut: the zero Gate if it is open.
func (s *Store) Gate() (g Gate, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return g, errClosed
	}
	s.held.find(keyGate, &g)
	return g, nil
}

// SaveGate stores how long the throttle stays shut.
func (s *Store) SaveGate(g Gate) error {
	s.begin()
	defer s.end()
	return s.save(values{keyGate: g}, s.identity)
}

// values returns what the database holds of an app: one value of each kind.
func (a App) values(key string) values {
	all := account{a.Credentials, a.History}.values(key)
	all[key+"\x00"+kindToken] = a.Token
	all[key+"\x00"+kindRetry] = a.Retry
	all[key+"\x00"+kindTransitions] = a.Transitions
	return all
}

func (acc account) values(key string) values {
	return values{key + "\x00" + kindCredentials: acc.Credentials, key + "\x00" + kindHistory: acc.History}
}
