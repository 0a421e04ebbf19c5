// Package broker is the heart of the daemon: it decides when to call the server, and what to serve meanwhile.
//
// It owns one small state machine per app (machine.go), the gate in front of the server that they share (gate.go), and what
// is known of the time (clock.go). An engine (engine.go) drives them without any concurrency; the Broker in this file gives
// that engine a goroutine, real calls and readers. Players never wait for the engine: they read the view that it published
// last (view.go).
//
// It does not own the wire (dcr), the disk (storage) or the socket (ipc).
package broker

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tvpassd/tvpassd/daemon/clock"
	"github.com/tvpassd/tvpassd/daemon/dcr"
	"github.com/tvpassd/tvpassd/daemon/throttle"
	"github.com/tvpassd/tvpassd/ipc"
)

// Upstream is the server; dcr.Client is one.
type Upstream interface {
	Register(context.Context, dcr.RegisterRequest) (dcr.Credentials, error)
	Token(context.Context, dcr.TokenRequest) (dcr.Token, error)
}

// Alarm wakes the broker.
type Alarm interface {
	// Set asks for a wake-up at a reading of the boot clock, in place of the one asked for before. A reading that is
	// past is due now.
	Set(at time.Duration)
	// C receives at that moment, and whenever the wall clock was stepped or the box resumed from a suspend.
	C() <-chan struct{}
}

// Config is what a Broker needs. Every field but Changed and Waited is required.
type Config struct {
	Clock     clock.Clock
	Alarm     Alarm
	Store     Store
	Gate      *throttle.Gate
	Random    *rand.Rand
	BuildDate time.Time // a wall clock before this is unset
	Log       *slog.Logger
	Changed   func() // called when readers see something new; it must not wait

	// Waited is called for a player that was not answered at once, by the player's goroutine.
	Waited func(app string, d time.Duration)
}

// Setup is the part of the configuration that a reload may change.
type Setup struct {
	Endpoint string
	TLS      bool // the endpoint's certificate must be checked
	Upstream Upstream
	Apps     []App
}

// stopGrace is how long calls under way may go on after the end: an answered registration that is thrown away signs a viewer out.
const stopGrace = 3 * time.Second

var (
	// ErrUnknownApp says that no such app is configured.
	ErrUnknownApp = errors.New("no such app is configured")
	// ErrStopped says that the broker has ended.
	ErrStopped = errors.New("tvpassd is stopping")
)

// NoTokenError says why there is no token for a player.
type NoTokenError struct {
	Failure
	RetryAfter time.Duration // until asking again makes sense; 0: nobody knows when the clock will be set
}

func (e *NoTokenError) Error() string { return e.Code + ": " + e.Detail }

// Broker serves tokens and keeps them fresh.
type Broker struct {
	clock   clock.Clock
	alarm   Alarm
	log     *slog.Logger
	changed func()
	waited  func(string, time.Duration)

	gate     *throttle.Gate
	engine   *engine  // the goroutine of Run's, once that has begun
	upstream Upstream // likewise
	requests chan func(now clock.Reading)
	stopped  chan struct{}

	published atomic.Pointer[publication]
	logged    map[string][]string // by app, the troubles since its last token; the goroutine of Run's
	brief     map[string]bool     // the apps whose tokens were said to come and go; likewise
}

// publication is all that readers see.
type publication struct {
	apps       map[string]*AppView
	time       timeline
	gateWaits  Waits
	storageErr error
}

// New makes a broker that serves stored tokens at once, and calls the server from Run on.
func New(cfg Config, setup Setup) (*Broker, error) {
	b := &Broker{
		clock: cfg.Clock, alarm: cfg.Alarm, log: cfg.Log, changed: cfg.Changed, waited: cfg.Waited,
		gate: cfg.Gate, engine: newEngine(cfg),
		requests: make(chan func(clock.Reading)),
		stopped:  make(chan struct{}),
		logged:   make(map[string][]string),
		brief:    make(map[string]bool),
	}
	if b.changed == nil {
		b.changed = func() {}
	}
	if b.waited == nil {
		b.waited = func(string, time.Duration) {}
	}
	b.published.Store(&publication{})
	if err := b.configure(setup, cfg.Clock.Now()); err != nil {
		return nil, err
	}
	return b, nil
}

