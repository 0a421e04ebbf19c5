package broker

import (
	"errors"
	"time"

	"github.com/tvpassd/tvpassd/daemon/clock"
	"github.com/tvpassd/tvpassd/ipc"
)

// The methods in this file are what players, admins and the network ask of the
// engine.

const (
	// reportEvery is how often a player's report counts, for each app.
	reportEvery = 5 * time.Minute
	// nudgeEvery is how often a link that comes up may cut waits short, so that one
	// that flaps does not cause a call each time.
	nudgeEvery = 30 * time.Second
	// settling is how long after a link comes up calls may still fail because of
	// what comes later: DHCP's name servers, the router's own line, the time.
	settling = 2 * time.Minute
)

// report takes a player's word that a protected API refused the app's current
// token, and returns the action that follows.
func (e *engine) report(m *machine, now clock.Reading) (action string) {
	if m.replacing(e.at(now)) { // the registration is under way, or has a retry to come
		return ipc.ActionRegister
	}
	if !m.valid(now) || m.reported && now.Boot-m.reportedAt < reportEvery {
		return ipc.ActionNone
	}
	m.reported, m.reportedAt = true, now.Boot
	m.refuse()
	m.hastenConfirmation(e.at(now))
	return ipc.ActionRefresh
}

// refresh has the app fetch a token at once, whatever it waits for.
func (e *engine) refresh(m *machine, now clock.Reading) {
	m.now = true
	m.hurry(now.Boot)
}

// reset forgets an app's credentials, so that it registers again. If that can't
// be stored nothing changes.
func (e *engine) reset(m *machine, now clock.Reading) error {
	before := *m
	m.reset(e.at(now))
	if err := e.save(m, now); err != nil {
		*m = before
		m.saved = record{} // a write that failed may have changed one of the two files
		return errors.Join(err, e.save(m, now))
	}
	return nil
}

// nudge notes that a link came up, and cuts the waits of apps short that could
// not reach the server.
func (e *engine) nudge(now clock.Reading) {
	e.linkUp = now.Boot
	at := e.nextNudge(now)
	for _, m := range e.active {
		if r := m.rec.Retry; r != nil && r.Code == ipc.CodeOffline {
			m.hurry(at)
		}
	}
}

// nextNudge returns when waits may be cut short next: at the moment that is
// already planned, otherwise nudgeEvery after the last one.
func (e *engine) nextNudge(now clock.Reading) time.Duration {
	if e.nudged < now.Boot {
		e.nudged = max(now.Boot, e.nudged+nudgeEvery)
	}
	return e.nudged
}
