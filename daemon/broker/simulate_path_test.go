package broker

import (
	"time"

	"github.com/tvpassd/tvpassd/daemon/dcr"
)

// simEpisode is trouble that lasts a while.
type simEpisode int

const (
	simOffline      simEpisode = iota // nothing gets through
	simPortal                         // something else answers
	simServerError                    // 5xx
	simTruncated                      // the server acts, its answer is cut short
	simLostReply                      // the server acts, its answer is lost
	simSlow                           // an answer takes its time
	simOverload                       // the server refuses with a code that no page documents
	simThrottled                      // 429 from a shared address' bucket
	simUnapproved                     // an app's statement is not approved
	simUnauthorized                   // an app may not have this grant
	simAmnesia                        // the server does not know an app's credentials for a while
	simDiskFull
	simDiskHalfFull
	simEpisodes
)

// hinders reports whether an episode keeps every app from the server.
func (e simEpisode) hinders() bool {
	return e <= simThrottled || e >= simDiskFull
}

// send takes a request to the server, as far as it gets. What the server does
// about it is settled at once; the daemon learns of it when the answer lands.
func (d *simDevice) send(c *call) {
	acc := d.rules.account(c.machine.endpoint, c.machine.app.ID)
	f := simFlight{call: c, account: acc}
	if d.story != nil {
		d.tell("-> %s for %s", c.kind, acc.name)
	}
	d.rules.leaves(d, f)
	d.players.rules.leavesOwn(d, string(c.kind)+" for "+acc.name)
	d.tally.requests[c.kind]++

	latency := between(20*time.Millisecond, 400*time.Millisecond, d.random)
	if d.is(simSlow, 0) {
		latency = between(time.Second, simTimeout-time.Second, d.random)
	}
	f.at = d.at + latency
	d.reach(&f, d.at+time.Duration(d.random.Float64()*float64(latency)))
	d.flights = append(d.flights, f)
	if trap := d.trapCall; trap != nil {
		d.trapCall = nil
		trap(d.at, f.at)
	}
}

// reach decides how far a request gets, the server being there at a moment.
func (d *simDevice) reach(f *simFlight, there time.Duration) {
	offline := func(detail string, after time.Duration) {
		f.err, f.at = &dcr.Error{Kind: dcr.Offline, Detail: detail}, d.at+after
	}
	switch {
	case d.is(simOffline, 0) && d.random.IntN(2) == 0:
		offline("can't be resolved", 10*time.Millisecond)
	case d.is(simOffline, 0):
		offline("did not answer in time", simTimeout)
	case !d.sees():
		offline("the certificate is not valid at the device's time", f.at-d.at)
	case d.is(simPortal, 0) && !d.life.plain:
		offline("the certificate is for another name", f.at-d.at)
	case d.is(simPortal, 0):
		f.err = &dcr.Error{Kind: dcr.ServerError, Detail: "answers HTTP 200 with something other than a JSON object"}
	case d.is(simServerError, 0):
		f.err = d.server.fail(dcr.ServerError, "", there)
	case d.is(simOverload, 0):
		f.err = d.server.fail(dcr.Rejected, "temporarily_unavailable", there)
	case !d.server.bucket.take(there) || d.is(simThrottled, 0):
		e := d.server.fail(dcr.Throttled, "", there)
		e.RetryAfter = d.asked
		if !d.is(simThrottled, 0) {
			e.RetryAfter = 0
		}
		f.err = e
	default:
		d.serve(f, there)
		switch {
		case d.is(simLostReply, 0):
			offline("did not answer in time", simTimeout)
		case d.is(simTruncated, 0):
			f.err = d.server.fail(dcr.ServerError, "", there)
		}
		if f.err != nil {
			f.answer, f.pair, f.token = nil, nil, nil
		}
	}
}

// serve has the server act on a request.
func (d *simDevice) serve(f *simFlight, there time.Duration) {
	app := d.number(f.call.machine.app.ID)
	var refused *dcr.Error
	switch f.call.kind {
	case callRegister:
		f.answer, f.pair, refused = d.server.register(f.account.key, f.call.register, !d.is(simUnapproved, app), there)
		d.tally.registrations++
	case callToken:
		granted, amnesia := !d.is(simUnauthorized, app), d.is(simAmnesia, app)
		f.answer, f.token, refused = d.server.token(f.account.key, f.call.token, granted, amnesia, d.at, there)
		if f.token != nil && f.token.sent == d.at {
			f.token.stood, f.token.blind = d.rules.stood, d.rules.blind
		}
	}
	if refused != nil {
		f.err = refused
	}
}

// number is an app's place in the configuration.
func (d *simDevice) number(id string) int { return int(id[0] - 'a') }