func (b *Broker) configure(setup Setup, now clock.Reading) error {
	b.upstream = setup.Upstream
	err := b.engine.configure(setup, now)
	b.publish(now)
	return err
}

// Run calls the server whenever that is due, until ctx ends and the calls under way with it.
func (b *Broker) Run(ctx context.Context) error {
	defer close(b.stopped)
	callCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	ended := make(chan func(now clock.Reading))
	var calls sync.WaitGroup
	for {
		for _, c := range b.turn() {
			up := b.upstream
			calls.Go(func() { ended <- b.exchange(callCtx, up, c) })
		}
		select {
		case f := <-b.requests:
			f(b.clock.Now())
		case f := <-ended:
			now := b.clock.Now()
			f(now)
			b.publish(now) // players first, then the disk
		case <-b.alarm.C():
		case <-b.engine.gate.Shuts():
		case <-ctx.Done():
			defer time.AfterFunc(stopGrace, cancel).Stop()
			go func() { calls.Wait(); close(ended) }()
			for f := range ended {
				f(b.clock.Now())
			}
			return b.engine.close(b.clock.Now())
		}
	}
}

// turn does what is due, shows it to readers and sets the alarm. It returns the calls to send now.
func (b *Broker) turn() []*call {
	now := b.clock.Now()
	due, wake := b.engine.step(now)
	b.publish(now)
	b.alarm.Set(wake)
	return due
}

// exchange makes one call; what it returns tells the engine how the call ended.
func (b *Broker) exchange(ctx context.Context, up Upstream, c *call) func(clock.Reading) {
	var answer any
	var err error
	switch c.kind {
	case callRegister:
		answer, err = up.Register(ctx, c.register)
	case callToken:
		answer, err = up.Token(ctx, c.token)
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) { // given up at a stop, which tells nothing of the server
		return func(clock.Reading) {}
	}
	return func(now clock.Reading) { b.engine.finish(c, answer, err, now) }
}

// do has the engine's goroutine run f, and waits for it.
func (b *Broker) do(ctx context.Context, f func(now clock.Reading)) error {
	done := make(chan struct{})
	select {
	case b.requests <- func(now clock.Reading) { f(now); b.publish(now); close(done) }:
		<-done
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-b.stopped:
		return ErrStopped
	}
}

// publish shows readers the present state, and logs what they would call news.
func (b *Broker) publish(now clock.Reading) {
	old := b.published.Load()
	next := &publication{
		apps: make(map[string]*AppView), time: b.engine.time,
		gateWaits: b.engine.waits.ended, storageErr: b.engine.saveErr,
	}
	var outdated []*AppView
	for _, m := range b.engine.active() {
		v, was := b.engine.view(m, now), old.apps[m.app.ID]
		if was != nil && v.sameAs(was) {
			v = was
		} else {
			v.changed = make(chan struct{})
			b.logNews(was, v, now)
		}
		next.apps[m.app.ID] = v
	}
	for id, was := range old.apps {
		if next.apps[id] != was {
			outdated = append(outdated, was)
		}
	}
	b.published.Store(next)
	for _, was := range outdated {
		close(was.changed)
	}
	if len(outdated) > 0 || len(next.apps) > len(old.apps) || next.storageErr != old.storageErr {
		b.changed()
	}
}

