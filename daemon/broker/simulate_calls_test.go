package broker

import (
	"errors"
	"time"

	"github.com/tvpassd/tvpassd/daemon/dcr"
)

// This file judges the calls that leave the device, and records what comes
// back.

// leaves judges a request that is about to leave.
func (r *simRules) leaves(d *simDevice, f simFlight) {
	acc := f.account
	switch {
	case !r.bucket.take(d.at):
		d.breaks("c", "a request for %s exceeds 1 a second with a burst of %v", acc.name, r.bucket.capacity)
	case d.at-r.throttled < time.Second:
		d.breaks("c", "a request leaves %v after a 429", d.at-r.throttled)
	case d.at < r.shutUntil:
		d.breaks("c", "a request leaves %v before the end of Retry-After", r.shutUntil-d.at)
	}
	r.countCall(d, acc)
	switch tok := acc.fresh; {
	case f.call.kind == callRegister && d.disk.acknowledged[acc.key].Retry == nil:
		d.breaks("b", "%s registers without a note on disk that it does", acc.name)
	case f.call.kind == callRegister && acc.held != nil && !acc.confirmed:
		d.breaks("b", "%s registers again, though the server did not refuse its credentials twice, minutes apart", acc.name)
	case f.call.kind == callRegister && acc.held != nil && r.untried(d, f) != "":
		d.breaks("b", "%s registers again without having tried %s", acc.name, r.untried(d, f))
	case f.call.kind == callRegister && acc.held != nil && acc.replaced.was && d.at-acc.replaced.at < simDay:
		d.breaks("b", "%s registers again, %v after the last time", acc.name, d.at-acc.replaced.at)
	case f.call.kind == callToken && tok != nil && d.at-tok.sent < tok.refreshed()-time.Minute: // clocks differ by less
		d.breaks("g", "%s asks for a token, %v after it got one for %v", acc.name, d.at-tok.sent, tok.life)
	}
}

// refreshed returns the earliest age at which the token may be refreshed.
func (tok *simToken) refreshed() time.Duration {
	if tok.early {
		return tok.life * 2 / 10
	}
	return tok.life * 6 / 10
}

// untried names a pair of the device that the server did not refuse just now.
func (r *simRules) untried(d *simDevice, f simFlight) string {
	pairs := f.call.machine.pairs()
	for _, pair := range pairs {
		refused := d.server.pairs[pair.ClientID].refused
		since := d.at - refused.at
		if refused.at < r.stillUntil {
			since -= r.stood - r.stoodBefore
		}
		if !refused.was || since > time.Duration(len(pairs))*(roundFresh+simTimeout) {
			return pair.ClientID
		}
	}
	return ""
}

// countCall breaks the life if an app calls in a loop.
func (r *simRules) countCall(d *simDevice, acc *simAccount) {
	acc.unsaved = acc.unsaved || d.disk.stuck() != diskWorks
	if d.at < acc.short {
		acc.calls = nil // such a token is not written
		return
	}
	acc.calls = append(acc.calls, d.at)
	if n := len(acc.calls) - loopCalls; n > 0 {
		if since := d.at - acc.calls[0]; since < loopWithin {
			d.breaks("g", "%s made %d calls in %v", acc.name, len(acc.calls), since)
		}
		acc.calls = acc.calls[n:]
	}
}

// What reaches the device.

// lands records the end of a call that reaches the daemon.
func (r *simRules) lands(d *simDevice, f simFlight) {
	acc := f.account
	d.tellDate(f)
	e, failed := errors.AsType[*dcr.Error](f.err)
	if !failed || e.Kind != dcr.Offline && e.Kind != dcr.Throttled {
		d.players.rules.answered(f.call.sent.Boot)
	}
	switch {
	case failed:
		r.fails(d, f, e)
	case f.dropped:
	case f.pair != nil:
		if acc.held != nil {
			acc.replaced = simMoment{d.at, true}
		}
		acc.held, acc.fresh, acc.refused, acc.confirmed = f.pair, nil, simMoment{}, false
		acc.slow, acc.fails, acc.calm = false, false, d.at
		acc.late = false
	case f.token != nil:
		acc.held = d.server.pairs[f.call.token.ClientID]             // it may be one that was kept aside
		if again := f.token.issued + d.server.caches; again > d.at { // until then the server hands out nothing better
			acc.calm = again
		}
		if d.server.caches > 0 && d.at+2*time.Second >= f.token.expires { // nothing may be left of it
			acc.late = false
			return
		}
		acc.fresh, acc.refused, acc.confirmed = f.token, simMoment{}, false
		f.token.early = !acc.late
		acc.late = f.token.life >= maxSkew // a shorter one may seem to have ended, by a clock that is a little off
		if d.life.noDates && r.still > 0 || d.at-f.token.sent > time.Minute {
			acc.fresh = nil // the time service will seem to age it; or it is one of earlier
		}
		acc.slow, acc.fails = false, false
		if f.token.expires < d.at+10*time.Minute {
			acc.short = f.token.expires + time.Minute
		}
	}
}

