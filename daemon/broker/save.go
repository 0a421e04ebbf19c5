package broker

import (
	"time"

	"github.com/tvpassd/tvpassd/daemon/clock"
	"github.com/tvpassd/tvpassd/ipc"
	"github.com/tvpassd/tvpassd/storage"
)

// saveAgain is how long after a failed write it is tried again: a full disk is
// not emptied in a second.
const saveAgain = 30 * time.Second

// storeShut is how long the gate must be shut for that to be stored. A shorter
// shut ends before a device has booted again, and would only wear the flash.
const storeShut = 10 * time.Second

// throttled shuts the gate after a 429 to a call and returns for how long.
func (e *engine) throttled(c *call, retryAfter time.Duration, now clock.Reading) time.Duration {
	wait := e.gate.Throttled(c.sent.Boot, retryAfter, now.Boot)
	e.noticeShut(now)
	return wait
}

// shutSlack is by how much a new end of a shut must exceed the stored one to be
// stored: all calls in flight get the same 429, one a moment after the other.
const shutSlack = 2 * time.Second

// shutLeft returns for how long an earlier run's 429 keeps the gate shut. What
// was stored in an earlier boot may be too short by shutSlack.
func (e *engine) shutLeft(now clock.Reading) time.Duration {
	left := e.time.remaining(e.shut.Noted, e.shut.Wait, now)
	if left > 0 && !e.time.thisBoot(e.shut.Noted, now) {
		left += shutSlack
	}
	return left
}

// noticeShut stores how long the gate is shut, if a 429 has changed that. The
// 429 may have answered the daemon's own call or a player's.
func (e *engine) noticeShut(now clock.Reading) {
	until := e.gate.Shut()
	if until == e.shutUntil || until <= now.Boot {
		return
	}
	if longer := until - e.shutUntil; e.shut.Wait > storeShut && longer > 0 && longer <= shutSlack {
		return
	}
	e.shutUntil = until
	e.shut = storage.Gate{Noted: e.time.stamp(now), Wait: until - now.Boot}
	if e.shut.Wait > storeShut {
		_ = e.saveShut(now) // flush tries again
	}
}

// forgetShut forgets a shut of the gate that is over: a later boot may not know
// how long ago it was.
func (e *engine) forgetShut(now clock.Reading) {
	if e.shut.Wait > storeShut && now.Boot >= e.gate.Shut() {
		e.shut = storage.Gate{}
		_ = e.saveShut(now) // flush tries again
	}
}

func (e *engine) saveShut(now clock.Reading) error {
	err := e.store.SaveGate(e.shut)
	if e.shutUnsaved = err != nil; err != nil {
		e.unsaved(err, now)
	}
	return err
}

// flush stores what changed, unless a write failed within saveAgain.
func (e *engine) flush(now clock.Reading) {
	e.noteTransitions(now)
	if e.saveErr != nil && now.Boot < e.saveAfter {
		return
	}
	for _, m := range e.machines {
		if !m.stored() && e.save(m, now) != nil {
			return
		}
	}
	if e.shutUnsaved && e.saveShut(now) != nil {
		return
	}
	if e.saveErr != nil {
		if err := e.store.Flush(); err != nil {
			e.unsaved(err, now)
			return
		}
		e.log.Info("the state could be written again", "code", ipc.CodeStorage)
		for _, m := range e.machines { // a registration waits for nothing else
			if r := m.rec.Retry; r != nil && r.Code == ipc.CodeStorage {
				m.hurry(now.Boot)
			}
		}
	}
	e.saveErr = nil
}

// close makes a last attempt to store what changed.
func (e *engine) close(now clock.Reading) error {
	e.saveAfter = now.Boot
	e.flush(now)
	return e.saveErr
}

// save stores one machine. While that fails, players are served from memory.
func (e *engine) save(m *machine, now clock.Reading) error {
	kept := m.kept()
	if err := e.store.SaveApp(m.endpoint, m.app.ID, kept.app()); err != nil {
		e.unsaved(err, now)
		return err
	}
	m.saved = kept
	return nil
}

func (e *engine) unsaved(err error, now clock.Reading) {
	if e.saveErr == nil {
		e.log.Error("the state could not be written; players are served from memory, and the write is tried again",
			"code", ipc.CodeStorage, "err", err)
	}
	e.saveErr, e.saveAfter = err, now.Boot+saveAgain
}