// logNews logs a transition: a token at last, or another trouble. The refresh of
// a good token is none, nor is a retry, nor a trouble that comes back before
// there was a new token: a bad line may have two of them take turns all night. If
// tokens live for minutes, their coming and going is logged once.
func (b *Broker) logNews(was, v *AppView, now clock.Reading) {
	f, failed := v.Failure()
	app := v.App.ID
	trouble := f.Code + " " + f.ServerCode
	switch {
	case failed && !slices.Contains(b.logged[app], trouble):
		b.logged[app] = append(b.logged[app], trouble)
		b.log.Warn("no new token", "app", app, "state", v.State(now), "code", f.Code, "server_code", f.ServerCode, "detail", f.Detail)
	case !failed && v.core.valid && (was == nil || was.core.live != v.core.live):
		level := slog.LevelInfo
		if b.brief[app] && v.core.token.Life < storeLife {
			level = slog.LevelDebug
		} else {
			if was != nil && was.core.valid && !was.core.token.Refused && len(b.logged[app]) == 0 {
				level = slog.LevelDebug
			}
			delete(b.logged, app)
			delete(b.brief, app)
		}
		b.log.Log(context.Background(), level, "token at hand", "app", app,
			"expires_in", (v.core.live.expires - now.Boot).Round(time.Second), "registrations", v.core.registrations)
	case was != nil && was.core.valid && !v.core.valid && !b.brief[app]:
		b.brief[app] = was.core.token.Life < storeLife
		b.log.Warn("the token has expired", "app", app, "state", v.State(now), "code", cmp.Or(f.Code, ipc.CodeNotReady))
	}
}

// View returns what is known of an app, or ErrUnknownApp.
func (b *Broker) View(app string) (*AppView, error) {
	if v := b.published.Load().apps[app]; v != nil {
		return v, nil
	}
	return nil, ErrUnknownApp
}

// Views returns what is known of every app, by its id.
func (b *Broker) Views() map[string]*AppView { return b.published.Load().apps }

// Overview tells what is known beside the apps.
func (b *Broker) Overview() Overview {
	p, now := b.published.Load(), b.clock.Now()
	return Overview{
		Reading: now, ClockSet: p.time.set(now), Skew: p.time.skew(now),
		GateOpens: b.gate.Opens(now.Boot) - now.Boot, Shared: b.gate.Shared(now.Boot), GateWaits: p.gateWaits, StorageErr: p.storageErr,
	}
}

// Now reads the broker's clock.
func (b *Broker) Now() clock.Reading { return b.clock.Now() }

// Token returns a token that lives at least minTTL, or a third of its life where that is less. A valid token comes at once,
// from memory; without one, or while a refresh that a player's report started is under way, Token waits up to wait, and for
// no spread of a start. The error is a *NoTokenError, ErrUnknownApp, or the context's.
func (b *Broker) Token(ctx context.Context, app string, wait, minTTL time.Duration) (Token, error) {
	v, err := b.View(app)
	if err != nil {
		return Token{}, err
	}
	now := b.clock.Now()
	if v.satisfies(minTTL, now) && (!v.core.hold || wait == 0) {
		tok, _ := v.Token(now)
		return tok, nil
	}
	if wait == 0 {
		return b.answer(v, minTTL, now)
	}
	tok, err := b.await(ctx, v, wait, minTTL, now)
	b.waited(app, b.clock.Now().Boot-now.Boot)
	return tok, err
}

// await waits for a token. The app is v's.
func (b *Broker) await(ctx context.Context, v *AppView, wait, minTTL time.Duration, now clock.Reading) (Token, error) {
	var err error
	app := v.App.ID
	timeout := time.NewTimer(wait)
	defer timeout.Stop()
	passed := false
	for last := false; ; {
		if last || v.satisfies(minTTL, now) && !v.core.hold {
			return b.answer(v, minTTL, now)
		}
		// A player who waits passes through the loop once: what is due leaves even if
		// the alarm did not ring.
		var hasten chan<- func(clock.Reading)
		if !passed || v.hastened() {
			hasten = b.requests
		}
		select {
		case <-v.changed:
		case hasten <- func(now clock.Reading) { b.awaited(app, now) }:
			passed = true
		case <-timeout.C:
			last = true
		case <-ctx.Done():
			return Token{}, ctx.Err()
		case <-b.stopped:
			last = true
		}
		if v, err = b.View(app); err != nil {
			return Token{}, err
		}
		now = b.clock.Now()
	}
}

