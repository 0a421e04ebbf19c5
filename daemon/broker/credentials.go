package broker

import (
	"slices"
	"time"

	"github.com/tvpassd/tvpassd/daemon/dcr"
	"github.com/tvpassd/tvpassd/ipc"
	"github.com/tvpassd/tvpassd/storage"
)

// Registering again signs viewers out, and a server that was restored from a
// backup knows the old credentials again tomorrow. So they are given up late:
//
//   - The server must refuse them twice. The time between depends on whether
//     the viewer still has a token.
//   - Then comes a round: they are tried once more, and after them the pairs
//     kept aside, newest first. One that works is the pair again.
//   - Only a round in which every pair was refused leads to a registration,
//     within a minute and at most once in 24 hours. Otherwise the next attempt
//     is another round.
const (
	// Between two refusals, if no token is left.
	confirmAfter = 5 * time.Second
	// If there is a valid token, but a protected API refused it too.
	confirmRefused = time.Minute
	// If there is a valid token; at the latest in the last tenth of its life.
	confirmValid, confirmValidMost = 10 * time.Minute, time.Hour

	// roundPause is the least time between two calls of a round, and roundFresh
	// is how long its outcome counts.
	roundPause, roundFresh = time.Second, time.Minute

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
			h.Replaced, h.Restored = &stamp, false
		}
	})
	m.dateReplacement(at)
	m.rec.Credentials = &storage.Credentials{
		ClientID: c.ClientID, ClientSecret: c.ClientSecret,
		IssuedAt: c.IssuedAt, RegisteredAt: at.Wall.UTC().Truncate(time.Second),
		RedirectURIs: c.RedirectURIs, GrantTypes: c.GrantTypes, Scopes: c.Scopes,
	}
	m.succeeded(at)
	m.quiet = false
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

// restored makes a pair that was kept aside the pair again, by its number.
func (m *machine) restored(pair int) {
	was := *m.rec.Credentials
	m.changeHistory(func(h *storage.History) {
		works := h.Aside[pair-1]
		m.rec.Credentials = &works
		h.Aside = append([]storage.Credentials{was}, slices.Delete(slices.Clone(h.Aside), pair-1, pair)...)
		h.Restored = true
	})
}

// replaced returns when the present credentials took the place of refused ones.
func (m *machine) replaced() *storage.Stamp {
	if m.rec.History.Restored {
		return nil
	}
	return m.rec.History.Replaced
}

// suspected reports whether the server refused the credentials. A second call
// settles that soon, even while there is a valid token.
func (m *machine) suspected() bool { return m.rec.Retry != nil && m.rec.Retry.Suspect != nil }

// condemned reports whether the server refused the credentials twice.
func (m *machine) condemned() bool { return m.rec.Retry != nil && m.rec.Retry.Condemned }

// mayReplace reports whether a day has passed since refused credentials were
// last replaced.
func (m *machine) mayReplace(at moment) bool {
	last := m.rec.History.Replaced
	return last == nil || at.time.passed(*last, replaceEvery, at.Reading)
}

// replacing reports whether condemned credentials may be replaced after a
// round.
func (m *machine) replacing(at moment) bool { return m.condemned() && m.mayReplace(at) }

// pairs are all pairs of credentials of the device: the present one is the
// first, those kept aside follow.
func (m *machine) pairs() []storage.Credentials {
	return append([]storage.Credentials{*m.rec.Credentials}, m.rec.History.Aside...)
}

// untried returns the number of the next pair to try; past the last one if the
// server has just refused them all. A restart does not begin a round again.
func (m *machine) untried(at moment) int {
	r := m.rec.Retry
	if !m.condemned() || !at.time.thisBoot(r.Noted, at.Reading) || at.Boot-r.RefusedAt > roundFresh {
		return 0
	}
	return r.Refused
}

// doubt decides what the failure of a token call says about the credentials
// that it used.
func (m *machine) doubt(f Failure, c *call, retry *storage.Retry, at moment) {
	switch {
	case f.invalidClient() && retry.Condemned:
		m.refuseInRound(c, retry, at)
	case f.invalidClient():
		m.suspect(retry, at)
	case c.known && c.pair > 0:
		m.restored(c.pair)
		retry.Suspect, retry.Condemned = nil, false
	case c.known, c.pair == 0 && f.Code == ipc.CodeRejected: // the server knows them
		retry.Suspect, retry.Condemned = nil, false
	}
}

// suspect counts refusals. The second one condemns the credentials, if enough
// time lies between.
func (m *machine) suspect(retry *storage.Retry, at moment) {
	retry.Slow = false
	low, high := m.confirmWithin(at)
	var passed time.Duration
	switch {
	case retry.Suspect == nil || !at.time.thisBoot(*retry.Suspect, at.Reading): // another boot's clock can't date it
		stamp := at.time.stamp(at.Reading)
		retry.Suspect = &stamp
	default:
		passed = at.Boot - retry.Suspect.Boot
	}
	if passed >= low {
		retry.Condemned, retry.Refused = true, 0
		retry.Wait = at.between(roundPause, 2*roundPause)
		return
	}
	retry.Wait = at.between(low-passed, high-passed)
	if m.valid(at.Reading) { // settled before the token ends
		left := m.live.expires - at.Boot
		retry.Wait = min(retry.Wait, at.between(max(left-m.live.lastPart(), confirmAfter), max(left, confirmAfter)))
	}
}

// confirmWithin returns how long after a first refusal the second one is asked
// for, at the earliest and at the latest.
func (m *machine) confirmWithin(at moment) (low, high time.Duration) {
	if !m.valid(at.Reading) {
		return confirmAfter, 2 * confirmAfter
	}
	left := m.live.expires - at.Boot
	switch {
	case m.rec.Token.Refused:
		return confirmRefused, 2 * confirmRefused
	case left <= m.live.lastPart():
		return confirmAfter, min(left, confirmValidMost)
	default:
		return confirmValid, confirmValidMost
	}
}

// hastenConfirmation asks for the second refusal sooner, because the token has
// ended or was refused. The wait after other trouble stays as it is.
func (m *machine) hastenConfirmation(at moment) {
	r := m.rec.Retry
	if !m.suspected() || r.Condemned || r.ServerCode != invalidClient {
		return
	}
	low, high := m.confirmWithin(at)
	next := at.Boot + at.between(low, high)
	if at.time.thisBoot(*r.Suspect, at.Reading) {
		next = max(r.Suspect.Boot+at.between(low, high), r.Noted.Boot+confirmAfter, at.Boot)
	}
	m.hurry(next)
}

// refuseInRound notes that a round found another pair refused. A round counts as
// one failure, or not at all if a registration follows it.
func (m *machine) refuseInRound(c *call, retry *storage.Retry, at moment) {
	retry.Refused, retry.RefusedAt = c.pair+1, at.Boot
	last := retry.Refused == len(m.pairs())
	if last && !m.mayReplace(at) {
		retry.Refused = 0
		return
	}
	retry.Slow, retry.Failures = m.rec.Retry.Slow, c.failures
	retry.Wait = at.between(roundPause, 2*roundPause)
	if last { // a later start may not know that a day has passed since the last replacement
		m.changeHistory(func(h *storage.History) { h.Replaced = nil })
		retry.Slow = false
	}
}
