package broker

import (
	"math"
	"time"

	"github.com/tvpassd/tvpassd/ipc"
)

// This file runs the incidents.

// askForPatience makes the server answer 429 for a while, with a Retry-After of
// any length.
func (d *simDevice) askForPatience(i simIncident) {
	d.begin(simThrottled, 0, i.length)
	d.asked = time.Duration(math.Pow(7200, i.size) * float64(time.Second)).Truncate(time.Second)
}

func (d *simDevice) startIn(t time.Duration) { d.after(t, d.start) }

func (d *simDevice) flap(i simIncident) { d.again(int(math.Pow(500, i.size)), i.length, d.linkUp) }

func (d *simDevice) reloads(i simIncident) { d.again(int(math.Pow(500, i.size)), i.length, d.reload) }

// again does something so many times, at intervals.
func (d *simDevice) again(times int, every time.Duration, f func()) {
	f()
	if times > 1 {
		d.after(every, func() { d.again(times-1, every, f) })
	}
}

func (d *simDevice) crash(i simIncident) { d.crashLoop(int(math.Pow(200, i.size)), i.length) }

func (d *simDevice) crashLoop(times int, every time.Duration) {
	d.kill()
	d.startIn(every / 10)
	if times > 1 {
		d.after(every, func() { d.crashLoop(times-1, every) })
	}
}

func (d *simDevice) trapNextCall(i simIncident) {
	d.trapCall = func(sent, done time.Duration) {
		d.after(time.Duration(i.size*float64(done-sent)), func() {
			d.tell("** in the middle of a call")
			if i.size < 0.5 {
				d.powerCut(time.Minute)
			} else {
				d.kill()
				d.startIn(100 * time.Millisecond)
			}
		})
	}
}

func (d *simDevice) linkUp() {
	if d.broker != nil {
		d.broker.engine.nudge(d.clocks.Now())
		d.rules.linkUp(d)
		d.alarm.ring()
	}
}

// onMachine does something with an app's machine, where there is one.
func (d *simDevice) onMachine(app int, f func(*machine, *simAccount)) {
	if d.broker == nil {
		return
	}
	if m := d.broker.engine.machine(d.apps[app].id); m != nil {
		d.guard(func() { f(m, d.rules.account(m.endpoint, m.app.ID)) })
		d.alarm.ring()
	}
}

func (d *simDevice) revoke(app int) {
	if p := d.rules.account(d.endpoint(), d.apps[app].id).held; p != nil {
		p.known = false
	}
}

// failOver leads to an empty replica, and back: to the old database, or to
// another empty one. Or the replica stays.
func (d *simDevice) failOver(i simIncident) {
	was := d.server.database
	d.server.failOver()
	d.rules.recalled(d)
	d.after(i.length, func() {
		switch {
		case i.size < 0.6:
			d.tell("** the server is back, with its old database")
			d.server.database = was
		case i.size < 0.8:
			d.tell("** the server is back, with a new database")
			d.server.failOver()
		}
		d.rules.recalled(d)
	})
}

func (d *simDevice) report(app int) {
	d.onMachine(app, func(m *machine, acc *simAccount) {
		if m.rec.Token != nil && d.broker.engine.report(m, d.clocks.Now()) == ipc.ActionRefresh {
			acc.meddled(d)
		}
	})
}

func (d *simDevice) adminRefresh(app int) {
	d.onMachine(app, func(m *machine, acc *simAccount) {
		acc.meddled(d)
		d.broker.engine.refresh(m, d.clocks.Now())
	})
}

func (d *simDevice) adminReset(app int) {
	d.onMachine(app, func(m *machine, acc *simAccount) {
		acc.meddled(d)
		acc.resetting = true
		if d.broker.engine.reset(m, d.clocks.Now()) == nil {
			acc.forgotten()
			for i := range d.flights {
				d.flights[i].dropped = d.flights[i].dropped || d.flights[i].account == acc
			}
		}
		acc.resetting = false
	})
}

func (d *simDevice) statement(app int, bad bool) {
	d.apps[app].edition++
	d.apps[app].bad = bad
	d.reload()
}

// storm makes players ask for tokens, and call the server themselves.
func (d *simDevice) storm(i simIncident) {
	for n := range 20 {
		d.ask(n%len(d.apps), time.Duration(n)*time.Hour)
	}
	for n := range d.apps { // and wait
		d.onMachine(n, func(m *machine, _ *simAccount) { m.awaited(d.broker.engine.at(d.clocks.Now())) })
	}
	d.server.bucket.empty(d.at)
	d.players.rules.foreign = d.clocks.boot
	d.rules.worry(d, d.at+2*time.Second)
	if i.length > time.Second {
		i.length -= time.Second
		d.after(time.Second, func() { d.storm(i) })
	}
}

func (d *simDevice) missetClock(i simIncident) {
	wrong := i.length
	if i.size < 0.5 {
		wrong = -wrong
	}
	d.step(d.at+wrong, false)
	if d.life.timeService > 0 {
		d.timeAt = min(d.timeAt, d.at+between(time.Second, 12*time.Hour, d.random))
	}
}
