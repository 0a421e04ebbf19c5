package broker

import (
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/tvpassd/tvpassd/daemon/clock"
	"github.com/tvpassd/tvpassd/daemon/dcr"
	"github.com/tvpassd/tvpassd/daemon/throttle"
	"github.com/tvpassd/tvpassd/ipc"
	"github.com/tvpassd/tvpassd/storage"
)

// Store keeps what must survive; storage.Store is one.
type Store interface {
	App(endpoint, app string) (storage.App, error)
	SaveApp(endpoint, app string, a storage.App) error
	Gate() (storage.Gate, error)
	SaveGate(storage.Gate) error
}

const (
	// saveAgain is how long after a failed write it is tried again: a full disk is not emptied in a second.
	saveAgain = 30 * time.Second
	// reportEvery is how often a player's report is believed, per app.
	reportEvery = 5 * time.Minute
	// nudgeEvery is how often a link that comes up may cut waits short, so that a flapping one is no request loop.
	nudgeEvery = 30 * time.Second
)

// engine holds the machines of all apps, the gate they share and what is known of the time. It is driven by one goroutine
// and has none of its own: the same calls at the same readings of the clock always end in the same state.
type engine struct {
	store  Store
	random *rand.Rand
	log    *slog.Logger

	time        timeline
	gate        *throttle.Gate
	gateErr     error         // what the log was told of it
	waits       gateWaits     // for it
	shut        storage.Gate  // what shut it last, at the moment of that
	shutUntil   time.Duration // by the gate, when that was noted
	shutUnsaved bool
	endpoint    string
	tls         bool // the endpoint needs certificates checked, and so a clock that is set

	machines  []*machine    // by app, every one since the start: a call may still be under way for an app that was taken out
	saveAfter time.Duration // no write before
	saveErr   error         // of the last write
	linkUp    time.Duration // when the way to the server was last said to be free again
	nudged    time.Duration // when waits were last cut short for that
	epoch     time.Time     // what the wall clock showed at boot, by the last look at it
}

func newEngine(cfg Config) *engine {
	now := cfg.Clock.Now()
	e := &engine{
		store: cfg.Store, random: cfg.Random, log: cfg.Log,
		time:   newTimeline(cfg.Clock, cfg.BuildDate, cfg.Random),
		gate:   cfg.Gate,
		nudged: now.Boot - nudgeEvery,
		epoch:  now.Wall.Add(-now.Boot),
	}
	if e.shut, e.saveErr = cfg.Store.Gate(); e.saveErr == nil {
		if left := e.time.remaining(e.shut.Noted, e.shut.Wait, now); left > 0 {
			e.shutUntil = now.Boot + left
			e.gate.ShutUntil(e.shutUntil)
		}
	}
	return e
}

func (e *engine) at(now clock.Reading) moment { return moment{now, &e.time, e.random} }

// configure takes over the configured apps. A new app is loaded; one that is gone keeps its state, unused; a change of what
// a registration is made of cuts the wait after a refusal short, and touches nothing else.
func (e *engine) configure(setup Setup, now clock.Reading) error {
	e.endpoint, e.tls = setup.Endpoint, setup.TLS
	var failures []error
	for _, m := range e.machines {
		m.active = false
	}
	for _, app := range setup.Apps {
		if m := e.find(app.ID); m != nil {
			m.app, m.active = app, true
			m.reconsider(e.at(now))
			continue
		}
		m := &machine{endpoint: setup.Endpoint, app: app, active: true, calls: &Calls{}}
		rec, err := e.store.App(setup.Endpoint, app.ID)
		if err != nil {
			failures = append(failures, err)
			continue // without its credentials it would register again
		}
		m.load(rec, e.at(now))
		if lost := e.gate.Unanswered(m.key()); lost.Count > 0 {
			m.next, m.courtesy = max(m.next, min(lost.Next, now.Boot+quickLadder.top)), false
		}
		e.machines = append(e.machines, m)
	}
	slices.SortStableFunc(e.machines, func(a, b *machine) int { return strings.Compare(a.app.ID, b.app.ID) })
	return errors.Join(failures...)
}

