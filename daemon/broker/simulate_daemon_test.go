package broker

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/tvpassd/tvpassd/daemon/throttle"
)

// This file runs the daemon in its simulated device.

// start begins a run of the daemon on what is stored.
func (d *simDevice) start() {
	if d.broker != nil {
		return
	}
	if err := d.disk.reopen(); err != nil {
		d.breaks("d", "the state can't be opened: %v", err)
	}
	d.rules.starts(d)
	d.players.rules.starts(d)
	gate := throttle.New(d.clocks.BootID(), d.clocks.boot, &d.memory)
	d.guard(func() {
		b, err := New(Config{
			Clock: &d.clocks, Alarm: &d.alarm, Store: &d.disk, Random: d.drawn, BuildDate: labBuild,
			Gate: gate,
			Log:  slog.New(timeless{slog.NewTextHandler(&d.logs, nil)}),
		}, d.setup())
		if err != nil {
			d.breaks("d", "the daemon can't read its state: %v", err)
		}
		d.broker = b
	})
	d.tally.starts++
	d.tell("tvpassd starts")
	d.rules.started(d)
	d.players.begins(d, gate)
	d.alarm.ring()
}

// timeless leaves the real time out of log lines.
type timeless struct{ slog.Handler }

func (h timeless) Handle(ctx context.Context, r slog.Record) error {
	r.Time = time.Time{}
	return h.Handler.Handle(ctx, r)
}

// kill ends the daemon between two instructions. It never sees the answers that
// are on their way, though the server has acted. The gate's memory knows of
// those calls, if it works.
func (d *simDevice) kill() {
	if d.memory.spoilt {
		d.lose()
	}
	d.broker, d.flights, d.disk.cut = nil, nil, noCut
	d.players.ends()
}

// lose drops the answers that are on their way.
func (d *simDevice) lose() {
	for _, f := range d.flights {
		f.account.lost(f)
	}
}

// stop ends the daemon as Broker.Run does when its context ends.
func (d *simDevice) stop() {
	if d.broker == nil {
		return
	}
	end := d.at + stopGrace
	for len(d.flights) > 0 && d.broker != nil {
		first := slices.MinFunc(d.flights, func(a, b simFlight) int { return int(a.at - b.at) })
		d.pass(max(min(first.at, end)-d.at, 0))
		if first.at > end {
			break // they are given up
		}
		d.land()
	}
	d.guard(func() {
		if d.broker != nil {
			_ = d.broker.engine.close(d.clocks.Now()) // a full disk is the story's, not a fault
		}
	})
	d.kill()
}

// guard runs a part of the daemon, in which the power may fail.
func (d *simDevice) guard(f func()) {
	defer func() {
		r := recover()
		if _, cut := r.(simPowerCut); cut {
			d.tell("the power fails in the middle of a write")
			d.powerCut(time.Duration(d.random.Int64N(int64(time.Minute))))
		} else if r != nil {
			panic(r)
		}
	}()
	f()
}

// turns runs the daemon's loop for as long as it has something to do.
func (d *simDevice) turns() {
	for n := 0; d.broker != nil && d.alarm.take(); n++ {
		if n == 100 {
			d.breaks("g", "the daemon's loop goes round without end")
		}
		d.guard(func() {
			for _, c := range d.broker.turn() {
				d.send(c)
			}
		})
		d.tally.turns++
	}
}

// land brings answers to the daemon.
func (d *simDevice) land() {
	for d.broker != nil {
		i := slices.IndexFunc(d.flights, func(f simFlight) bool { return f.at <= d.at })
		if i < 0 {
			return
		}
		f := d.flights[i]
		d.flights = slices.Delete(d.flights, i, i+1)
		if d.story != nil {
			d.tell("%s: %s for %s", f.describe(), f.call.kind, f.account.name)
		}
		d.rules.lands(d, f)
		d.guard(func() { d.broker.engine.finish(f.call, f.answer, f.err, d.clocks.Now()) })
		d.alarm.ring()
	}
}

func (f simFlight) describe() string {
	switch {
	case f.err != nil:
		return "<- " + f.err.Error()
	case f.pair != nil:
		return "<- credentials of " + f.pair.id
	default:
		return fmt.Sprintf("<- a token until %s", simTime(f.token.expires))
	}
}

// setup is the present configuration.
func (d *simDevice) setup() Setup {
	s := Setup{Endpoint: d.endpoint(), TLS: !d.life.plain}
	for _, a := range d.apps {
		if a.present {
			s.Apps = append(s.Apps, App{ID: a.id, SoftwareStatement: d.statementOf(a.id)})
		}
	}
	return s
}

// statementOf is the software statement that an app is configured with.
func (d *simDevice) statementOf(id string) string {
	a := d.apps[d.number(id)]
	return simStatement(a.id, a.edition, !a.bad)
}

func (d *simDevice) endpoint() string {
	if d.staging {
		return simStaging
	}
	return simProduction
}

// reload makes the daemon read its configuration again.
func (d *simDevice) reload() {
	if d.broker == nil {
		return
	}
	d.guard(func() {
		if err := d.broker.configure(d.setup(), d.clocks.Now()); err != nil {
			d.breaks("d", "the daemon can't read its state: %v", err)
		}
	})
	d.rules.configured(d)
	d.alarm.ring()
}
