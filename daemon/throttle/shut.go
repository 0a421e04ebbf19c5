package throttle

import "time"

// The methods in this file shut the gate and open it again.

// Throttled shuts the gate after a 429 to a call that left at a reading of the
// boot clock, and returns for how long: for what the server asks, at least for a
// second, which doubles to 8 s while 429 follows 429.
func (g *Gate) Throttled(sent, retryAfter, now time.Duration) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.state.Row == 0 || sent >= g.state.Throttled { // otherwise it left before the last 429 came
		g.state.Row = min(g.state.Row+1, mostDoublings+1)
	}
	wait := min(max(retryAfter, minShut<<(g.state.Row-1)), maxShut)
	g.state.Throttled = now
	g.state.Shut = max(g.state.Shut, now+wait)
	g.drain(g.shut() - minShut)
	g.abuse.throttled(sent, now)
	g.save()
	return wait
}

// Accepted notes that the server has answered, with anything but a 429, a call
// that left at a reading of the boot clock.
func (g *Gate) Accepted(sent time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.state.Row > 0 && sent >= g.state.Throttled {
		g.state.Row = 0
		g.save()
	}
}

// Reported shuts the gate for a second: a player of an app, which calls the
// server itself, was answered with 429. That counts once in 10 s for each app
// and once in 5 s for all of them. Reported returns whether it counted.
func (g *Gate) Reported(app string, now time.Duration) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.abuse.takes(app, now) {
		return false
	}
	if until := now + minShut; until > g.shut() {
		g.state.Shut = until
		g.drain(now)
		g.save()
	}
	return true
}

// ShutUntil keeps the gate shut at least until a reading of the boot clock, as
// an earlier boot was asked to.
func (g *Gate) ShutUntil(at time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if at > g.shut() {
		g.state.Earlier = at
		g.save()
	}
}

// OpenFrom opens the gate again from a reading of the boot clock on, if an
// earlier boot was asked to keep it shut for longer.
func (g *Gate) OpenFrom(at time.Duration) {
	g.mu.Lock()
	earlier := at < g.state.Earlier
	if earlier {
		g.state.Earlier = at
		// The buckets may have been drained at the end of the longer wait.
		g.own, g.all = bucket(g.state.Last), bucket(g.state.Last)
		g.drain(g.shut() - minShut)
		g.save()
	}
	g.mu.Unlock()
	if earlier {
		g.freed()
	}
}

// Shut returns until when the gate is shut: zero, or a reading of the boot clock
// that may have passed.
func (g *Gate) Shut() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shut()
}

func (g *Gate) shut() time.Duration { return max(g.state.Shut, g.state.Earlier) }

// Shuts receives after a 429 to a player's call, or a player's report of one.
func (g *Gate) Shuts() <-chan struct{} { return g.shuts }

// Shared reports whether others use up the server's throttle: the last ten
// minutes brought four 429s, while this device kept to 1 call a second.
func (g *Gate) Shared(now time.Duration) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.abuse.shared(now)
}

// capacity returns how many calls may leave at once at most.
func (g *Gate) capacity(now time.Duration) int {
	if g.state.Throttled == 0 {
		return capacity
	}
	grown := max(now-g.state.Throttled-afterShut, 0) / growEvery
	return ownBurst + int(min(grown, capacity-ownBurst))
}

// drain empties the buckets at a reading of the boot clock: a second before the
// gate opens, so that one call leaves when it does.
func (g *Gate) drain(at time.Duration) {
	g.own, g.all = max(g.own, bucket(at)), max(g.all, bucket(at))
}

// bucket is a token bucket that gains one token a second. It is the reading of
// the boot clock at which it was empty, or will be if that is ahead.
type bucket time.Duration

// holds returns the moment from which it holds so many tokens, if its capacity
// allows.
func (b bucket) holds(tokens int) time.Duration {
	return time.Duration(b) + time.Duration(tokens)*time.Second
}

// atMost returns the bucket limited to a capacity: what flowed in beyond that
// is lost.
func (b bucket) atMost(capacity int, now time.Duration) bucket {
	return max(b, bucket(now-time.Duration(capacity)*time.Second))
}

// take returns the bucket after a token was taken.
func (b bucket) take(capacity int, now time.Duration) bucket {
	return b.atMost(capacity, now) + bucket(time.Second)
}

// poke makes [Gate.Shuts] receive.
func (g *Gate) poke() {
	select {
	case g.shuts <- struct{}{}:
	default:
	}
}

// onFreed makes the gate call f when players' calls may leave earlier than
// before.
func (g *Gate) onFreed(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.freed = f
}
