package throttle

import (
	"slices"
	"time"
)

const (
	mostWaiting     = 32 // calls of players that wait
	mostWaitingEach = 8  // of one app
	mostFlying      = 8  // calls of players in flight
	mostFlyingEach  = 4  // of one app

	// margin is how late a call may be expected to leave and still wait: calls
	// before it may be given up. An app has one such call at a time.
	margin = time.Second
	// rest is the pause that an app needs for each of its calls that is preferred:
	// it polls every few seconds, or comes for the first time. Pauses add up to
	// mostRest, for polls that follow a long wait at once.
	rest     = time.Second
	mostRest = 3 * time.Second
	// mostOvertake is how many calls of apps that are preferred overtake others in a
	// row: enough for two apps that poll every 3 s.
	mostOvertake = 2
	// minRetry is the shortest RetryAfter.
	minRetry = time.Second
	// never is later than any deadline.
	never = time.Duration(1<<63 - 1)
)

// Queue holds players' calls until they may leave: first come, first served
// within an app, and in turn between apps. An app that polls every few seconds
// does not wait for a turn of each app that floods: it overtakes them. A Queue is
// not safe for concurrent use.
type Queue struct {
	gate     *Gate
	apps     []*lane
	waiting  int
	flying   int
	turns    int       // so many calls left
	overtook int       // so many of the last ones, in a row, overtook others
	evicted  []*Ticket // since the last Advance
}

// lane is one app's part of a queue.
type lane struct {
	app     string
	waiting []*Ticket
	flying  int

	busy      time.Duration // when it last asked, or a call of it ended
	rested    time.Duration // the pauses before, as far as no call has used them
	preferred bool          // until its first call leaves
	turn      int           // the number of its last turn; 0 if it had none
}

// Ticket is one call of a player.
type Ticket struct {
	lane     *lane
	deadline time.Duration // of the boot clock: until when it may wait
	left     time.Duration // when it left
	state    ticketState
	ready    chan error // of a [Line]
}

type ticketState int

const (
	ticketWaits ticketState = iota
	ticketFlies
	ticketEnded
)

// ShutError says that a call can't leave in time.
type ShutError struct {
	RetryAfter time.Duration // when a call that came now would leave, by the queue's reckoning
}

func (e *ShutError) Error() string {
	return "a call that came now would wait " + e.RetryAfter.Round(time.Millisecond).String() + " for the throttle"
}

// NewQueue returns an empty queue in front of a gate.
func NewQueue(gate *Gate) *Queue { return &Queue{gate: gate} }

// Enter puts a call at the end of its app's queue. It returns a [*ShutError] if
// there is no room, or if the call is not expected to leave within its wait. If
// other apps take all the room, the app with the most calls gives one up. The
// owner then calls [Queue.Advance].
func (q *Queue) Enter(app string, wait, now time.Duration) (*Ticket, error) {
	l := q.lane(app, now)
	l.asks(now)
	t := &Ticket{lane: l, deadline: now + wait}
	leaves, spare := q.reckon(l, len(l.waiting), now)
	late := leaves > t.deadline && spare || leaves > t.deadline+margin
	if late || len(l.waiting) >= mostWaitingEach || !q.makeRoom(l, now) {
		return nil, shutError(leaves, now)
	}
	l.waiting = append(l.waiting, t)
	q.waiting++
	return t, nil
}

// asks notes that a call of the lane's app comes. An app that asks again before
// it has its answer does not poll.
func (l *lane) asks(now time.Duration) {
	pause := now - l.busy
	switch l.busy = now; {
	case len(l.waiting)+l.flying > 0:
		l.rested = 0
	case pause >= rest:
		l.rested = min(l.rested+pause, mostRest)
	}
	if l.preferred = l.rested >= rest; l.preferred {
		l.rested -= rest
	}
}

// makeRoom reports whether a call of an app may wait. If the queue is full, the
// last call of the longest lane has to go, unless this one is about as long.
func (q *Queue) makeRoom(l *lane, now time.Duration) bool {
	if q.waiting < mostWaiting {
		return true
	}
	longest := l
	for _, other := range q.apps {
		if len(other.waiting) > len(longest.waiting) {
			longest = other
		}
	}
	if len(longest.waiting) < len(l.waiting)+2 {
		return false
	}
	last := longest.waiting[len(longest.waiting)-1]
	q.End(last, now)
	q.evicted = append(q.evicted, last)
	return true
}

// Advance lets all calls leave that may, and ends those whose wait is over or
// that had to make room. It returns these calls, and when to call it again; never
// is the highest reading.
func (q *Queue) Advance(now time.Duration) (left, late []*Ticket, next time.Duration) {
	for {
		l, overtakes := q.next()
		if l == nil || !q.gate.leavePlayers(now) {
			break
		}
		t := q.take(l, overtakes)
		t.state, t.left, l.busy = ticketFlies, now, now
		q.waiting--
		l.flying++
		q.flying++
		left = append(left, t)
	}
	next, late, q.evicted = never, q.evicted, nil
	for _, l := range q.apps {
		for i := len(l.waiting) - 1; i >= 0; i-- {
			if t := l.waiting[i]; t.deadline > now {
				next = min(next, t.deadline)
			} else {
				q.End(t, now)
				late = append(late, t)
			}
		}
	}
	if l, _ := q.next(); l != nil {
		opens, full := q.gate.players(now)
		next = min(next, max(opens, full.holds(1)))
	}
	return left, late, next
}

