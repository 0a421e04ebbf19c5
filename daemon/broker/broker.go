// Package broker is the heart of the daemon: it decides when to call the server,
// and what to serve meanwhile.
//
// It owns one small state machine for each app (machine.go) and what is known of
// the time (timeline.go). The machines share one gate to the server
// ([throttle.Gate]). An engine (engine.go) drives them without any concurrency;
// the Broker in this file gives that engine a goroutine and real calls. Players
// never wait for the engine: they read the view that it published last (view.go,
// serve.go).
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
	// Set asks for a wake-up at a reading of the boot clock, in place of the one
	// asked for before. A reading that has passed is due now.
	Set(at time.Duration)
	// C receives at that moment, and whenever the wall clock was stepped or the
	// device resumed from a suspend.
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

	// Waited is called for a player that was not answered at once, by the player's
	// goroutine.
	Waited func(app string, d time.Duration)
}

// Setup is the part of the configuration that a reload may change.
type Setup struct {
	Endpoint string
	TLS      bool // the endpoint's certificate must be checked
	Upstream Upstream
	Apps     []App
}

// stopGrace is how long calls under way may go on after a stop: an answered
// registration that is thrown away signs a viewer out.
const stopGrace = 3 * time.Second

var (
	// ErrUnknownApp means that no such app is configured.
	ErrUnknownApp = errors.New("no such app is configured")
	// ErrStopped means that the broker has ended.
	ErrStopped = errors.New("tvpassd is stopping")
)

// NoTokenError says why there is no token for a player.
type NoTokenError struct {
	Failure
	RetryAfter time.Duration // when to ask again; 0 if nobody knows when the clock will be set
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
	engine   *engine  // owned by Run's goroutine, once that has begun
	upstream Upstream // likewise
	requests chan func(now clock.Reading)
	stopped  chan struct{}

	published atomic.Pointer[publication]
	reported  map[string]*AppView // the views that were looked at for the log; owned by Run's goroutine
	logged    map[string][]string // by app, the troubles since its last token; owned by Run's goroutine
	brief     map[string]bool     // the apps whose tokens are known to come and go; likewise
}

// publication is all that readers see.
type publication struct {
	apps       map[string]*AppView
	time       timeline
	gateWaits  Waits
	storageErr error
}

// New returns a broker that serves stored tokens at once. It calls the server
// once [Broker.Run] runs. An error means that the state of an app can't be read.
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
	b.show(now) // Run logs it: at the start players come first
	return err
}

// Run calls the server whenever that is due. When ctx is done it waits a little
// for the calls under way and makes a last attempt to write the state; it returns
// the error of that.
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

// turn does what is due, shows it to readers and sets the alarm. It returns the
// calls to send now.
func (b *Broker) turn() []*call {
	now := b.clock.Now()
	due, wake := b.engine.step(now)
	b.publish(now)
	b.alarm.Set(wake)
	return due
}

// exchange makes one call. It returns a function that hands the outcome to the
// engine.
func (b *Broker) exchange(ctx context.Context, up Upstream, c *call) func(clock.Reading) {
	var answer any
	var err error
	switch c.kind {
	case callRegister:
		answer, err = up.Register(ctx, c.register)
	case callToken:
		answer, err = up.Token(ctx, c.token)
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) { // given up at a stop: it says nothing about the server
		return func(clock.Reading) {}
	}
	return func(now clock.Reading) { b.engine.finish(c, answer, err, now) }
}

// do runs f on the engine's goroutine and waits for it.
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

// publish shows readers the present state, and logs transitions.
func (b *Broker) publish(now clock.Reading) {
	b.show(now)
	apps := b.published.Load().apps
	for _, m := range b.engine.active {
		id := m.app.ID
		if was, v := b.reported[id], apps[id]; was != v {
			b.logTransition(was, v, now)
		}
	}
	b.reported = apps
}

// show shows readers the present state.
func (b *Broker) show(now clock.Reading) {
	old := b.published.Load()
	next := &publication{
		apps: b.views(old.apps, now), time: b.engine.time,
		gateWaits: b.engine.waits.ended, storageErr: b.engine.saveErr,
	}
	b.published.Store(next)
	changed := len(next.apps) > len(old.apps) || next.storageErr != old.storageErr
	for id, was := range old.apps {
		if next.apps[id] != was {
			close(was.changed)
			changed = true
		}
	}
	if changed {
		b.changed()
	}
}

