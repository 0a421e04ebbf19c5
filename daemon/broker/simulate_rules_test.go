package broker

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tvpassd/tvpassd/daemon/dcr"
	"github.com/tvpassd/tvpassd/ipc"
	"github.com/tvpassd/tvpassd/storage"
)

// The rules that no life may break. They are stated from the outside: by what the server received, what reached the box, and
// what a player was given.
//
//	a  no token is served after its true expiry, nor said to live longer than it does
//	b  one received registration per life, but for a pair that the server refused twice (5 s apart, minutes if a token is at
//	   hand), and that has just been refused once more with all pairs kept aside; that at most once a day
//	c  the gate's bucket is never exceeded, 1 s is kept after each 429, and what Retry-After asks for
//	d  credentials and device identifier are neither lost nor changed, unless the server revoked them or an admin did
//	e  every app is ready soon after its last trouble is over
//	f  no secret in any output
//	g  no request loop: no token is asked for before its time, nor one thing again and again, whatever restarts
//	h  nothing is written that did not change
//	i  every configured app is known
const (
	// readyWithin is what (e) gives: the backoff's cap, and some time to make calls in.
	readyWithin     = 15*time.Minute + time.Minute
	readyByAPerson  = 6*time.Hour + time.Minute // after a refusal that a person mended without telling the box
	readyAfterALink = time.Minute               // after a link came up or the clock was set

	// quickSteps is how many refusals with an undocumented code are taken for
	// something that passes.
	quickSteps = 9

	// A backoff with a cap of a minute makes some 20 calls in 10 minutes, one of an hour far less.
	loopCalls  = 45
	loopWithin = 10 * time.Minute
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
	shutUntil time.Duration // what it asked for, as far as the box can know
	shutSaved simShut       // what of that must be on disk
	shutSeems time.Duration // until when it lasts as far as the box can tell
	unsure    bool          // what is on disk is not known, since a write of it was cut off
	calm      time.Duration // since when nothing keeps any app from the server
	vouched   time.Duration // since when something vouches for the time, without a break
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

	held      *simPair // what reached the box
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

// What players see, at any moment.

// look has a player of every app ask, and checks what it gets and what else is shown.
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

// unknowable is how much longer than it does the device may believe a token to
// live: its boot clock stood still, and nothing has told it so.
func (r *simRules) unknowable(issued *simToken) time.Duration {
	if issued.sent >= r.stillUntil {
		return 0
	}
	return r.still
}

// stoodStill takes note of a suspend without a clock that runs.
func (r *simRules) stoodStill(d *simDevice, t time.Duration) {
	if r.shutUntil > d.at-t {
		r.worry(d, r.shutUntil+t)
	}
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

// dated takes note of a Date. A run of the daemon that does not see it, or sees
// it while the app is not configured, has nothing from it.
func (r *simRules) dated(d *simDevice) {
	r.untold = max(r.untold, r.still)
	r.known(d)
}

// vouchedFor takes note of a time service that vouches for the time. A full disk
// keeps the next run from knowing.
func (r *simRules) vouchedFor(d *simDevice) {
	if r.untold = max(r.untold, r.still); d.disk.stuck() == diskWorks && d.broker != nil {
		r.untold = 0
	}
	r.known(d)
}

// known takes note of something that vouches for the time. It need not agree to
// the second with what did when a token was asked for.
func (r *simRules) known(d *simDevice) {
	if r.still > 0 { // tokens may end now
		r.worry(d, d.at)
	}
	r.still = min(r.still, 2*maxSkew+r.blind)
}

// reveal checks that nothing secret stands in an output.
func (r *simRules) reveal(d *simDevice, where, text string) {
	if strings.Contains(text, secretMark) {
		d.breaks("f", "a secret stands in %s: %s", where, text)
	}
}

// judge checks what is the case at this moment.
func (r *simRules) judge(d *simDevice) {
	if d.broker == nil {
		return
	}
	now := d.clocks.Now()
	for _, m := range d.broker.engine.active {
		id := m.app.ID
		v, acc := d.broker.Views()[id], r.account(d.endpoint(), id)
		if got, want := clientOf(m.rec.Credentials), acc.heldID(); got != want {
			d.breaks("d", "the credentials of %s are %q, the box got %q", id, got, want)
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
	if err := d.broker.Overview().StorageErr; err != nil {
		r.reveal(d, "the storage error", err.Error())
	}
}

// What leaves the box.

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
		d.breaks("b", "%s registers again, though the server did not refuse its credentials twice, with enough time between", acc.name)
	case f.call.kind == callRegister && acc.held != nil && r.untried(d, f) != "":
		d.breaks("b", "%s registers again without having tried %s", acc.name, r.untried(d, f))
	case f.call.kind == callRegister && acc.held != nil && acc.replaced.was && d.at-acc.replaced.at < simDay:
		d.breaks("b", "%s registers again, %v after the last time", acc.name, d.at-acc.replaced.at)
	case f.call.kind == callToken && tok != nil && d.at-tok.sent < tok.life*2/10-time.Minute: // clocks differ by less
		d.breaks("g", "%s asks for a token, %v after it got one for %v", acc.name, d.at-tok.sent, tok.life)
	}
}

// untried names a pair of the device that the server did not refuse just now.
func (r *simRules) untried(d *simDevice, f simFlight) string {
	for _, pair := range f.call.machine.pairs() {
		refused := d.server.pairs[pair.ClientID].refused
		since := d.at - refused.at
		if refused.at < r.stillUntil {
			since -= r.stood - r.stoodBefore
		}
		if !refused.was || since > 5*time.Minute {
			return pair.ClientID
		}
	}
	return ""
}

// countCall looks whether an app calls again and again.
func (r *simRules) countCall(d *simDevice, acc *simAccount) {
	if d.disk.stuck() != diskWorks || d.at < acc.short {
		acc.calls = nil // a restart can't know of what could not be written, or is not worth it
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

// What reaches the box.

// lands takes note of the end of a call that reaches the daemon.
func (r *simRules) lands(d *simDevice, f simFlight) {
	acc := f.account
	d.tellDate(f)
	e, failed := errors.AsType[*dcr.Error](f.err)
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
	case f.token != nil:
		acc.held = d.server.pairs[f.call.token.ClientID]             // it may be one that was kept aside
		if again := f.token.issued + d.server.caches; again > d.at { // until then the server hands out nothing better
			acc.calm = again
			if d.at+2*time.Second >= f.token.expires {
				return
			}
		}
		acc.fresh, acc.refused, acc.confirmed = f.token, simMoment{}, false
		if d.life.noDates && r.still > 0 || d.at-f.token.sent > time.Minute {
			acc.fresh = nil // the time service will seem to age it; or it is one of earlier
		}
		acc.slow, acc.fails = false, false
		if f.token.expires < d.at+10*time.Minute {
			acc.short = f.token.expires + time.Minute
		}
	}
}

// tellDate takes note of an answer that tells the device the time.
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
	acc.last, acc.fails = e.Kind, true
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
		acc.calm = max(acc.calm, d.at, r.shutUntil)
		r.worry(d, r.shutUntil)
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

// recalled takes note of another database of the server.
func (r *simRules) recalled(d *simDevice) {
	for _, acc := range r.accounts {
		acc.calm, acc.fresh = d.at, nil
	}
}

// lost is a call whose end the daemon never learns of. It may be made again; only a registration is noted before it leaves.
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

// Restarts.

// saves takes note of what is on disk for certain.
func (r *simRules) saves(d *simDevice, key simKey, a storage.App) {
	acc := r.account(key.endpoint, key.app)
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

// savesGate takes note of a write of a Retry-After, or of its end, that begins.
func (r *simRules) savesGate() { r.unsure = true }

// savedGate takes note of one that succeeded.
func (r *simRules) savedGate(g storage.Gate) {
	r.unsure = false
	if g.Wait == 0 {
		r.shutSaved = simShut{}
	}
}

// damaged takes note of a database that is lost; what viewers would be signed out without is kept twice.
func (r *simRules) damaged() {
	r.shutSaved, r.unsure = simShut{}, false
	for _, acc := range r.accounts {
		acc.saved.token = nil
		acc.calls = nil
	}
}

// rebooted takes note of a new boot: a stored token is to be trusted only where something vouches for the time.
func (r *simRules) rebooted(d *simDevice) {
	for _, acc := range r.accounts {
		acc.fresh = nil
	}
}

// starts takes note of a start of the daemon that is about to be.
func (r *simRules) starts(d *simDevice) {
	r.calm = max(r.calm, d.at)
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
		if d.clocks.noID {
			acc.calls = nil // each start is a new boot to it, whose tokens it can't trust
		}
	}
	r.shutUntil = min(r.shutUntil, r.shutSaved.until)
	if r.unsure {
		r.shutUntil = min(r.shutUntil, d.at)
	}
	r.reckonShut(d)
}

// reckonShut takes note of what a wall clock says of how much of a Retry-After of an earlier boot is left.
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

// configured takes note of a reload.
func (r *simRules) configured(d *simDevice) {
	if d.broker == nil {
		return
	}
	for _, m := range d.broker.engine.active {
		acc := r.account(m.endpoint, m.app.ID)
		acc.calm, acc.calls = d.at, nil
		if acc.slow && acc.about != m.app.SoftwareStatement {
			acc.slow, acc.cut = false, simMoment{d.at, true}
		}
		r.found(d, m)
	}
}

// When every app must be ready.

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
		if d.apps[n].bad || !d.apps[n].present {
			acc.calm = d.at
		}
	}
}

// worry says that something is wrong until a moment.
func (r *simRules) worry(d *simDevice, until time.Duration) { r.calm = max(r.calm, d.at, until) }

// linkUp notes that the daemon was told of a link: apps that could not reach the server are to be ready soon.
func (r *simRules) linkUp(d *simDevice) {
	r.weigh(d)
	for _, acc := range r.accounts {
		if acc.fails && acc.last == dcr.Offline && max(r.calm, acc.calm) <= d.at {
			acc.cut = simMoment{d.at, true}
			acc.calls = nil
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
	if m := d.broker.engine.machine(acc.name); m != nil && m.suspected() && !m.condemned() { // which is not believed at once
		bound += time.Hour
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

// next is the next moment at which a rule wants to look: an app must be ready, a token expires.
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
