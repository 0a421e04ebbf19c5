package broker

import (
	"time"

	"github.com/tvpassd/tvpassd/storage"
)

// This file checks what a start of the daemon finds on the disk.

// saves records what is certainly on disk.
func (r *simRules) saves(d *simDevice, key simKey, a storage.App) {
	acc := r.account(key.endpoint, key.app)
	acc.unsaved = false
	acc.saved = simSaved{id: clientOf(a.Credentials), slow: a.Retry != nil && a.Retry.Slow}
	if a.History.Replaced != nil {
		acc.saved.replaced = acc.replaced
	}
	acc.saved.token = nil
	if a.Token != nil {
		acc.saved.token = d.server.tokens[a.Token.AccessToken]
		if a.Token.Life < 10*time.Minute {
			d.breaks("h", "a token of %s that lives %v is written", acc.name, a.Token.Life)
		}
	}
}

// savesGate records the beginning of a write of a Retry-After, or of its end.
func (r *simRules) savesGate() { r.unsure = true }

// savedGate records such a write that succeeded.
func (r *simRules) savedGate(g storage.Gate) {
	r.unsure = false
	if g.Wait == 0 {
		r.shutSaved = simShut{}
	}
}

// damaged records that the database is lost. The copy still has what viewers
// would be signed out without.
func (r *simRules) damaged() {
	r.shutSaved, r.unsure = simShut{}, false
	for _, acc := range r.accounts {
		acc.saved.token = nil
		acc.calls = nil
	}
}

// rebooted records a new boot: a stored token is trusted only if something
// vouches for the time.
func (r *simRules) rebooted(d *simDevice) {
	for _, acc := range r.accounts {
		acc.fresh = nil
	}
}

// starts takes note of a start of the daemon that is about to be.
func (r *simRules) starts(d *simDevice) {
	r.calm = max(r.calm, d.at)
	r.cutCalls = d.at - linkEvery
	r.still = max(r.still, r.untold)
	clear(r.shown)
	for _, acc := range r.accounts {
		if acc.name == "" {
			continue
		}
		acc.cut = simMoment{}
		acc.slow = (acc.slow || acc.saved.slow) && acc.about == d.statementOf(acc.name) // a success may not have been stored
		if d.clocks.noID || acc.fresh != acc.saved.token {
			acc.fresh = nil
		}
		if d.clocks.noID || acc.unsaved {
			acc.calls = nil // each start is a new boot to it, whose tokens it can't trust; or not all was written
		}
		acc.late = false
	}
	r.shutUntil = min(r.shutUntil, r.shutSaved.until)
	short := r.shutSaved.until-r.shutSaved.at <= storeShut // only the gate's memory has it, which takes a boot id
	if r.unsure || short && d.clocks.noID {
		r.shutUntil = min(r.shutUntil, d.at)
	}
	r.reckonShut(d)
}

// reckonShut computes how much of an earlier boot's Retry-After is left by the
// wall clock.
func (r *simRules) reckonShut(d *simDevice) {
	shut := r.shutSaved
	if shut.bootID != "" && shut.bootID == d.clocks.BootID() {
		return
	}
	if r.shutSeems > d.at { // it may seem to be over now
		r.calm = max(r.calm, d.at)
	}
	ahead := d.clocks.wall - d.at - shut.ahead
	r.shutUntil = min(r.shutUntil, shut.until-max(ahead, 0))
	r.shutSeems = min(d.at+shut.until-shut.at, shut.until-ahead)
	if r.unsure {
		r.shutSeems = d.at + time.Hour
	}
}

// started compares what the daemon found on disk with what must be there.
func (r *simRules) started(d *simDevice) {
	if d.broker == nil {
		return
	}
	for _, m := range d.broker.engine.machines {
		r.found(d, m)
	}
}

func (r *simRules) found(d *simDevice, m *machine) {
	acc := r.account(m.endpoint, m.app.ID)
	id := clientOf(m.rec.Credentials)
	if id == acc.heldID() {
		return
	}
	if id == "" && acc.resetting {
		acc.forgotten()
		return
	}
	if id != acc.saved.id {
		d.breaks("d", "%s starts with the credentials of %q; %q were stored", m.app.ID, id, acc.saved.id)
	}
	acc.held, acc.replaced = d.server.pairs[id], acc.saved.replaced // what was never stored is a lost answer
	acc.refused, acc.confirmed = simMoment{}, m.condemned()         // as it was when they were stored
}

// configured records a reload.
func (r *simRules) configured(d *simDevice) {
	if d.broker == nil {
		return
	}
	for _, m := range d.broker.engine.active {
		acc := r.account(m.endpoint, m.app.ID)
		acc.calm = d.at
		if acc.slow && acc.about != m.app.SoftwareStatement {
			acc.slow, acc.cut = false, simMoment{d.at, true}
		}
		r.found(d, m)
	}
}
