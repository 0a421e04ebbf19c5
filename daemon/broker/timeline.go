package broker

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/tvpassd/tvpassd/daemon/clock"
	"github.com/tvpassd/tvpassd/storage"
)

// maxSkew is how far two that vouch for the time may differ: a Date has whole seconds and is as old as its answer, and the
// server's clock need not be the time service's. What spans two boots is reckoned with that much to spare.
const maxSkew = time.Minute

// timeline knows what the box can know about the time.
type timeline struct {
	clock  clock.Clock
	bootID string
	build  time.Time // a wall clock before this is unset

	witnessed bool          // a Date came over a connection that proves it, in this boot
	server    time.Time     // that Date
	serverAt  time.Duration // and when it came
}

// newTimeline begins to know the time. Where the kernel has no name for this boot, this run of the daemon is a boot of its own.
func newTimeline(clock clock.Clock, build time.Time, random *rand.Rand) timeline {
	id := clock.BootID()
	if id == "" {
		id = fmt.Sprintf("run-%016x", random.Uint64())
	}
	return timeline{clock: clock, bootID: id, build: build}
}

// set tells whether the wall clock can be right at all.
func (t *timeline) set(now clock.Reading) bool { return !now.Wall.Before(t.build) }

// observe takes the Date of an answer as a witness of the time.
func (t *timeline) observe(date time.Time, now clock.Reading) {
	if date.IsZero() {
		return
	}
	t.witnessed, t.server, t.serverAt = true, date, now.Boot
}

// trueTime is the time that something other than this box vouches for: best the server, whose clock decides about its tokens.
func (t *timeline) trueTime(now clock.Reading) (time.Time, bool) {
	if t.witnessed {
		return t.server.Add(now.Boot - t.serverAt), true
	}
	return now.Wall, t.set(now) && t.clock.Synchronised()
}

// skew is how far the server's clock is ahead of the box's; zero where the server has not told.
func (t *timeline) skew(now clock.Reading) time.Duration {
	if !t.witnessed {
		return 0
	}
	return t.server.Add(now.Boot - t.serverAt).Sub(now.Wall)
}

func (t *timeline) stamp(now clock.Reading) storage.Stamp {
	return storage.Stamp{BootID: t.bootID, Boot: now.Boot, Wall: now.Wall.UTC().Round(0)}
}

// thisBoot tells whether a stamp's Boot reading can be compared with now's.
func (t *timeline) thisBoot(s storage.Stamp, now clock.Reading) bool {
	return s.BootID == t.bootID && s.Boot <= now.Boot
}

// tokenSent is the moment of this boot's clock from which a stored token's life counts. It is not known for a token of an
// earlier boot while nothing vouches for the time. Where box and server disagreed about the time when the token was
// asked for, the earlier of the two moments counts: a token is rather thrown away early than served dead.
func (t *timeline) tokenSent(tok *storage.Token, now clock.Reading) (time.Duration, bool) {
	if t.thisBoot(tok.Sent, now) {
		return tok.Sent.Boot, true
	}
	current, ok := t.trueTime(now)
	if !ok || tok.ServerSent.IsZero() {
		return 0, false
	}
	sent := tok.ServerSent
	if tok.Sent.Wall.Before(sent) {
		sent = tok.Sent.Wall
	}
	elapsed := current.Sub(sent)
	if elapsed < -maxSkew {
		return 0, false
	}
	return now.Boot - max(elapsed, 0) - maxSkew, true
}

// serverSent is the moment of a request on the server's clock, at the earliest; zero where nothing vouches for it.
func (t *timeline) serverSent(sent, now clock.Reading, date time.Time) time.Time {
	if !date.IsZero() {
		return date.Add(sent.Boot - now.Boot).UTC()
	}
	if t.set(now) && t.clock.Synchronised() { // which it may be only since the request left
		return now.Wall.Add(sent.Boot - now.Boot).UTC().Round(0)
	}
	return time.Time{}
}

// remaining is what is left of a stored wait. A stamp of an earlier boot counts by the wall clock, which may be wrong: so
// the answer is never more than the wait itself.
func (t *timeline) remaining(noted storage.Stamp, wait time.Duration, now clock.Reading) time.Duration {
	passed := now.Wall.Sub(noted.Wall)
	if t.thisBoot(noted, now) {
		passed = now.Boot - noted.Boot
	}
	return min(max(wait-max(passed, 0), 0), wait)
}

// passed tells whether at least d went by since a stamp. In doubt it has not: after a reboot only a vouched-for clock counts.
func (t *timeline) passed(since storage.Stamp, d time.Duration, now clock.Reading) bool {
	if t.thisBoot(since, now) {
		return now.Boot-since.Boot >= d
	}
	current, ok := t.trueTime(now)
	return ok && !since.Wall.IsZero() && current.Sub(since.Wall) >= d+maxSkew
}
