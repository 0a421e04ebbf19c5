package broker

import (
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/tvpassd/tvpassd/daemon/clock"
	"github.com/tvpassd/tvpassd/daemon/dcr"
	"github.com/tvpassd/tvpassd/daemon/throttle"
	"github.com/tvpassd/tvpassd/storage"
)

const (
	fleetApp = "ref30"
	// fleetBefore is the boot before the incident.
	fleetBefore = "the boot before"
	// fleetUptime is the uptime of devices that are always on.
	fleetUptime = 30 * 24 * time.Hour
)

// fleetBegan is the true time at the beginning of a scenario.
var fleetBegan = time.Date(2026, time.November, 24, 0, 0, 0, 0, time.UTC)

// fleetDevice is one device of a fleet: the real engine with a clock, a disk and
// a way to the server. It is its own clock.Clock and Store.
type fleetDevice struct {
	shard  *fleetShard
	engine *engine       // nil: switched off
	next   time.Duration // when something happens
	wake   time.Duration // when the engine wants to step again

	booted time.Duration // when its boot clock was zero
	synced time.Duration // when a time service sets its clock
	unset  bool          // until then the clock shows 1970, otherwise the right time, which nothing vouches for
	boot   string

	flight   *call // under way, if answered is ahead
	answered time.Duration
	answer   any
	err      error

	pushes int           // new configurations so far
	pushed time.Duration // when the next one comes
	had    bool          // a token since the end of the incident

	kept storage.App
	shut storage.Gate
}

// newDevice makes a device as it stands at the beginning: its token is anywhere
// in its life.
func (h *fleetShard) newDevice() (*fleetDevice, error) {
	d := &fleetDevice{shard: h, wake: never, answered: never, pushed: never, synced: never, boot: fleetBefore}
	if !h.registers {
		part := refreshFrom + (refreshTo-refreshFrom)*h.random.Float64()
		refresh := time.Duration(part * float64(fleetLife))
		sent := fleetBegan.Add(-h.off - h.between(0, refresh))
		d.kept.Credentials = &storage.Credentials{ClientID: "id", ClientSecret: "secret"}
		d.kept.History.Registrations = 1
		d.kept.Token = &storage.Token{AccessToken: "token", Life: fleetLife, ServerSent: sent, RefreshAfter: refresh}
		d.kept.Token.Sent = storage.Stamp{BootID: fleetBefore, Boot: sent.Sub(fleetBegan) + fleetUptime, Wall: sent}
	}
	if h.push > 0 {
		d.pushed = h.from + h.between(0, h.push)
	}
	if h.start == 0 {
		d.booted, d.synced = -fleetUptime, -fleetUptime
		return d, d.powerUp()
	}
	d.boot = "this boot"
	d.booted = h.from + h.between(0, h.start)
	// Half of the devices have no clock that runs without power. The others have
	// one, or restore the last time they knew: tvpassd can't tell these two apart
	// until the time service answers.
	d.unset = h.random.IntN(2) == 0
	d.synced = d.booted + h.between(2*time.Second, 20*time.Second)
	d.next = d.booted
	return d, nil
}

// powerUp starts the daemon.
func (d *fleetDevice) powerUp() error {
	d.engine = newEngine(Config{
		Clock: d, Store: d, Random: rand.New(rand.NewPCG(d.shard.random.Uint64(), d.shard.random.Uint64())),
		Gate: throttle.New(d.boot, d.Now().Boot, &labMemory{}), BuildDate: labBuild, Log: slog.New(slog.DiscardHandler),
	})
	if err := d.engine.configure(d.setup(), d.Now()); err != nil {
		return err
	}
	if m := d.engine.machine(fleetApp); m != nil {
		m.quiet = d.shard.start == 0 // its start is long ago
	}
	d.step()
	return nil
}

// happen does what is due.
func (d *fleetDevice) happen() error {
	h := d.shard
	if d.engine == nil {
		return d.powerUp()
	}
	if d.answered <= h.now {
		d.answered = never
		d.engine.finish(d.flight, d.answer, d.err, d.Now())
	}
	if d.pushed <= h.now {
		d.pushes++
		if d.pushed = never; d.pushes == 1 {
			d.pushed = h.ends() + h.between(0, h.push)
		}
		if err := d.engine.configure(d.setup(), d.Now()); err != nil {
			return err
		}
	}
	d.step()
	return nil
}

// step makes the engine do what is due, and computes when something happens
// next.
func (d *fleetDevice) step() {
	h, now := d.shard, d.Now()
	calls, wake := d.engine.step(now)
	for _, c := range calls {
		d.send(c)
	}
	d.wake = never
	if wake < never {
		d.wake = d.booted + max(wake, now.Boot+time.Millisecond)
	}
	if m := d.engine.machine(fleetApp); !d.had && h.now >= h.ends() && m != nil && m.valid(now) {
		d.had = true
		h.first[seconds(h.now-h.ends())]++
	}
	d.next = min(d.wake, d.answered, d.pushed)
	if d.synced > h.now {
		d.next = min(d.next, d.synced)
	}
	if !d.had && h.ends() > h.now {
		d.next = min(d.next, h.ends())
	}
}

// send brings a call to the server. It counts there even while the server is
// down.
func (d *fleetDevice) send(c *call) {
	h := d.shard
	d.flight, d.answered, d.answer, d.err = c, h.now+h.between(50*time.Millisecond, 250*time.Millisecond), nil, nil
	room := h.accepts()
	date := fleetBegan.Add(h.now).Truncate(time.Second)
	switch {
	case h.down():
		d.err = &dcr.Error{Kind: dcr.Offline, Detail: "the server can't be reached"}
	case !room:
		d.err = &dcr.Error{Kind: dcr.ServerError, Status: 503, Detail: "the server is too busy"}
	case c.kind == callRegister && d.pushes < 2 && h.bad:
		d.err = &dcr.Error{Kind: dcr.Rejected, Status: 400, ServerCode: "invalid_software_statement"}
	case c.kind == callRegister:
		d.answer = dcr.Credentials{ClientID: "id", ClientSecret: "secret", Date: date}
	default:
		d.answer = dcr.Token{AccessToken: "token", ExpiresIn: fleetLife, Date: date}
	}
}

// setup is the present configuration.
func (d *fleetDevice) setup() Setup {
	s := Setup{Endpoint: labEndpoint, TLS: true}
	if d.shard.push == 0 || d.pushes > 0 {
		statement := "good"
		if d.shard.bad && d.pushes == 1 {
			statement = "bad"
		}
		s.Apps = []App{{ID: fleetApp, SoftwareStatement: statement}}
	}
	return s
}

// These are clock.Clock.

func (d *fleetDevice) Now() clock.Reading {
	r := clock.Reading{Boot: d.shard.now - d.booted, Wall: fleetBegan.Add(d.shard.now)}
	if d.unset && !d.Synchronised() {
		r.Wall = time.Unix(0, 0).Add(r.Boot)
	}
	return r
}

func (d *fleetDevice) BootID() string     { return d.boot }
func (d *fleetDevice) Synchronised() bool { return d.shard.now >= d.synced }

// These are Store.

func (d *fleetDevice) App(string, string) (storage.App, error)  { return d.kept, nil }
func (d *fleetDevice) SaveApp(_, _ string, a storage.App) error { d.kept = a; return nil }
func (d *fleetDevice) Gate() (storage.Gate, error)              { return d.shut, nil }
func (d *fleetDevice) Flush() error                             { return nil }
func (d *fleetDevice) SaveGate(g storage.Gate) error            { d.shut = g; return nil }