// active returns the configured machines, by app.
func (e *engine) active() []*machine {
	ms := make([]*machine, 0, len(e.machines))
	for _, m := range e.machines {
		if m.active {
			ms = append(ms, m)
		}
	}
	return ms
}

// find returns an app's machine at the present endpoint, nil where it never had one.
func (e *engine) find(app string) *machine {
	for _, m := range e.machines {
		if m.endpoint == e.endpoint && m.app.ID == app {
			return m
		}
	}
	return nil
}

// machine returns the machine of a configured app, else nil.
func (e *engine) machine(app string) *machine {
	if m := e.find(app); m != nil && m.active {
		return m
	}
	return nil
}

// clockUnset tells whether no call can be made for want of the time.
func (e *engine) clockUnset(now clock.Reading) bool { return e.tls && !e.time.set(now) }

// step does what is due. It returns the calls to send now, and the reading of the
// boot clock at which to step again, which is never if nothing is planned. What a
// call must leave behind is stored before the call is returned.
func (e *engine) step(now clock.Reading) (calls []*call, wake time.Duration) {
	e.noticeShut(now)
	e.noticeStep(now)
	for _, m := range e.machines { // also of apps that are not configured now: what vouches for the time may not last
		m.look(e.at(now))
	}
	e.flush(now)
	for {
		m, kind, at := e.first(now)
		together := e.together(kind)
		open := e.gate.OpensFor(together, now.Boot)
		held := at <= now.Boot && open > now.Boot
		e.waits.hold(held, now)
		if held {
			e.gate.Claim(together)
		} else {
			e.gate.Claim(0)
		}
		if m == nil {
			return calls, e.wake(now, never)
		}
		if max(at, open) > now.Boot {
			return calls, e.wake(now, max(at, open))
		}
		if c := e.begin(m, kind, now); c != nil {
			calls = append(calls, c)
		}
	}
}

// never is later than any deadline.
const never = time.Duration(1<<63 - 1)

// together returns how many calls the gate must have room for to let one of a
// kind leave. A registration leaves room for the call for a token that another
// one will soon be followed by: one app served at once is better than two served
// later.
func (e *engine) together(kind callKind) int {
	if kind == callRegister && slices.ContainsFunc(e.active(), (*machine).registering) {
		return 2
	}
	return 1
}

// first returns the machine whose turn it is, what it needs and since when that
// is due. If nothing is due it is the one that will be first.
func (e *engine) first(now clock.Reading) (best *machine, kind callKind, at time.Duration) {
	if e.clockUnset(now) {
		return nil, callNone, never
	}
	at = never
	bestRank := rankLater
	for _, m := range e.active() {
		k, due := m.wants(e.at(now))
		if k == callNone {
			continue
		}
		if r := m.rank(k, due, now); best == nil || r < bestRank || r == bestRank && due < at {
			best, kind, at, bestRank = m, k, due, r
		}
	}
	return best, kind, at
}

// lookAgain is how soon a wall clock that was stepped without a time service is
// looked at again.
const lookAgain = time.Minute

// wake is the next moment at which something changes: a call is due, a token expires, a write is to be tried again.
func (e *engine) wake(now clock.Reading, due time.Duration) time.Duration {
	for _, m := range e.active() {
		if m.valid(now) {
			due = min(due, m.live.expires)
		}
		if m.courtesy && m.untrusted(e.at(now)) {
			due = min(due, now.Boot+time.Second)
		}
		if m.doubtful(now) { // nobody tells when a time service begins to vouch
			due = min(due, now.Boot+lookAgain)
		}
	}
	if e.saveErr != nil {
		due = min(due, max(e.saveAfter, now.Boot+time.Second))
	}
	return due
}

// begin starts a call, or puts it off where its note can't be stored: credentials that could not be kept either would be
// asked for again after every restart.
func (e *engine) begin(m *machine, kind callKind, now clock.Reading) *call {
	before := m.rec
	c := m.begin(kind, e.at(now))
	if kind == callRegister {
		if err := e.save(m, now); err != nil {
			m.rec, m.flight = before, nil
			m.failed(Failure{Code: ipc.CodeStorage, Detail: storageAdvice, At: now.Wall}, c, 0, e.at(now))
			return nil
		}
	}
	e.leave(c, now)
	return c
}