// tellDate records an answer that gives the device the time.
func (d *simDevice) tellDate(f simFlight) {
	switch a := f.answer.(type) {
	case dcr.Token:
		if !a.Date.IsZero() {
			d.rules.dated(d)
		}
	case dcr.Credentials:
		if !a.Date.IsZero() {
			d.rules.dated(d)
		}
	default:
		if e, ok := errors.AsType[*dcr.Error](f.err); ok && !e.Date.IsZero() {
			d.rules.dated(d)
		}
	}
}

func (r *simRules) fails(d *simDevice, f simFlight, e *dcr.Error) {
	acc := f.account
	acc.last, acc.fails, acc.late = e.Kind, true, false
	if e.ServerCode != "temporarily_unavailable" && !f.dropped {
		acc.excuses = 0
	}
	switch e.Kind {
	case dcr.Throttled:
		r.throttled = d.at
		r.shutUntil = max(r.shutUntil, d.at+min(e.RetryAfter, time.Hour))
		if e.RetryAfter > time.Second {
			r.shutSaved = simShut{at: d.at, until: r.shutUntil, ahead: d.clocks.wall - d.at, bootID: d.clocks.BootID()}
		}
		r.shutStays = max(r.shutStays, r.shutUntil)
		acc.calm = max(acc.calm, d.at, r.shutUntil)
		r.worry(d, r.shutUntil)
		d.players.rules.throttledFor(d, f.call.sent.Boot, e.RetryAfter)
	case dcr.Rejected:
		if f.dropped {
			return
		}
		acc.calm = d.at
		acc.about = d.statementOf(acc.name)
		if f.call.kind == callRegister {
			acc.about = f.call.register.SoftwareStatement
		}
		if e.ServerCode == "invalid_client" {
			acc.fresh = nil
			untold := d.life.noDates && !d.clocks.synced // nothing says how long ago the last replacement was
			acc.slow = acc.replaced.was && (d.at-acc.replaced.at < simDay+time.Minute+r.stood || untold)
			d.server.pairs[f.call.token.ClientID].refused = simMoment{d.at, true}
			if !acc.refused.was {
				acc.refused = simMoment{d.at, true}
			}
			acc.confirmed = acc.confirmed || d.at-acc.refused.at >= r.haste(d, acc)
			return
		}
		if f.call.kind == callToken && f.call.token.ClientID == acc.heldID() {
			acc.refused, acc.confirmed = simMoment{}, false
		}
		acc.slow = acc.about == d.statementOf(acc.name)
		if e.ServerCode == "temporarily_unavailable" {
			acc.excuses++
			acc.slow = acc.slow && acc.excuses > quickSteps
		}
	}
}

// haste is how long after a first refusal a second one counts.
func (r *simRules) haste(d *simDevice, acc *simAccount) time.Duration {
	now := d.clocks.Now()
	v := d.broker.Views()[acc.name]
	if v == nil || acc.key.endpoint != d.endpoint() || !v.valid(now) {
		return 5 * time.Second
	}
	life := v.core.live.expires - v.core.live.sent
	switch {
	case v.core.token.Refused:
		return time.Minute
	case v.core.live.expires-now.Boot <= life/10:
		return 5 * time.Second
	default:
		return 10 * time.Minute
	}
}

// recalled records that the server has another database.
func (r *simRules) recalled(d *simDevice) {
	for _, acc := range r.accounts {
		acc.calm, acc.fresh = d.at, nil
	}
}

// lost is a call whose end the daemon never learns of. It may be made again;
// only a registration is noted before it leaves.
func (acc *simAccount) lost(f simFlight) {
	if f.call.kind == callToken && len(acc.calls) > 0 {
		acc.calls = acc.calls[:len(acc.calls)-1]
	}
}

// meddled is an admin or a player that asked for something.
func (acc *simAccount) meddled(d *simDevice) {
	acc.fresh, acc.calls, acc.calm = nil, nil, d.at
}

// forgotten is an admin's reset.
func (acc *simAccount) forgotten() {
	acc.held, acc.refused, acc.confirmed, acc.slow, acc.fails = nil, simMoment{}, false, false, false
	acc.replaced = simMoment{}
}
