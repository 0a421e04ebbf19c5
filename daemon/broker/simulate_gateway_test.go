package broker

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/tvpassd/tvpassd/daemon/throttle"
)

// Players that call the server through the gateway, and players that call it
// directly. simulate_throttle_test.go has the rules for them.

// simPlayers are the calls of players.
type simPlayers struct {
	gate  *throttle.Gate
	queue *throttle.Queue // nil while the daemon is down
	next  time.Duration   // of the boot clock: when the queue wants to be looked at
	calls []*simPlayerCall

	rules simThrottle
	tally simPlayersTally
}

// simPlayerCall is a call that waits or is in flight.
type simPlayerCall struct {
	app    string
	ticket *throttle.Ticket
	came   time.Duration
	until  time.Duration // it waits
	gone   time.Duration // its player leaves

	flies bool
	sent  time.Duration // by the boot clock
	lands time.Duration
	ends  simPlayerEnd
	asks  time.Duration // Retry-After

	since   time.Duration // it waits, for the first time or after a 429
	ahead   int           // so many calls left since then
	polls   bool          // its app paused before, and has no other call
	turns   int           // of others, while it waits, since the last poll
	held    bool          // too many calls were in flight meanwhile, or the device slept
	shut    time.Duration // the gate was, so long in all since then
	shuts   int           // so often
	shutEnd time.Duration
}

// simImpatient says that the player gives up one of so many calls.
const simImpatient = 40

// simPlayerEnd is how a call ends.
type simPlayerEnd int

const (
	playerAnswered simPlayerEnd = iota
	playerThrottled
	playerUnanswered
)

// simPlayersTally counts what happened to players' calls.
type simPlayersTally struct{ calls, left, late, throttled, gone, told, toldWrong, direct int }

func (t *simPlayersTally) add(o simPlayersTally) {
	t.calls += o.calls
	t.left += o.left
	t.late += o.late
	t.throttled += o.throttled
	t.gone += o.gone
	t.told += o.told
	t.toldWrong += o.toldWrong
	t.direct += o.direct
}

func (t *simPlayersTally) String() string {
	return fmt.Sprintf("%d calls of players: %d left, %d waited in vain, %d were given up, "+
		"%d told at once (%d wrongly); "+
		"%d answers 429; %d calls past the gateway",
		t.calls, t.left, t.late, t.gone, t.told, t.toldWrong, t.throttled, t.direct)
}

// check compares the tally of many lives with what the queue promises.
func (t *simPlayersTally) check(test *testing.T) {
	test.Helper()
	if t.toldWrong*100 > 5*t.told && t.told > 2000 { // a few lives say little
		test.Errorf("of %d calls that were told at once, %d could have left in time", t.told, t.toldWrong)
	}
}

// begins makes the queue of a run of the daemon.
func (p *simPlayers) begins(d *simDevice, gate *throttle.Gate) {
	p.gate, p.queue, p.next, p.calls = gate, throttle.NewQueue(gate), simNever, nil
	p.rules.forgets(d)
}

// ends drops the connections of all players.
func (p *simPlayers) ends() {
	p.queue, p.calls, p.rules.ghosts = nil, nil, nil
	p.next = simNever
}

// until is the next moment at which anything happens to a player.
func (p *simPlayers) until(d *simDevice) time.Duration {
	next := simNever
	if p.queue == nil {
		return next
	}
	if p.next < simNever {
		next = d.at + max(p.next-d.clocks.boot, 0)
	}
	for _, c := range p.calls {
		next = min(next, c.gone)
		if c.flies {
			next = min(next, c.lands)
		}
	}
	return min(next, p.rules.next())
}

// playersTurn does what is due for players.
func (d *simDevice) playersTurn() {
	p := &d.players
	if p.queue == nil || len(p.calls) == 0 && len(p.rules.ghosts) == 0 {
		return
	}
	for _, c := range p.calls {
		switch {
		case c.flies && c.lands <= d.at:
			d.landPlayer(c)
		case c.gone <= d.at:
			p.tally.gone++
			p.end(d, c)
		}
	}
	d.advancePlayers()
	p.rules.look(d)
}

// end ends a call.
func (p *simPlayers) end(d *simDevice, c *simPlayerCall) {
	p.queue.End(c.ticket, d.clocks.boot)
	p.rules.asking(d, c.app).busy = d.clocks.boot
	for i := range p.calls {
		if p.calls[i] == c {
			p.calls = append(append([]*simPlayerCall(nil), p.calls[:i]...), p.calls[i+1:]...)
			return
		}
	}
}

func (p *simPlayers) find(t *throttle.Ticket) *simPlayerCall {
	for _, c := range p.calls {
		if c.ticket == t {
			return c
		}
	}
	return nil
}

// advancePlayers lets the calls leave that may.
func (d *simDevice) advancePlayers() {
	p := &d.players
	left, late, next := p.queue.Advance(d.clocks.boot)
	for _, t := range left {
		d.sendPlayer(p.find(t))
	}
	for _, t := range late {
		p.tally.late++
		c := p.find(t)
		d.tell("%s: a call has waited in vain since %s", c.app, simTime(c.came))
		p.end(d, c)
	}
	p.next = next
}