// leave has a call leave through the gate. A registration has its note in the
// store. A call for a token is noted in the gate's memory until it ends: it may
// be the answer that ends the daemon.
func (e *engine) leave(c *call, now clock.Reading) {
	if c.kind == callToken {
		name := c.machine.key()
		lost := e.gate.Unanswered(name).Count + 1
		e.gate.LeaveNamed(name, now.Boot+quickLadder.draw(lost, quickLadder.top, e.random), now.Boot)
	} else {
		e.gate.Leave(now.Boot)
	}
	if err := e.gate.Err(); err != nil && e.gateErr == nil {
		e.log.Warn("what leaves can't be remembered: the next start makes its first call a second later", "code", "gate_forgetful", "err", err)
		e.gateErr = err
	}
}

const storageAdvice = "new client credentials could not be kept, so none are requested: check free space and mode of the state directory"

// finish takes the end of a call: the answer, or the error. New credentials are
// stored before anything else. A new token is stored by the next step, so that
// players need not wait for the disk.
func (e *engine) finish(c *call, answer any, err error, now clock.Reading) {
	m := c.machine
	if c.kind == callToken {
		e.gate.Answered(m.key())
	}
	if m.flight != c { // the app was reset meanwhile; what the answer says of the throttle is true all the same
		if err != nil {
			if f := failureOf(err, now); f.Code == ipc.CodeThrottled {
				e.throttled(c, f.retryAfter, now)
			}
		}
		return
	}
	m.flight = nil
	if tok, ok := answer.(dcr.Token); ok && err == nil {
		c.known = true
		err = e.judge(tok, now)
	}
	result := "success"
	if err != nil {
		result = e.fail(m, c, err, now)
	} else {
		e.succeed(m, c, answer, now)
	}
	m.calls = m.calls.with(c.kind, result, now.Boot-c.sent.Boot)
	if c.kind == callRegister {
		e.flush(now)
	}
}

// judge returns an error if nothing is left of a new token.
func (e *engine) judge(tok dcr.Token, now clock.Reading) error {
	if e.time.life(tok, now) > 0 {
		return nil
	}
	return &dcr.Error{Kind: dcr.ServerError, Date: tok.Date,
		Detail: "the server hands out a token that has expired, by its own created_at and expires_in"}
}

func (e *engine) succeed(m *machine, c *call, answer any, now clock.Reading) {
	m.contact = now.Wall
	e.gate.Accepted(c.sent.Boot)
	e.forgetShut(now)
	switch a := answer.(type) {
	case dcr.Credentials:
		e.time.observe(a.Date, now)
		if m.rec.Credentials != nil {
			e.log.Error("the server no longer knew this device, which was registered again: the viewers of this app must sign in again",
				"app", m.app.ID, "code", "credentials_replaced")
		}
		m.registered(a, e.at(now))
	case dcr.Token:
		e.time.observe(a.Date, now)
		if c.pair > 0 {
			e.log.Warn("the server knows earlier client credentials of this device again: they are used from now on",
				"app", m.app.ID, "code", "credentials_restored")
		}
		m.received(a, c, e.at(now))
	}
}

// fail takes an error of a call, and returns the code it is counted under.
func (e *engine) fail(m *machine, c *call, err error, now clock.Reading) (result string) {
	f := failureOf(err, now)
	if wire, ok := errors.AsType[*dcr.Error](err); ok {
		e.time.observe(wire.Date, now)
	}
	if f.Code != ipc.CodeOffline {
		m.contact = now.Wall
	}
	if f.Code != ipc.CodeOffline && f.Code != ipc.CodeThrottled {
		e.gate.Accepted(c.sent.Boot)
	}
	var gateWait time.Duration
	if f.Code == ipc.CodeThrottled {
		gateWait = e.throttled(c, f.retryAfter, now)
	}
	condemned, needless := m.condemned(), c.distrust && !m.now
	m.failed(f, c, gateWait, e.at(now))
	if needless && m.sound(e.at(now)) { // another answer has vouched for the time meanwhile
		m.succeeded(e.at(now))
		return f.Code
	}
	if f.Code == ipc.CodeOffline && c.sent.Boot <= e.linkUp { // it set out on the link of before
		m.hurry(e.nextNudge(now))
	}
	if !condemned && m.condemned() {
		e.log.Warn("the server refused this device's client credentials twice: they are tried once more, then earlier ones, before the device registers again",
			"app", m.app.ID, "code", "credentials_refused")
	}
	return f.Code
}

