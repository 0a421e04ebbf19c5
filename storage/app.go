package storage

import "strings"

// The kinds of entries of one app. Its key is endpoint, app and kind with NULs between, which neither may hold.
const (
	kindCredentials = "credentials"
	kindHistory     = "history"
	kindToken       = "token"
	kindRetry       = "retry"
	kindStory       = "story"
)

func appKey(endpoint, app string) string { return endpoint + "\x00" + app }

// splitKey parts an entry's key into that of its app and the kind.
func splitKey(key string) (app, kind string, ok bool) {
	i := strings.LastIndexByte(key, 0)
	if i < 0 || strings.IndexByte(key, 0) == i {
		return "", "", false
	}
	return key[:i], key[i+1:], true
}

// App reads what is kept for an app; nothing at all is a zero App.
func (s *Store) App(endpoint, app string) (App, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lock == nil {
		return App{}, errClosed
	}
	key := appKey(endpoint, app)
	acc := s.identity.Apps[key]
	a := App{Credentials: acc.Credentials, History: acc.History}
	if t := (Token{}); s.held.decode(key+"\x00"+kindToken, &t) {
		a.Token = &t
	}
	if r := (Retry{}); s.held.decode(key+"\x00"+kindRetry, &r) {
		a.Retry = &r
	}
	if st := (Story{}); s.held.decode(key+"\x00"+kindStory, &st) {
		a.Story = &st
	}
	return a, nil
}

// SaveApp stores an app as it is now, in one transaction, and the copy where credentials changed. After an error the
// same call may be made again; what was reached by then stays.
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

// Identifier returns the stored device identifier.
func (s *Store) Identifier() (Identifier, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.identity.Identifier == nil {
		return Identifier{}, false
	}
	return *s.identity.Identifier, true
}

// SaveIdentifier stores the device identifier, twice.
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

// Gate reads how long the throttle stays shut; a zero Gate where it is not.
func (s *Store) Gate() (Gate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lock == nil {
		return Gate{}, errClosed
	}
	var g Gate
	s.held.decode(keyGate, &g)
	return g, nil
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

// save writes entries and, where the identity changed, its generation and the copy. The database comes first: it is the
// one that is read.
func (s *Store) save(es []entry, next identity) error {
	changed := next.Generation != s.identity.Generation
	if changed {
		m, err := encode(keyMeta, meta{Version: version, Generation: next.Generation})
		if err != nil {
			return err
		}
		es = append(es, m)
	}
	err := s.commit(es)
	if err == nil {
		s.identity, s.copyStale = next, s.copyStale || changed
		err = s.writeCopy()
	}
	switch {
	case err != nil:
		s.unwritten = err
	case s.unwritten != nil:
		s.unwritten = s.flush()
	}
	return err
}

// with is the identity with one account changed, one generation on; or the same identity where nothing changes.
func (id identity) with(key string, acc account) identity {
	if id.Apps[key].equal(acc) {
		return id
	}
	apps := make(map[string]account, len(id.Apps)+1)
	for k, v := range id.Apps {
		apps[k] = v
	}
	apps[key] = acc
	return identity{Generation: id.Generation + 1, Identifier: id.Identifier, Apps: apps}
}

// entries are the database's form of an app, every kind of them: what is nil must be deleted.
func (a App) entries(endpoint, app string) ([]entry, error) {
	key := appKey(endpoint, app)
	es, err := account{a.Credentials, a.History}.entries(key)
	if err != nil {
		return nil, err
	}
	token, err := encode(key+"\x00"+kindToken, a.Token)
	if err != nil {
		return nil, err
	}
	retry, err := encode(key+"\x00"+kindRetry, a.Retry)
	if err != nil {
		return nil, err
	}
	story, err := encode(key+"\x00"+kindStory, a.Story)
	return append(es, token, retry, story), err
}

func (acc account) entries(key string) ([]entry, error) {
	credentials, err := encode(key+"\x00"+kindCredentials, acc.Credentials)
	if err != nil {
		return nil, err
	}
	history, err := encode(key+"\x00"+kindHistory, acc.History)
	return []entry{credentials, history}, err
}