// views returns the present view of each app. If nothing changed it is the view
// that was published before.
func (b *Broker) views(before map[string]*AppView, now clock.Reading) map[string]*AppView {
	views := make(map[string]*AppView, len(before))
	for _, m := range b.engine.active {
		id := m.app.ID
		was := before[id]
		if v := b.engine.view(m, now); was == nil || !v.sameAs(was) {
			v.changed = make(chan struct{})
			views[id] = new(v)
		} else {
			views[id] = was
		}
	}
	return views
}

// logTransition logs the end of trouble, each new kind of trouble, and the
// expiry of a token. It does not log the refresh of a good token, a retry, or a
// trouble that comes back before there was a new token: on a bad line two kinds
// may alternate all night. If tokens live for minutes, one gap between them is
// logged.
func (b *Broker) logTransition(was, v *AppView, now clock.Reading) {
	f, failed := v.Failure()
	app := v.App.ID
	trouble := f.Code + " " + f.ServerCode
	switch {
	case failed && !slices.Contains(b.logged[app], trouble):
		b.logged[app] = append(b.logged[app], trouble)
		b.log.Warn("no new token", "app", app, "state", v.State(now),
			"code", f.Code, "server_code", f.ServerCode, "detail", f.Detail)
	case !failed && v.core.valid && (was == nil || was.core.live != v.core.live):
		b.log.Log(context.Background(), b.tokenLevel(was, v), "token at hand", "app", app,
			"expires_in", (v.core.live.expires - now.Boot).Round(time.Second), "registrations", v.core.registrations)
	case was != nil && was.core.valid && !v.core.valid && !b.brief[app]:
		b.brief[app] = was.core.token.Life < storeLife
		b.log.Warn("the token has expired", "app", app, "state", v.State(now), "code", cmp.Or(f.Code, ipc.CodeNotReady))
	}
}

// tokenLevel returns the level at which a new token is logged: a refresh without
// trouble, and the next one of tokens that come and go, are for debugging.
func (b *Broker) tokenLevel(was, v *AppView) slog.Level {
	app := v.App.ID
	if b.brief[app] && v.core.token.Life < storeLife {
		return slog.LevelDebug
	}
	quiet := was != nil && was.core.valid && !was.core.token.Refused && len(b.logged[app]) == 0
	delete(b.logged, app)
	delete(b.brief, app)
	if quiet {
		return slog.LevelDebug
	}
	return slog.LevelInfo
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

// Overview returns what is known besides the apps.
func (b *Broker) Overview() Overview {
	p, now := b.published.Load(), b.clock.Now()
	return Overview{
		Reading: now, ClockSet: p.time.set(now), Skew: p.time.skew(now),
		GateOpens: b.gate.Opens(now.Boot) - now.Boot, Shared: b.gate.Shared(now.Boot),
		GateWaits: p.gateWaits, StorageErr: p.storageErr,
	}
}

// Now returns a reading of the broker's clock.
func (b *Broker) Now() clock.Reading { return b.clock.Now() }

// Refresh fetches a token now, through the gate. It does not wait for it.
func (b *Broker) Refresh(ctx context.Context, app string) error {
	return b.doFor(ctx, app, func(m *machine, now clock.Reading) error {
		b.engine.refresh(m, now)
		return nil
	})
}

// Reset forgets an app's client credentials, so that it registers again. An error
// other than ErrUnknownApp and ErrStopped means that this could not be stored and
// nothing was forgotten.
func (b *Broker) Reset(ctx context.Context, app string) error {
	return b.doFor(ctx, app, b.engine.reset)
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

// Configure puts a changed configuration in force. Tokens, credentials and calls
// under way stay as they are.
func (b *Broker) Configure(ctx context.Context, setup Setup) error {
	var err error
	ended := b.do(ctx, func(now clock.Reading) { err = b.configure(setup, now) })
	return errors.Join(ended, err)
}

// Ping waits for one turn of the broker's loop. It fails if ctx is done before.
func (b *Broker) Ping(ctx context.Context) error {
	return b.do(ctx, func(clock.Reading) {})
}

// LinkUp tells the broker that the network may be back: apps that could not reach
// the server try again.
func (b *Broker) LinkUp(ctx context.Context) error {
	return b.do(ctx, b.engine.nudge)
}
