package broker

import "time"

// The rules that the one throttle of the device must keep, stated from the
// outside: by what leaves, and by what players are told.
//
//	c  all calls together keep to 1 a second and a burst of 10, or of 3 for an
//	   hour after a 429, which then grows by one a minute. After each 429 nothing
//	   leaves for 1 s, or 2, 4, 8 while 429 follows 429. No start gives a new
//	   burst, but for the first one of a boot
//	j  no app gets two turns while another one waits for one, and no call waits
//	   for longer than that takes. An app that has at most one call, and paused for
//	   a second before it, overtakes others. Every third turn overtakes none
//	k  a due call of the daemon's own leaves within a second, if its own bucket
//	   and the 429s let it
//	l  a player who is told at once is told the truth
//	m  others are blamed for 429s only if they did call

// simThrottle is what must be remembered to judge that.
type simThrottle struct {
	bucket    simBucket     // what may leave
	known     simBucket     // what the daemon knows of it, by the boot clock: a start forgets what was saved up
	own       simBucket     // likewise, of its own calls
	throttled simMoment     // the last 429 of this boot
	boot      time.Duration // by the boot clock
	row       int           // so many 429s in a row
	shut      time.Duration // what follows from that
	shutBoot  time.Duration // likewise, by the boot clock, and from reports

	passed map[string]map[string]int // by app: the turns of other apps since it waits
	apps   map[string]*simAsking

	turns    int // of this run
	overtook int // so many of the last calls that left, in a row, overtook others
	ghosts   []simGhost

	started   time.Duration
	free      time.Duration // since when nothing but players can hold an own call back
	holding   bool
	foreign   time.Duration // by the boot clock: when somebody else last drank from the bucket of the server
	reporters map[string]time.Duration
	lastTold  time.Duration // of a report that counted
}

// simAsking is how an app asks.
type simAsking struct {
	busy  time.Duration // by the boot clock: when it last asked, or a call of it ended
	saved time.Duration // what it paused, up to 3 s; a poll uses up one
	turn  int           // the number of its last turn
}

// simGhost is a call that was told at once that it can't leave in time.
type simGhost struct {
	app         string
	came, until time.Duration
	couldLeave  bool
}

const simBurst = 10

// starts takes note of a start of the daemon that is about to be.
func (r *simThrottle) starts(d *simDevice) {
	r.started, r.holding = d.at, false
	r.known.level = 0
	r.own = simBucket{capacity: 3, last: r.known.last}
	r.passed, r.reporters, r.lastTold = map[string]map[string]int{}, map[string]time.Duration{}, -simDay
	r.apps, r.turns, r.overtook = map[string]*simAsking{}, 0, 0
	r.forgets(d)
}

// forgets records that the gate's memory is lost.
func (r *simThrottle) forgets(d *simDevice) {
	if d.memory.spoilt || d.clocks.noID {
		r.forget()
		r.empty(d.clocks.boot)
	}
}

// rebooted records a new boot, which begins with a full bucket.
func (r *simThrottle) rebooted(d *simDevice) {
	r.forget()
	r.bucket = simBucket{capacity: simBurst, level: simBurst, last: d.at}
	r.known = simBucket{capacity: simBurst, last: d.clocks.boot - simBurst*time.Second}
	r.own = simBucket{capacity: 3, last: r.known.last}
}

// empty records that the daemon takes its buckets to be empty.
func (r *simThrottle) empty(at time.Duration) {
	r.known.empty(max(at, r.known.last))
	r.own.empty(max(at, r.own.last))
}

// forget is what a start without a memory knows of 429s.
func (r *simThrottle) forget() { r.throttled, r.row, r.shut, r.shutBoot = simMoment{}, 0, 0, 0 }

// opens is when the gate opens at the latest.
func (r *simThrottle) opens(d *simDevice) time.Duration {
	return max(r.shut, d.at+r.shutBoot-d.clocks.boot, d.rules.shutUntil, d.rules.shutSeems, d.rules.throttled+time.Second)
}

// capacity is how many calls may leave at once.
func (r *simThrottle) capacity(at time.Duration) float64 {
	if !r.throttled.was {
		return simBurst
	}
	return min(3+float64(max(at-r.throttled.at-time.Hour, 0)/time.Minute), simBurst)
}

// leaves judges a call that is about to leave.
func (r *simThrottle) leaves(d *simDevice, what string) {
	r.bucket.capacity = r.capacity(d.at)
	r.known.capacity = r.bucket.capacity
	r.known.take(d.clocks.boot)
	switch {
	case !r.bucket.take(d.at):
		d.breaks("c", "%s exceeds 1 a second with a burst of %v", what, r.bucket.capacity)
	case d.at < r.shut:
		d.breaks("c", "%s leaves %v before the gate opens, after %d answers 429 in a row", what, r.shut-d.at, r.row)
	}
	for _, c := range d.players.calls {
		c.ahead++
	}
}

