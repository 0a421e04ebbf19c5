package broker

import (
	"errors"
	"strings"
	"time"

	"github.com/tvpassd/tvpassd/ipc"
)

// This file judges what players see, at any moment.

// look makes a player of every app ask, and checks what it gets and what else
// is shown.
func (d *simDevice) look() {
	d.rules.weigh(d)
	for i := range d.apps {
		d.ask(i, 0)
	}
	d.rules.judge(d)
	if d.logs.Len() > 0 {
		d.readLogs()
	}
}

func (d *simDevice) readLogs() {
	d.rules.reveal(d, "the log", d.logs.String())
	for line := range strings.Lines(d.logs.String()) {
		d.tell("   log: %s", strings.TrimSpace(line))
	}
	d.logs.Reset()
}

// ask is a player's request for a token, answered at once.
func (d *simDevice) ask(number int, minTTL time.Duration) {
	if d.broker == nil || !d.apps[number].present {
		return
	}
	app := d.apps[number].id
	d.tally.asked++
	tok, err := d.broker.Token(d.ctx, app, 0, minTTL)
	if err != nil {
		no, ok := errors.AsType[*NoTokenError](err)
		if !ok {
			d.breaks("i", "a player of %s gets the error %q", app, err)
		}
		if d.rules.shown[app] == nil || d.rules.shown[app].core.failure != no.Failure {
			d.rules.reveal(d, "an error", no.Error()+no.ServerCode)
		}
		return
	}
	acc := d.rules.account(d.endpoint(), app)
	issued := d.server.issuedAs(tok.AccessToken, acc)
	switch {
	case issued == nil:
		d.breaks("a", "%s is served %q, which nobody issued", app, tok.AccessToken)
	case issued.account != acc.key:
		d.breaks("a", "%s is served a token of %v", app, issued.account)
	case d.at >= issued.expires+d.rules.unknowable(issued):
		d.breaks("a", "%s is served a token that expired %v ago", app, d.at-issued.expires)
	case tok.ExpiresIn > issued.expires-d.at+d.rules.unknowable(issued):
		d.breaks("a", "%s is told that its token lives %v, and it lives %v", app, tok.ExpiresIn, issued.expires-d.at)
	}
}

// unknowable is by how much the device may overestimate a token's life: its
// boot clock stood still, and nothing has shown that yet.
func (r *simRules) unknowable(issued *simToken) time.Duration {
	// Something vouched for the rest, though two that do so may differ a little.
	return min(r.stood-issued.stood, r.still+2*maxSkew+r.blind-issued.blind)
}

// stoodStill records a suspend without a clock that runs.
func (r *simRules) stoodStill(d *simDevice, t time.Duration) {
	if r.shutStays > d.at-t {
		r.shutStays += t
		r.worry(d, r.shutStays)
	}
	r.reckonShut(d) // the wall clock stood still too
	r.stoodBefore = r.stood
	r.stood += t
	r.still += t
	if r.untold > 0 {
		r.untold += t
	}
	if d.life.noDates && !d.clocks.synced {
		r.blind += t // no clock that is right has ever shown anything else
	}
	r.stillUntil = d.at
}

// dated records a Date. It does not help a run of the daemon that does not see
// it, or sees it while the app is not configured.
func (r *simRules) dated(d *simDevice) {
	r.untold = max(r.untold, r.still)
	r.known(d)
}

// vouchedFor records that a time service vouches for the time. With a full disk
// the next run does not know it.
func (r *simRules) vouchedFor(d *simDevice) {
	if r.untold = max(r.untold, r.still); d.disk.stuck() == diskWorks && d.broker != nil {
		r.untold = 0
	}
	r.known(d)
}

// known records that something vouches for the time. It may differ by seconds
// from what did so when a token was requested.
func (r *simRules) known(d *simDevice) {
	if r.still > 0 { // tokens may end now
		r.worry(d, d.at)
	}
	r.still = 0
}

// reveal checks that nothing secret stands in an output.
func (r *simRules) reveal(d *simDevice, where, text string) {
	if strings.Contains(text, secretMark) {
		d.breaks("f", "a secret stands in %s: %s", where, text)
	}
}

// judge checks the state at this moment.
func (r *simRules) judge(d *simDevice) {
	if d.broker == nil {
		return
	}
	now := d.clocks.Now()
	for _, m := range d.broker.engine.active {
		id := m.app.ID
		v, acc := d.broker.Views()[id], r.account(d.endpoint(), id)
		if got, want := clientOf(m.rec.Credentials), acc.heldID(); got != want {
			d.breaks("d", "the credentials of %s are %q, the device got %q", id, got, want)
		}
		if d.at >= r.due(d, acc) && v.State(now) != ipc.StateReady {
			f, _ := v.Failure()
			d.breaks("e", "%s is %s (%s %s); its last trouble was over at %s",
				id, v.State(now), f.Code, f.ServerCode, simTime(max(r.calm, acc.calm)))
		}
		if r.shown[id] != v {
			r.shown[id] = v
			f, _ := v.Failure()
			r.reveal(d, "the status", v.State(now)+f.Code+f.ServerCode+f.Detail)
			if d.story != nil {
				d.tell("   %s is %s %s", id, v.State(now), f.Code)
			}
		}
	}
	if err := d.broker.published.Load().storageErr; err != nil {
		r.reveal(d, "the storage error", err.Error())
	}
}