// next returns the lane whose turn it is: of those whose call may leave, the one
// whose last turn is longest ago; nil if none may. Lanes that are preferred
// overtake others, but every third turn at least is one of those.
func (q *Queue) next() (next *lane, overtakes bool) {
	var first, preferred *lane
	for _, l := range q.apps {
		if len(l.waiting) == 0 || !q.mayLeave(l) {
			continue
		}
		if first == nil || l.turn < first.turn {
			first = l
		}
		if l.preferred && (preferred == nil || l.turn < preferred.turn) {
			preferred = l
		}
	}
	if preferred == nil || q.overtook == mostOvertake {
		return first, false
	}
	return preferred, preferred != first
}

// take takes the first call out of a lane, whose turn it is.
func (q *Queue) take(l *lane, overtakes bool) *Ticket {
	q.turns++
	l.turn = q.turns
	if q.overtook++; !overtakes {
		q.overtook = 0
	}
	return l.shift()
}

// shift takes the first call out of a lane.
func (l *lane) shift() *Ticket {
	t := l.waiting[0]
	l.waiting, l.preferred = l.waiting[1:], false
	return t
}

// mayLeave reports whether one more call of an app may be in flight.
func (q *Queue) mayLeave(l *lane) bool { return q.flying < mostFlying && l.flying < mostFlyingEach }

// Throttled takes the 429 to a call in flight. It shuts the gate and puts the
// call back at the head of its app's queue, or ends it with a [*ShutError] if it
// is not expected to leave within its new wait: the server did not act on it.
func (q *Queue) Throttled(t *Ticket, retryAfter, wait, now time.Duration) error {
	q.gate.Throttled(t.left, retryAfter, now)
	q.gate.poke()
	q.land(t)
	leaves, _ := q.reckon(t.lane, 0, now)
	if t.deadline = now + wait; leaves > t.deadline+margin {
		return shutError(leaves, now)
	}
	t.state = ticketWaits
	t.lane.waiting = append(t.lane.waiting, t)
	copy(t.lane.waiting[1:], t.lane.waiting)
	t.lane.waiting[0] = t
	q.waiting++
	return nil
}

// Answered notes that the server has answered a call with anything but a 429.
func (q *Queue) Answered(t *Ticket) { q.gate.Accepted(t.left) }

// End frees the place of a call, in the queue or in flight. A call may end more
// than once.
func (q *Queue) End(t *Ticket, now time.Duration) {
	if t.state == ticketEnded {
		return
	}
	t.lane.busy = now
	switch t.state {
	case ticketFlies:
		q.land(t)
	case ticketWaits:
		t.state = ticketEnded
		i := slices.Index(t.lane.waiting, t)
		t.lane.waiting = slices.Delete(t.lane.waiting, i, i+1)
		t.lane.preferred = t.lane.preferred && i > 0
		q.waiting--
	}
}

func (q *Queue) land(t *Ticket) {
	t.state = ticketEnded
	t.lane.flying--
	q.flying--
}

// Late returns the error of a call that has waited in vain.
func (q *Queue) Late(t *Ticket, now time.Duration) *ShutError {
	leaves, _ := q.reckon(t.lane, len(t.lane.waiting), now)
	return shutError(leaves, now)
}

// reckon returns when a call of an app would leave that has ahead calls of its
// app before it, if no other call came and the server answered at once. Two
// kinds of calls do not count: those whose wait is over by then (spare reports
// whether the app has one), and those of an app with too many calls in flight,
// because nobody knows for how long.
func (q *Queue) reckon(l *lane, ahead int, now time.Duration) (leaves time.Duration, spare bool) {
	opens, full := q.gate.players(now)
	if q.waiting == 0 {
		return max(opens, full.holds(1)), false
	}
	last := &Ticket{deadline: never}
	ideal := Queue{turns: q.turns, overtook: q.overtook}
	for _, real := range q.apps {
		same := *real
		if real == l {
			same.flying, same.waiting = 0, append(slices.Clone(real.waiting[:ahead]), last)
		}
		ideal.apps = append(ideal.apps, &same)
	}
	for n := 1; ; n++ {
		at := max(opens, full.holds(n))
		for _, same := range ideal.apps {
			for len(same.waiting) > 0 && same.waiting[0].deadline < at {
				same.shift()
				spare = spare || same.app == l.app
			}
		}
		if ideal.take(ideal.next()) == last {
			return at, spare
		}
	}
}

// lane returns an app's part of the queue.
func (q *Queue) lane(app string, now time.Duration) *lane {
	for _, l := range q.apps {
		if l.app == app {
			return l
		}
	}
	l := &lane{app: app, busy: now - mostRest}
	q.apps = append(q.apps, l)
	return l
}

// Load is how many calls of players there are.
type Load struct{ Waiting, Flying int }

// Load returns the load of one app.
func (q *Queue) Load(app string) Load {
	for _, l := range q.apps {
		if l.app == app {
			return Load{len(l.waiting), l.flying}
		}
	}
	return Load{}
}

// Total returns the load of all apps together.
func (q *Queue) Total() Load { return Load{q.waiting, q.flying} }

func shutError(leaves, now time.Duration) *ShutError {
	return &ShutError{RetryAfter: max(leaves-now, minRetry)}
}