// leavesOwn judges a call of the daemon's own.
func (r *simThrottle) leavesOwn(d *simDevice, what string) {
	r.own.take(d.clocks.boot)
	r.holding = false // the next one has a second of its own
	r.leaves(d, what)
}

// leavesPlayer judges a player's call.
func (r *simThrottle) leavesPlayer(d *simDevice, c *simPlayerCall) {
	r.leaves(d, "a player's call for "+c.app)
	switch {
	case d.at-d.rules.throttled < time.Second:
		d.breaks("c", "a player's call leaves %v after a 429", d.at-d.rules.throttled)
	case d.at < d.rules.shutUntil:
		d.breaks("c", "a player's call leaves %v before the end of Retry-After", d.rules.shutUntil-d.at)
	}
	// It left itself; and the bucket may have held nothing, but for the token of
	// the daemon's own, when it came.
	patience := time.Duration(c.ahead+1)*time.Second + time.Duration(c.shuts)*2*time.Second
	// What an earlier boot was asked for keeps the gate shut too, by a clock that may
	// be a little off.
	earlier := max(d.rules.shutUntil, d.rules.shutSeems)+maxSkew > c.since
	if waited := d.at - c.since - c.shut; !c.held && !earlier && waited > patience {
		d.breaks("j", "a call of %s waits %v, with %d calls before it", c.app, waited, c.ahead-1)
	}
	delete(r.passed, c.app)
	r.turn(d, c)
	for n := range r.ghosts {
		if g := &r.ghosts[n]; g.app == c.app && g.came < c.came {
			g.couldLeave = true
		}
	}
}

// asking returns how an app asks.
func (r *simThrottle) asking(d *simDevice, app string) *simAsking {
	if r.apps[app] == nil {
		r.apps[app] = &simAsking{busy: d.clocks.boot - 3*time.Second}
	}
	return r.apps[app]
}

// asks takes note of an app that asks, and reports whether it polls.
func (r *simThrottle) asks(d *simDevice, app string) bool {
	a := r.asking(d, app)
	if pause := d.clocks.boot - a.busy; pause >= time.Second {
		a.saved = min(a.saved+pause, 3*time.Second)
	}
	a.busy = d.clocks.boot
	for _, c := range d.players.calls {
		if c.app == app {
			c.polls, a.saved = false, 0
		}
	}
	if a.saved < time.Second {
		return false
	}
	a.saved -= time.Second
	return true
}

// overtakes reports whether a call leaves before those of apps whose last turn is
// longer ago.
func (r *simThrottle) overtakes(d *simDevice, c *simPlayerCall) bool {
	for _, other := range d.players.calls {
		if !other.flies && r.asking(d, other.app).turn < r.asking(d, c.app).turn && d.players.flying(other.app) < 4 {
			return true
		}
	}
	return false
}

// turn judges whose turn it was.
func (r *simThrottle) turn(d *simDevice, c *simPlayerCall) {
	overtakes := r.overtakes(d, c)
	r.turns++
	r.asking(d, c.app).turn = r.turns
	if r.overtook++; !overtakes {
		r.overtook = 0
		r.pass(d, c)
	}
	switch {
	case overtakes && !c.polls:
		d.breaks("j", "a call of %s overtakes others, though its app asks often", c.app)
	case r.overtook > 2:
		d.breaks("j", "%d calls in a row overtake others", r.overtook)
	}
	for _, other := range d.players.calls {
		if other.turns++; c.polls {
			other.turns = 0
		}
		if other.polls && !other.flies && other.turns > 1 {
			d.breaks("j", "a poll of %s waits for apps that ask often", other.app)
		}
	}
}

// pass counts a turn against the apps that wait for theirs.
func (r *simThrottle) pass(d *simDevice, c *simPlayerCall) {
	seen := map[string]bool{c.app: true}
	for _, other := range d.players.calls {
		if other.flies || seen[other.app] || d.players.flying(other.app) >= 4 {
			continue
		}
		seen[other.app] = true
		if r.passed[other.app] == nil {
			r.passed[other.app] = map[string]int{}
		}
		if r.passed[other.app][c.app]++; r.passed[other.app][c.app] > 1 {
			d.breaks("j", "%s gets two turns while %s waits for one", c.app, other.app)
		}
	}
	for app := range r.passed {
		if !seen[app] {
			delete(r.passed, app)
		}
	}
}

func (p *simPlayers) flying(app string) (n int) {
	for _, c := range p.calls {
		if c.flies && c.app == app {
			n++
		}
	}
	return n
}

// waits records a call that begins to wait.
func (r *simThrottle) waits(d *simDevice, c *simPlayerCall) {
	c.shutEnd = d.at
	r.keepShut(d, c)
}

