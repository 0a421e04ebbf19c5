package broker

import (
	"time"

	"github.com/tvpassd/tvpassd/daemon/dcr"
	"github.com/tvpassd/tvpassd/storage"
)

const (
	// confirmAfter is how long after a first invalid_client the next one is asked
	// for, at the earliest: the server must say twice that it does not know the
	// credentials, for replacing them signs viewers out.
	confirmAfter = 5 * time.Second
	// replaceEvery is how often refused credentials may be replaced at most.
	replaceEvery = 24 * time.Hour
	// keptAside is how many replaced pairs of credentials are kept.
	keptAside = 3
)

// changeHistory replaces the history by a changed one.
func (m *machine) changeHistory(change func(*storage.History)) {
	h := *m.rec.History
	change(&h)
	m.rec.History = &h
}

// registered takes the answer of a registration.
func (m *machine) registered(c dcr.Credentials, at moment) {
	old := m.rec.Credentials
	m.changeHistory(func(h *storage.History) {
		h.Registrations++
		if old != nil {
			aside := append([]storage.Credentials{*old}, h.Aside...)
			h.Aside = aside[:min(len(aside), keptAside)]
			stamp := at.time.stamp(at.Reading)
			stamp.Wall = time.Time{}
			h.Replaced = &stamp
		}
	})
	m.dateReplacement(at)
	m.rec.Credentials = &storage.Credentials{
		ClientID: c.ClientID, ClientSecret: c.ClientSecret,
		IssuedAt: c.IssuedAt, RegisteredAt: at.Wall.UTC().Truncate(time.Second),
		RedirectURIs: c.RedirectURIs, GrantTypes: c.GrantTypes, Scopes: c.Scopes,
	}
	m.succeeded(at)
	m.now = true // a token of the replaced pair may still be valid; it can't be relied on
}

// dateReplacement dates the last replacement of refused credentials, once
// something vouches for the time. After a reboot that is later than it was: it is
// better to put another replacement off than to make two in a day.
func (m *machine) dateReplacement(at moment) {
	last := m.rec.History.Replaced
	if last == nil || !last.Wall.IsZero() {
		return
	}
	if current, ok := at.time.trueTime(at.Reading); ok {
		stamp := *last
		stamp.Wall = current.UTC()
		if at.time.thisBoot(stamp, at.Reading) {
			stamp.Wall = stamp.Wall.Add(stamp.Boot - at.Boot)
		}
		m.changeHistory(func(h *storage.History) { h.Replaced = &stamp })
	}
}

// suspected reports whether the server said that it does not know the
// credentials: that is settled soon, even while there is a valid token.
func (m *machine) suspected() bool { return m.rec.Retry != nil && m.rec.Retry.Suspect != nil }

// mayReplace reports whether refused credentials are to be replaced now.
func (m *machine) mayReplace(retry *storage.Retry, at moment) bool {
	if retry == nil || !retry.Condemned {
		return false
	}
	last := m.rec.History.Replaced
	return last == nil || at.time.passed(*last, replaceEvery, at.Reading)
}

// suspect counts invalid_client answers to token requests. The second one in a
// row, some seconds after the first, condemns the credentials; any other refusal
// means that the server knows them. Waits are short until that is settled.
func (m *machine) suspect(f Failure, retry *storage.Retry, at moment) {
	switch {
	case f.Code != CodeRejected:
		return
	case !f.invalidClient():
		retry.Suspect, retry.Condemned = nil, false
		return
	case retry.Suspect == nil || !at.time.thisBoot(*retry.Suspect, at.Reading): // only this boot's clock tells what lies between
		stamp := at.time.stamp(at.Reading)
		retry.Suspect = &stamp
	case at.time.remaining(*retry.Suspect, confirmAfter, at.Reading) == 0:
		retry.Condemned = true
	}
	switch {
	case !retry.Condemned:
		retry.Slow = false
		retry.Wait = at.between(confirmAfter, 2*confirmAfter)
	case m.mayReplace(retry, at):
		m.changeHistory(func(h *storage.History) { h.Replaced = nil }) // that day is over, which a later start may not be able to tell
		retry.Slow = false
		retry.Wait = at.between(time.Second, 2*time.Second)
	}
}