// playerCalls makes a player call the gateway, which lets the call wait so
// long.
func (d *simDevice) playerCalls(app int, wait time.Duration) {
	p, id := &d.players, d.apps[app].id
	if p.queue == nil || !d.apps[app].present {
		return
	}
	if _, err := d.broker.Token(d.ctx, id, 0, 0); err != nil {
		return
	}
	p.tally.calls++
	polls := p.rules.asks(d, id)
	t, err := p.queue.Enter(id, wait, d.clocks.boot)
	if err != nil {
		shut, ok := errors.AsType[*throttle.ShutError](err)
		if !ok {
			d.breaks("l", "a player of %s gets the error %q", id, err)
		}
		p.rules.told(d, id, wait, shut.RetryAfter)
		return
	}
	c := &simPlayerCall{app: id, ticket: t, came: d.at, since: d.at, until: d.at + wait, gone: simNever,
		polls: polls}
	if d.random.IntN(simImpatient) == 0 {
		c.gone = d.at + time.Duration(d.random.Int64N(int64(wait)+1))
	}
	p.calls = append(p.calls, c)
	p.rules.waits(d, c)
	d.advancePlayers()
}

// sendPlayer takes a player's call to the server, and decides at once how the
// call ends.
func (d *simDevice) sendPlayer(c *simPlayerCall) {
	p := &d.players
	p.tally.left++
	if d.story != nil {
		d.tell("-> a player's call for %s, after %v", c.app, d.at-c.came)
	}
	p.rules.leavesPlayer(d, c)
	latency := between(20*time.Millisecond, 400*time.Millisecond, d.random)
	if d.is(simSlow, 0) {
		latency = between(time.Second, simTimeout-time.Second, d.random)
	}
	c.flies, c.sent, c.lands, c.ends, c.asks = true, d.clocks.boot, d.at+latency, playerAnswered, 0
	there := d.at + time.Duration(d.random.Float64()*float64(latency))
	switch {
	case d.is(simOffline, 0) || d.is(simPortal, 0) || !d.sees():
		c.ends = playerUnanswered
	case d.is(simLostReply, 0):
		c.ends, c.lands = playerUnanswered, d.at+simTimeout
	case !d.server.bucket.take(there) || d.is(simThrottled, 0):
		c.ends = playerThrottled
		if d.is(simThrottled, 0) {
			c.asks = d.asked
		}
	}
}

// landPlayer brings the end of a player's call to the gateway.
func (d *simDevice) landPlayer(c *simPlayerCall) {
	p := &d.players
	c.flies = false
	if c.ends != playerThrottled {
		if c.ends == playerAnswered {
			p.rules.answered(c.sent)
			p.queue.Answered(c.ticket)
		}
		p.end(d, c)
		return
	}
	p.tally.throttled++
	if d.story != nil {
		d.tell("<- 429 for a player of %s, Retry-After %v", c.app, c.asks)
	}
	d.rules.throttledPlayer(d, c)
	if err := p.queue.Throttled(c.ticket, c.asks, max(c.until-d.at, 0), d.clocks.boot); err != nil {
		p.end(d, c)
	} else {
		c.since, c.ahead, c.held, c.shut, c.shuts, c.polls = d.at, 0, false, 0, 0, false
		p.rules.waits(d, c)
	}
	d.alarm.ring() // as Gate.Shuts does
}

// sleepPlayers cuts the connections to the server. A waiting call can't be
// judged after that.
func (d *simDevice) sleepPlayers() {
	p := &d.players
	p.rules.ghosts = nil
	for _, c := range p.calls {
		if c.held = true; c.flies {
			c.ends, c.lands = playerUnanswered, d.at
		}
	}
}

// What players do.

// poll makes a player ask every 3 s, as it does during a sign-in.
func (d *simDevice) poll(i simIncident) {
	d.repeat(3*time.Second, i.length, func() { d.playerCalls(i.app, 10*time.Second) })
}

// flood makes a player call 10 times a second.
func (d *simDevice) flood(i simIncident) {
	wait := time.Duration(i.size * float64(20*time.Second))
	d.repeat(500*time.Millisecond, i.length, func() {
		for range 5 {
			d.playerCalls(i.app, wait)
		}
	})
}

// floodAll has the players of all apps call so, now and then but for one that polls.
func (d *simDevice) floodAll(i simIncident) {
	polls := i
	for i.app = range d.apps {
		if i.app == polls.app && i.size > 0.85 {
			d.poll(polls)
		} else {
			d.flood(i)
		}
	}
}

// direct makes a player call the server itself, and report its 429s.
func (d *simDevice) direct(i simIncident) {
	d.repeat(200*time.Millisecond+time.Duration(i.size*float64(time.Second)), i.length, func() {
		d.players.tally.direct++
		d.players.rules.foreign = d.clocks.boot
		d.rules.worry(d, d.at+2*time.Second)
		if !d.server.bucket.take(d.at) && i.size < 0.8 {
			d.reportThrottled(i.app)
		}
	})
}

func (d *simDevice) reportThrottled(app int) {
	d.onMachine(app, func(m *machine, _ *simAccount) {
		if m.rec.Token == nil {
			return
		}
		if err := d.broker.ReportThrottled(m.app.ID, m.rec.Token.AccessToken); err != nil {
			d.breaks("i", "a player of %s reports a 429: %v", m.app.ID, err)
		}
		d.players.rules.reported(d, m.app.ID)
	})
}

// cutWhileShut makes a Retry-After outlive a boot.
func (d *simDevice) cutWhileShut(i simIncident) {
	d.begin(simThrottled, 0, i.length)
	d.asked = time.Duration(i.size * float64(time.Hour)).Truncate(time.Second)
	d.adminRefresh(i.app)
	d.after(i.length, func() { d.powerCut(i.length) })
}

// repeat runs f again and again.
func (d *simDevice) repeat(every, length time.Duration, f func()) {
	f()
	if length > every {
		d.after(every, func() { d.repeat(every, length-every, f) })
	}
}
