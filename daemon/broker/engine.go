package broker

import (
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
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
	Flush() error // syncs what Open found, and looks for room after a save that failed
}

// engine holds the machines of all apps, the gate that they share and what is
// known of the time. One goroutine drives it and it starts none: the same calls
// at the same readings of the clock always end in the same state.
type engine struct {
	store  Store
	random *rand.Rand
	log    *slog.Logger

	time        timeline
	gate        *throttle.Gate
	gateErr     error         // the last one of the gate that was logged
	waits       gateWaits     // at the gate
	shut        storage.Gate  // the last shut of the gate, as of its beginning
	shutUntil   time.Duration // by the gate, when that was noted
	shutUnsaved bool
	endpoint    string
	tls         bool // the endpoint's certificate is checked, which needs a clock that is set

	// machines are all those since the start: a call may still be under way for an
	// app that was taken out of the configuration. The active ones are configured.
	machines, active []*machine

	saveAfter time.Duration // no write before
	saveErr   error         // of the last write
	linkUp    time.Duration // when a link last came up
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
		if left := e.shutLeft(now); left > 0 {
			e.shutUntil = now.Boot + left
			e.gate.ShutUntil(e.shutUntil)
		}
	}
	return e
}

func (e *engine) at(now clock.Reading) moment { return moment{now, &e.time, e.random} }

// configure puts the configured apps in force. A new app is loaded; one that is
// gone keeps its state, unused. If an app's software statement or redirect URI
// changed, the wait after a refusal ends; nothing else changes.
func (e *engine) configure(setup Setup, now clock.Reading) error {
	e.endpoint, e.tls = setup.Endpoint, setup.TLS
	var failures []error
	for _, m := range e.machines {
		m.active = false
	}
	for _, app := range setup.Apps {
		if m := e.find(app.ID); m != nil {
			m.active = true
			m.configure(app)
			m.reconsider(e.at(now))
			continue
		}
		m := &machine{endpoint: setup.Endpoint, active: true, calls: &Calls{}}
		m.configure(app)
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
	e.active = nil
	for _, m := range e.machines {
		if m.active {
			e.active = append(e.active, m)
		}
	}
	return errors.Join(failures...)
}

// find returns an app's machine at the present endpoint, nil if it never had one.
func (e *engine) find(app string) *machine {
	for _, m := range e.machines {
		if m.endpoint == e.endpoint && m.app.ID == app {
			return m
		}
	}
	return nil
}

// machine returns the machine of a configured app, nil for any other.
func (e *engine) machine(app string) *machine {
	if m := e.find(app); m != nil && m.active {
		return m
	}
	return nil
}

// clockUnset reports whether calls are blocked because the clock is not set.
func (e *engine) clockUnset(now clock.Reading) bool { return e.tls && !e.time.set(now) }

// step does what is due. It returns the calls to send now, and the reading of
// the boot clock at which to step again: [never] if nothing is planned. What a
// later start must know of a call is stored before step returns that call.
func (e *engine) step(now clock.Reading) (calls []*call, wake time.Duration) {
	e.noticeShut(now)
	e.noticeStep(now)
	for _, m := range e.machines { // also those not configured: what vouches for the time may not last
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

// together returns for how many calls the gate must have room before one of a
// kind may leave. While an app registers, the registration of another leaves
// room for the first one's token call: one app served at once is better than
// two served later.
func (e *engine) together(kind callKind) int {
	if kind == callRegister && slices.ContainsFunc(e.active, (*machine).registering) {
		return 2
	}
	return 1
}

// first returns the machine whose turn it is, what it needs and since when that
// is due. If nothing is due it returns the machine that will be first.
func (e *engine) first(now clock.Reading) (best *machine, kind callKind, at time.Duration) {
	if e.clockUnset(now) {
		return nil, callNone, never
	}
	at = never
	bestRank := rankLater
	for _, m := range e.active {
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

// wake returns the next moment at which something may change: a call is due, a
// token expires, a write is tried again.
func (e *engine) wake(now clock.Reading, due time.Duration) time.Duration {
	for _, m := range e.active {
		if m.valid(now) {
			due = min(due, m.live.expires)
		}
		if m.courtesy && now.Boot < m.next && m.untrusted(e.at(now)) {
			due = min(due, now.Boot+time.Second)
		}
		if m.doubtful(now) { // no event says that a time service begins to vouch
			due = min(due, now.Boot+lookAgain)
		}
	}
	if e.saveErr != nil {
		due = min(due, max(e.saveAfter, now.Boot+time.Second))
	}
	return due
}

// begin starts a call. It puts a registration off if the store can't note the
// attempt: the store could not keep the credentials either, and each restart
// would ask for new ones.
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

// leave takes a call through the gate. A registration is noted in the store. A
// token call is noted in the gate's memory until it ends, in case its answer
// makes the daemon crash.
func (e *engine) leave(c *call, now clock.Reading) {
	if c.kind == callToken {
		name := c.machine.key()
		lost := e.gate.Unanswered(name).Count + 1
		e.gate.LeaveNamed(name, now.Boot+quickLadder.draw(lost, quickLadder.top, e.random), now.Boot)
	} else {
		e.gate.Leave(now.Boot)
	}
	if err := e.gate.Err(); err != nil && e.gateErr == nil {
		e.log.Warn("what leaves can't be remembered: the next start makes its first call a second later",
			"code", ipc.LogGateForgetful, "err", err)
		e.gateErr = err
	}
}

const storageAdvice = "new client credentials could not be kept, so none are requested: " +
	"check free space and mode of the state directory"

// finish takes the outcome of a call: its answer, or its error. New credentials
// are stored before anything else. A new token is stored by the next step, so
// that players need not wait for the disk.
func (e *engine) finish(c *call, answer any, err error, now clock.Reading) {
	m := c.machine
	if c.kind == callToken {
		e.gate.Answered(m.key())
	}
	if m.flight != c { // the app was reset meanwhile; what the answer says about the throttle still holds
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

// judge returns an error if a new token has expired already.
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
			e.log.Error("the server no longer knew this device, which was registered again: "+
				"the viewers of this app must sign in again", "app", m.app.ID, "code", ipc.WarnReplaced)
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

// fail takes the error of a call and returns the code that it is counted under.
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
	if f.Code == ipc.CodeOffline && e.linkUp > 0 && c.sent.Boot <= e.linkUp+settling {
		m.hurry(max(e.nextNudge(now), now.Boot+quickLadder.draw(1, quickLadder.top, e.random)))
	}
	if !condemned && m.condemned() {
		e.log.Warn("the server refused this device's client credentials twice: "+
			"they are tried once more, then earlier ones, before the device registers again",
			"app", m.app.ID, "code", "credentials_refused")
	}
	return f.Code
}

// noticeStep notices that the wall clock was set. Certificates that seemed
// invalid may be valid now, and the rest of a wait from an earlier boot is
// known.
func (e *engine) noticeStep(now clock.Reading) {
	epoch := now.Wall.Add(-now.Boot)
	step := epoch.Sub(e.epoch)
	e.epoch = epoch
	if step.Abs() <= maxSkew {
		return
	}
	e.time.stepped(now)
	e.gate.OpenFrom(now.Boot + e.shutLeft(now))
	e.shutUntil = e.gate.Shut()
	for _, m := range e.active {
		if r := m.rec.Retry; r != nil {
			m.hurry(now.Boot + e.time.remaining(r.Noted, r.Wait, now))
		}
	}
	e.nudge(now)
}
