package main

import (
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/tvpassd/tvpassd/daemon/broker"
	"github.com/tvpassd/tvpassd/daemon/clock"
	"github.com/tvpassd/tvpassd/daemon/dcr"
	"github.com/tvpassd/tvpassd/storage"
)

const (
	app      = "ref30"
	endpoint = "https://sp.auth.adobe.com"
	earlier  = "the boot before"
)

// began is the true time at a scenario's beginning, and built the date of the program.
var (
	began = time.Date(2026, time.November, 24, 0, 0, 0, 0, time.UTC)
	built = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
)

// box is one box: the real policy with a clock, a disk and a way to the server. It is its own clock.Clock and broker.Store.
type box struct {
	shard  *shard
	policy *broker.Engine // nil: off
	next   time.Duration  // when something happens
	wake   time.Duration  // when the policy wants to be asked

	booted time.Duration // boot clock zero
	synced time.Duration // when a time service sets the clock
	unset  bool          // until then it shows 1970, else the right time that nothing vouches for
	boot   string

	call     broker.Call // under way, if answered is ahead
	answered time.Duration
	answer   any
	err      error

	pushes int           // of a new configuration that came
	pushed time.Duration // when the next one comes
	had    bool          // a token since the end of the incident

	kept storage.App
	shut storage.Gate
}

const never = time.Duration(1<<63 - 1)

// credentials are the same for all, for nobody looks.
var credentials = &storage.Credentials{ClientID: "id", ClientSecret: "secret"}

// newBox is a box as it stands at the beginning: its token anywhere in its life.
func (h *shard) newBox() (*box, error) {
	b := &box{shard: h, wake: never, answered: never, pushed: never, synced: never, boot: earlier}
	if !h.registers {
		part := 0.6 + (2.0/3-0.6)*h.random.Float64()
		refresh := time.Duration(part * float64(h.life))
		sent := began.Add(-h.off - h.between(0, refresh))
		b.kept.Credentials, b.kept.History.Registrations = credentials, 1
		b.kept.Token = &storage.Token{AccessToken: "token", Life: h.life, ServerSent: sent, RefreshAfter: refresh}
		b.kept.Token.Sent = storage.Stamp{BootID: earlier, Boot: sent.Sub(began) + sincePower, Wall: sent}
	}
	if h.push > 0 {
		b.pushed = h.from + h.between(0, h.push)
	}
	if h.start == 0 {
		b.booted, b.synced = -sincePower, -sincePower
		return b, b.powerUp()
	}
	b.boot = "this boot"
	b.booted = h.from + h.between(0, h.start)
	// Half of the boxes have no clock that runs without power. The others have one, or restore the last time they knew, and
	// tvpassd can't tell that from the truth until the time service has come.
	b.unset = h.random.IntN(2) == 0
	b.synced = b.booted + h.between(2*time.Second, 20*time.Second)
	b.next = b.booted
	return b, nil
}

// sincePower is how long boxes have run that run all the time.
const sincePower = 30 * 24 * time.Hour

func (b *box) powerUp() error {
	seed := b.shard.random
	policy, err := broker.NewEngine(broker.Config{
		Clock: b, Store: b, Random: rand.New(rand.NewPCG(seed.Uint64(), seed.Uint64())), BuildDate: built, Log: slog.New(slog.DiscardHandler),
	}, b.setup())
	if err != nil {
		return err
	}
	b.policy = &policy
	b.step()
	return nil
}

// happen does what is due.
func (b *box) happen(h *shard) error {
	if b.policy == nil {
		return b.powerUp()
	}
	if b.answered <= h.now {
		b.answered = never
		b.policy.Finish(b.call, b.answer, b.err, b.Now())
	}
	if b.pushed <= h.now {
		b.pushes++
		if b.pushed = never; b.pushes == 1 {
			b.pushed = h.ends() + h.between(0, h.push)
		}
		if err := b.policy.Configure(b.setup(), b.Now()); err != nil {
			return err
		}
	}
	b.step()
	return nil
}

// step has the policy do what is due, and finds out when something happens next.
func (b *box) step() {
	now := b.Now()
	calls, wake := b.policy.Step(now)
	for _, c := range calls {
		b.send(c)
	}
	b.wake = never
	if wake < never {
		b.wake = b.booted + max(wake, now.Boot+time.Millisecond)
	}
	h := b.shard
	if !b.had && h.now >= h.ends() && b.policy.Usable(app, now) {
		b.had = true
		h.first[seconds(h.now-h.ends())]++
	}
	b.next = min(b.wake, b.answered, b.pushed)
	if b.synced > h.now {
		b.next = min(b.next, b.synced)
	}
	if !b.had && h.ends() > h.now {
		b.next = min(b.next, h.ends())
	}
}

// The server's answers that never differ.
var (
	errDown = &dcr.Error{Kind: dcr.Offline, Detail: "the server can't be reached"}
	errFull = &dcr.Error{Kind: dcr.ServerError, Status: 503, Detail: "the server is too busy"}
	errBad  = &dcr.Error{Kind: dcr.Rejected, Status: 400, ServerCode: "invalid_software_statement", Detail: "the server refuses"}
)

// send brings a request to the server. It counts there even while the server is down.
func (b *box) send(c broker.Call) {
	h := b.shard
	b.call, b.answered, b.answer, b.err = c, h.now+h.between(50*time.Millisecond, 250*time.Millisecond), nil, nil
	room := h.accepts()
	date := began.Add(h.now).Truncate(time.Second)
	switch {
	case h.down():
		b.err = errDown
	case !room:
		b.err = errFull
	case c.Registers() && b.pushes < 2 && h.bad:
		b.err = errBad
	case c.Registers():
		b.answer = dcr.Credentials{ClientID: "id", ClientSecret: "secret", Date: date}
	default:
		b.answer = dcr.Token{AccessToken: "token", ExpiresIn: h.life, Date: date}
	}
}

// setup is the present configuration.
func (b *box) setup() broker.Setup {
	s := broker.Setup{Endpoint: endpoint, TLS: true}
	if b.shard.push == 0 || b.pushes > 0 {
		statement := "good"
		if b.shard.bad && b.pushes == 1 {
			statement = "bad"
		}
		s.Apps = []broker.App{{ID: app, SoftwareStatement: statement}}
	}
	return s
}

// Now is part of clock.Clock.
func (b *box) Now() clock.Reading {
	r := clock.Reading{Boot: b.shard.now - b.booted, Wall: began.Add(b.shard.now)}
	if b.unset && !b.Synchronised() {
		r.Wall = time.Unix(0, 0).Add(r.Boot)
	}
	return r
}

// BootID is part of clock.Clock.
func (b *box) BootID() string { return b.boot }

// Synchronised is part of clock.Clock.
func (b *box) Synchronised() bool { return b.shard.now >= b.synced }

// App is part of broker.Store.
func (b *box) App(string, string) (storage.App, error) { return b.kept, nil }

// SaveApp is part of broker.Store.
func (b *box) SaveApp(_, _ string, a storage.App) error { b.kept = a; return nil }

// Gate is part of broker.Store.
func (b *box) Gate() (storage.Gate, error) { return b.shut, nil }

// SaveGate is part of broker.Store.
func (b *box) SaveGate(g storage.Gate) error { b.shut = g; return nil }
