package broker

import (
	"time"

	"github.com/tvpassd/tvpassd/daemon/dcr"
)

// This file says when every app must be ready.

// weigh notes whether anything is wrong at this moment.
func (r *simRules) weigh(d *simDevice) {
	until := time.Duration(-1)
	for e := range simEpisodes {
		if e.hinders() {
			until = max(until, d.active(e, 0))
		}
	}
	if d.broker == nil || !d.sees() || d.server.life < refreshGap*3/2 { // such tokens end before they are refreshed
		until = max(until, d.at)
	}
	r.calm = max(r.calm, until)
	if !d.clocks.synced {
		r.vouched = d.at
	}
	for n := range d.apps {
		acc := r.account(d.endpoint(), d.apps[n].id)
		if d.disk.stuck() != diskWorks {
			acc.fails = false // the daemon may wait for the disk now, which no link mends
		}
		acc.calm = max(acc.calm, d.active(simUnapproved, n), d.active(simUnauthorized, n), d.active(simAmnesia, n))
		v := d.view(acc.name)
		clad := v != nil && v.valid(d.clocks.Now())
		if acc.clad && !clad {
			acc.bare = d.at
		}
		acc.clad = clad
		if d.apps[n].bad || !d.apps[n].present {
			acc.calm = d.at
		}
	}
}

// view returns what the daemon shows of an app, nil if it shows nothing.
func (d *simDevice) view(app string) *AppView {
	if d.broker == nil {
		return nil
	}
	return d.broker.Views()[app]
}

// worry says that something is wrong until a moment.
func (r *simRules) worry(d *simDevice, until time.Duration) { r.calm = max(r.calm, d.at, until) }

// linkUp notes that the daemon was told of a link: apps that could not reach
// the server must be ready soon.
func (r *simRules) linkUp(d *simDevice) {
	r.weigh(d)
	causes := d.at-r.cutCalls >= linkEvery
	if causes {
		r.cutCalls = d.at
	}
	for _, acc := range r.accounts {
		if causes && len(acc.calls) > 0 {
			acc.calls = acc.calls[:len(acc.calls)-1]
		}
		if acc.fails && acc.last == dcr.Offline && max(r.calm, acc.calm) <= d.at {
			acc.cut = simMoment{d.at, true}
		}
	}
}

// sighted notes that the clock was set.
func (r *simRules) sighted(d *simDevice) {
	r.worry(d, d.at)
	r.linkUp(d)
}

// due is the moment at which an app must be ready, if nothing else goes wrong.
func (r *simRules) due(d *simDevice, acc *simAccount) time.Duration {
	calm, bound := max(r.calm, acc.calm, r.shutSeems), readyWithin
	if acc.slow {
		bound = readyByAPerson
	}
	if m := d.broker.engine.machine(acc.name); m != nil && m.suspected() && !m.condemned() {
		if calm = max(calm, acc.bare); m.valid(d.clocks.Now()) {
			bound += time.Hour // nobody hurries
		}
	}
	if p := acc.held; p != nil && !d.server.knows(p) && acc.replaced.was { // the once-a-day limit
		calm, bound = max(calm, acc.replaced.at+simDay+r.stood), readyByAPerson
		if d.life.noDates {
			calm = max(calm, r.vouched+simDay) // it may have a date only since then
		}
	}
	if acc.cut.was && acc.cut.at >= calm && !acc.slow && !acc.refused.was {
		bound = min(bound, acc.cut.at-calm+readyAfterALink)
	}
	return calm + bound
}

// next is the next moment at which a rule must be checked: an app must be
// ready, a token expires.
func (r *simRules) next(d *simDevice) time.Duration {
	next := simNever
	if d.broker == nil {
		return next
	}
	for _, m := range d.broker.engine.active {
		acc := r.account(m.endpoint, m.app.ID)
		if due := r.due(d, acc); due > d.at {
			next = min(next, due)
		}
		if tok := m.rec.Token; tok != nil {
			if issued := d.server.issuedAs(tok.AccessToken, acc); issued != nil && issued.expires > d.at {
				next = min(next, issued.expires)
			}
		}
	}
	return next
}