// storeShut is how long the gate must be shut for that to be stored: what is
// shorter is over when the device has booted again, and would only wear the
// flash.
const storeShut = 10 * time.Second

// throttled shuts the gate after a 429 to a call, and returns for how long.
func (e *engine) throttled(c *call, retryAfter time.Duration, now clock.Reading) time.Duration {
	wait := e.gate.Throttled(c.sent.Boot, retryAfter, now.Boot)
	e.noticeShut(now)
	return wait
}

// noticeShut stores until when the gate is shut, if a 429 has changed that: one
// to a call of the daemon's own, or of a player.
func (e *engine) noticeShut(now clock.Reading) {
	until := e.gate.Shut()
	if until == e.shutUntil || until <= now.Boot {
		return
	}
	e.shutUntil = until
	e.shut = storage.Gate{Noted: e.time.stamp(now), Wait: until - now.Boot}
	if e.shut.Wait > storeShut {
		_ = e.saveShut(now) // flush tries again
	}
}

// forgetShut drops what shut the gate once it is open again: a later boot may not be able to tell how long ago that was.
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

// flush stores what changed, unless a write has just failed.
func (e *engine) flush(now clock.Reading) {
	e.narrate(now)
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
		e.log.Info("the state could be written again", "code", ipc.CodeStorage)
		for _, m := range e.machines { // a registration only waits for the disk
			if r := m.rec.Retry; r != nil && r.Code == ipc.CodeStorage {
				m.hurry(now.Boot)
			}
		}
	}
	e.saveErr = nil
}

// close makes the last attempt to store what is not.
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
		e.log.Error("the state could not be written; players are served from memory, and the write is tried again", "code", ipc.CodeStorage, "err", err)
	}
	e.saveErr, e.saveAfter = err, now.Boot+saveAgain
}

// report takes a player's word that a protected API refused the app's current token, and tells what follows from it.
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

// refresh asks for a token at once, whatever the app is waiting for.
func (e *engine) refresh(m *machine, now clock.Reading) {
	m.now = true
	m.hurry(now.Boot)
}

// reset forgets an app's credentials and has it register again. Where that can't be stored nothing changes.
func (e *engine) reset(m *machine, now clock.Reading) error {
	before := *m
	m.reset(e.at(now))
	if err := e.save(m, now); err != nil {
		*m = before
		m.saved = record{} // a write that failed may have got half the way
		return errors.Join(err, e.save(m, now))
	}
	return nil
}

// nudge cuts the waits of apps short that could not reach the server: a link came up.
func (e *engine) nudge(now clock.Reading) {
	e.linkUp = now.Boot
	at := e.nextNudge(now)
	for _, m := range e.active() {
		if r := m.rec.Retry; r != nil && r.Code == ipc.CodeOffline {
			m.hurry(at)
		}
	}
}

// nextNudge returns when a wait may be cut short: at the moment that is planned
// already, otherwise nudgeEvery after the one before.
func (e *engine) nextNudge(now clock.Reading) time.Duration {
	if e.nudged < now.Boot {
		e.nudged = max(now.Boot, e.nudged+nudgeEvery)
	}
	return e.nudged
}

// noticeStep sees a wall clock that was set: certificates that seemed not to be valid may be valid now, and what is left of
// waits of an earlier boot can be told.
func (e *engine) noticeStep(now clock.Reading) {
	epoch := now.Wall.Add(-now.Boot)
	step := epoch.Sub(e.epoch)
	e.epoch = epoch
	if step.Abs() <= maxSkew {
		return
	}
	e.time.stepped(now)
	e.gate.OpenFrom(now.Boot + e.time.remaining(e.shut.Noted, e.shut.Wait, now))
	e.shutUntil = e.gate.Shut()
	for _, m := range e.active() {
		if r := m.rec.Retry; r != nil {
			m.hurry(now.Boot + e.time.remaining(r.Noted, r.Wait, now))
		}
	}
	e.nudge(now)
}
