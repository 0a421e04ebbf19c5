package broker

import (
	"fmt"
	"time"

	"github.com/tvpassd/tvpassd/daemon/dcr"
	"github.com/tvpassd/tvpassd/storage"
)

// The rules that no life may break. They are stated from the outside: by what
// the server received, what reached the device, and what a player was given.
//
//	a  no token is served after its true expiry, nor said to live longer than it does
//	b  one received registration in a life. Another one, at most once a day, only
//	   if the server refused the pair twice (5 s apart, minutes if a token is at
//	   hand), and then once more together with all pairs kept aside
//	c  the gate's bucket is never exceeded, and each 429 is followed by 1 s without
//	   a call, or by what Retry-After asks for
//	d  credentials and device identifier are neither lost nor changed, unless the
//	   server revoked them or an admin did
//	e  every app is ready soon after its last trouble is over
//	f  no secret in any output
//	g  no request loop: no token is asked for before its time, nor one thing again
//	   and again, whatever restarts
//	h  nothing is written that did not change
//	i  every configured app is known
const (
	// readyWithin is what (e) gives: the backoff's cap, and some time to make
	// calls in.
	readyWithin     = 15*time.Minute + time.Minute
	readyByAPerson  = 6*time.Hour + time.Minute // after a refusal that a person mended without telling the device
	readyAfterALink = time.Minute               // after a link came up or the clock was set

	// quickSteps is how many refusals with an undocumented code are taken for
	// something that passes.
	quickSteps = 9

	// A backoff that begins with seconds makes some 10 calls in 10 minutes. A link
	// that comes up may cause one more, not more often than every 30 s.
	loopCalls  = 30
	loopWithin = 10 * time.Minute
	linkEvery  = 30 * time.Second
)

// simBroken is a rule that was broken.
type simBroken struct {
	rule string
	at   time.Duration
	what string
}

func (b simBroken) String() string {
	return fmt.Sprintf("(%s) at %s: %s", b.rule, simTime(b.at), b.what)
}

// simRules is what must be remembered to judge a life.
type simRules struct {
	accounts  [2 * simMostApps]*simAccount
	bucket    simBucket     // what the gate may let through
	throttled time.Duration // when the last 429 came
	shutUntil time.Duration // what it asked for, as far as the device can know
	shutSaved simShut       // what of that must be on disk
	shutStays time.Duration // until when it lasts by the boot clock
	shutSeems time.Duration // until when it lasts as far as the device can tell
	unsure    bool          // what is on disk is not known, since a write of it was cut off
	calm      time.Duration // since when nothing keeps any app from the server
	vouched   time.Duration // since when something vouches for the time, without a break
	cutCalls  time.Duration // when a link was last allowed to cause calls
	shown     map[string]*AppView

	stood       time.Duration // how long the boot clock stood still, all in all
	stoodBefore time.Duration // the last suspend
	still       time.Duration // how much of that nothing has vouched for yet
	stillUntil  time.Duration // when it last did
	untold      time.Duration // how much of that only a Date has vouched for
	blind       time.Duration // how much of that nothing can vouch for
}

type simShut struct {
	at     time.Duration
	until  time.Duration
	ahead  time.Duration // the wall clock, of the true time, when that was noted
	bootID string
}

type simKey struct{ endpoint, app string }

// simAccount is one app at one endpoint.
type simAccount struct {
	key  simKey
	name string

	held      *simPair // what reached the device
	resetting bool
	replaced  simMoment
	saved     simSaved // what is on disk for certain
	refused   simMoment
	confirmed bool // refused again 5 s later

	fresh  *simToken // a token that need not be asked for again before its time
	served *simToken // the last one that a player was given

	calm    time.Duration // since when nothing keeps this app from being ready
	cut     simMoment     // a link came up or the clock was set, and nothing else was wrong
	slow    bool          // a person must act, said the server
	about   string        // and the statement that it said so of
	last    dcr.Kind      // of the last failure
	excuses int           // refusals in a row with a code that no page documents
	fails   bool          // since then nothing succeeded
	calls   []time.Duration
	short   time.Duration // until when the last token lives, if that is not long
	late    bool          // a token came since the start, the last registration and the last failure
	unsaved bool          // a call was made while nothing could be written
	clad    bool          // there is a valid token
	bare    time.Duration // since when there is none
}

// simMoment is a moment that may not have come yet.
type simMoment struct {
	at  time.Duration
	was bool
}

type simSaved struct {
	id       string
	replaced simMoment
	token    *simToken
	slow     bool
}

func newSimRules() simRules {
	r := simRules{bucket: simBucket{capacity: 3, level: 3}, throttled: -simDay, shown: map[string]*AppView{}}
	for n := range r.accounts {
		r.accounts[n] = &simAccount{}
	}
	return r
}

// account finds what is remembered of an app at an endpoint.
func (r *simRules) account(endpoint, app string) *simAccount {
	n := int(app[0] - 'a')
	if endpoint == simStaging {
		n += simMostApps
	}
	acc := r.accounts[n]
	if acc.name == "" {
		acc.key, acc.name = simKey{endpoint, app}, app
	}
	return acc
}

// breaks ends a life for a broken rule.
func (d *simDevice) breaks(rule, format string, args ...any) {
	panic(simBroken{rule, d.at, fmt.Sprintf(format, args...)})
}

func (acc *simAccount) heldID() string {
	if acc.held == nil {
		return ""
	}
	return acc.held.id
}

func clientOf(c *storage.Credentials) string {
	if c == nil {
		return ""
	}
	return c.ClientID
}