// awaited tells an app's machine, on the engine's goroutine, of a player who
// waits.
func (b *Broker) awaited(app string, now clock.Reading) {
	if m := b.engine.machine(app); m != nil {
		m.awaited(b.engine.at(now))
	}
}

// answer is the token, or why there is none that will do.
func (b *Broker) answer(v *AppView, minTTL time.Duration, now clock.Reading) (Token, error) {
	if v.satisfies(minTTL, now) {
		tok, _ := v.Token(now)
		return tok, nil
	}
	open := b.gate.Opens(now.Boot) - now.Boot
	f, failed := v.Failure()
	switch {
	case failed:
	case open > time.Second: // the gate itself never makes anybody wait longer
		f = Failure{Code: ipc.CodeThrottled, Detail: "the server's throttle is shut; the token is asked for as soon as it opens"}
	default:
		f = Failure{Code: ipc.CodeNotReady, Detail: "the token is being fetched: ask again, or wait longer with ?wait="}
	}
	e := &NoTokenError{Failure: f}
	if f.Code != ipc.CodeClockUnset {
		next, _ := v.NextCall(now) // none while a call is under way, which soon ends
		e.RetryAfter = max(next, open, time.Second)
	}
	return Token{}, e
}

// Report takes a player's word that a protected API refused a token with 401, and returns what follows from it.
func (b *Broker) Report(ctx context.Context, app, accessToken string) (action string, err error) {
	v, err := b.View(app)
	if err != nil {
		return "", err
	}
	if !v.core.has(accessToken) {
		return ipc.ActionNone, nil
	}
	err = b.doFor(ctx, app, func(m *machine, now clock.Reading) error {
		if action = ipc.ActionNone; m.rec.Token == v.core.token {
			action = b.engine.report(m, now)
		}
		return nil
	})
	return action, err
}

// ReportThrottled takes a player's word that a protected API answered a call of
// its own with 429. If it had the app's current token, the gate is shut for a
// second, though not again and again.
func (b *Broker) ReportThrottled(app, accessToken string) error {
	v, err := b.View(app)
	if err == nil && v.core.has(accessToken) && b.gate.Reported(app, b.clock.Now().Boot) {
		b.log.Info("a player reports that the server throttles this device", "app", app)
	}
	return err
}

// Refresh has a token fetched now, through the gate.
func (b *Broker) Refresh(ctx context.Context, app string) error {
	return b.doFor(ctx, app, func(m *machine, now clock.Reading) error {
		b.engine.refresh(m, now)
		return nil
	})
}

// Reset forgets an app's credentials and has it register again.
func (b *Broker) Reset(ctx context.Context, app string) error {
	return b.doFor(ctx, app, func(m *machine, now clock.Reading) error { return b.engine.reset(m, now) })
}

// doFor runs f with the app's machine on the engine's goroutine.
func (b *Broker) doFor(ctx context.Context, app string, f func(*machine, clock.Reading) error) error {
	var err error
	ended := b.do(ctx, func(now clock.Reading) {
		if m := b.engine.machine(app); m != nil {
			err = f(m, now)
		} else {
			err = ErrUnknownApp
		}
	})
	return errors.Join(ended, err)
}

// Configure takes over a changed configuration. Tokens, credentials and calls under way stay as they are.
func (b *Broker) Configure(ctx context.Context, setup Setup) error {
	var err error
	ended := b.do(ctx, func(now clock.Reading) { err = b.configure(setup, now) })
	return errors.Join(ended, err)
}

// Ping tells whether the broker's loop goes round: it waits for one turn.
func (b *Broker) Ping(ctx context.Context) error {
	return b.do(ctx, func(clock.Reading) {})
}

// LinkUp tells that the network may be back: apps that could not reach the server try again.
func (b *Broker) LinkUp(ctx context.Context) error {
	return b.do(ctx, b.engine.nudge)
}