// keepShut records how long the gate is shut while a call waits.
func (r *simThrottle) keepShut(d *simDevice, c *simPlayerCall) {
	if from, until := max(c.shutEnd, d.at), r.opens(d); until > from {
		c.shut += until - from
		c.shuts++
		c.shutEnd = until
	}
}

// throttledFor records a 429 to a call that left at a reading of the boot
// clock.
func (r *simThrottle) throttledFor(d *simDevice, sent, asks time.Duration) {
	if r.row == 0 || sent >= r.boot {
		r.row = min(r.row+1, 4)
	}
	r.throttled, r.boot = simMoment{d.at, true}, d.clocks.boot
	wait := max(time.Second<<(r.row-1), min(asks, time.Hour))
	r.shut, r.shutBoot = max(r.shut, d.at+wait), max(r.shutBoot, d.clocks.boot+wait)
	r.holding = false
	r.empty(r.shutBoot - time.Second)
	d.rules.worry(d, r.shut)
	for _, c := range d.players.calls {
		r.keepShut(d, c)
	}
}

// answered records any other answer.
func (r *simThrottle) answered(sent time.Duration) {
	if r.row > 0 && sent >= r.boot {
		r.row = 0
	}
}

// throttledPlayer records the 429 to a player's call.
func (r *simRules) throttledPlayer(d *simDevice, c *simPlayerCall) {
	r.throttled = d.at
	r.shutUntil = max(r.shutUntil, d.at+min(c.asks, time.Hour))
	if c.asks > time.Second {
		r.shutSaved = simShut{at: d.at, until: r.shutUntil, ahead: d.clocks.wall - d.at, bootID: d.clocks.BootID()}
	}
	r.worry(d, r.shutUntil)
	d.players.rules.throttledFor(d, c.sent, c.asks)
}

// reported records a player's report of a 429.
func (r *simThrottle) reported(d *simDevice, app string) {
	last, before := r.reporters[app]
	if d.clocks.boot-r.lastTold < 5*time.Second || before && d.clocks.boot-last < 10*time.Second {
		return
	}
	r.lastTold, r.reporters[app] = d.clocks.boot, d.clocks.boot
	d.rules.throttled = d.at
	r.shutBoot = max(r.shutBoot, d.clocks.boot+time.Second)
	r.holding = false
	r.empty(d.clocks.boot)
	for _, c := range d.players.calls {
		r.keepShut(d, c)
	}
}

// told judges what a player is told at once.
func (r *simThrottle) told(d *simDevice, app string, wait, retryAfter time.Duration) {
	if d.at+retryAfter < r.shut || retryAfter < time.Second {
		d.breaks("l", "a player of %s is told to ask again in %v; the gate is shut for %v", app, retryAfter, r.shut-d.at)
	}
	if retryAfter > wait { // otherwise there was no room
		r.ghosts = append(r.ghosts, simGhost{app: app, came: d.at, until: d.at + wait})
	}
}

// next is when a ghost's wait would be over.
func (r *simThrottle) next() time.Duration {
	next := simNever
	for _, g := range r.ghosts {
		next = min(next, g.until)
	}
	return next
}

// look judges the state at this moment.
func (r *simThrottle) look(d *simDevice) {
	p := &d.players
	total := p.queue.Total()
	for _, c := range p.calls {
		if !c.flies && (total.Flying >= 8 || p.flying(c.app) >= 4) {
			c.held = true
		}
	}
	r.known.capacity = r.capacity(d.at)
	level := r.known.at(d.clocks.boot)
	idle := total.Waiting == 0 && level >= 2 && d.at > r.opens(d)
	kept := r.ghosts[:0]
	for _, g := range r.ghosts {
		g.couldLeave = g.couldLeave || idle
		if g.until > d.at {
			kept = append(kept, g)
			continue
		}
		if p.tally.told++; g.couldLeave {
			p.tally.toldWrong++
		}
	}
	r.ghosts = kept
}

// judgeOwn judges how long a due call of the daemon's own is held.
func (r *simThrottle) judgeOwn(d *simDevice) {
	if d.broker == nil {
		return
	}
	if d.is(simThrottled, 0) {
		r.foreign = d.clocks.boot
	}
	if o := d.broker.Overview(); o.Shared && d.clocks.boot-r.foreign > 11*time.Minute {
		d.breaks("m", "others are said to use up the throttle")
	}
	holds := d.broker.engine.waits.holding && r.own.at(d.clocks.boot) >= 2 && d.at >= r.opens(d)
	switch {
	case holds && !r.holding:
		r.free = d.at
	case holds && d.at-r.free > time.Second:
		d.breaks("k", "a due call of the daemon's own is held for %v", d.at-r.free)
	}
	r.holding = holds
}
