package broker

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/tvpassd/tvpassd/daemon/clock"
	"github.com/tvpassd/tvpassd/daemon/dcr"
	"github.com/tvpassd/tvpassd/storage"
)

const (
	// maxSkew is how far two sources of the time may differ: a Date has whole
	// seconds and is as old as its answer, and the server's clock may differ from
	// the time service's. A span across two boots or two sources is computed with
	// that much to spare.
	maxSkew = time.Minute
	// wallSkew is how far a wall clock that is vouched for may drift from the boot
	// clock without having been stepped.
	wallSkew = 2 * time.Second

	// maxLife is the longest that a token is taken to live.
	maxLife = 7 * 24 * time.Hour
	// A created_at counts if it is not later than this after the answer, and not
	// earlier than maxLife before it.
	maxCreatedAhead = 5 * time.Minute
)

// timeline is what is known of the time.
type timeline struct {
	clock  clock.Clock
	bootID string
	build  time.Time // a wall clock before this is unset

	witnessed bool          // a Date came over a connection that proves it, in this boot
	server    time.Time     // that Date
	serverAt  time.Duration // when it came
}

// newTimeline returns a timeline that knows nothing yet. If the kernel has no
// name for this boot, this run of the daemon is a boot of its own.
func newTimeline(clock clock.Clock, build time.Time, random *rand.Rand) timeline {
	id := clock.BootID()
	if id == "" {
		id = fmt.Sprintf("run-%016x", random.Uint64())
	}
	return timeline{clock: clock, bootID: id, build: build}
}

// set reports whether the wall clock can be right: it is not before the build
// date.
func (t *timeline) set(now clock.Reading) bool { return !now.Wall.Before(t.build) }

// vouched reports whether a time service vouches for the wall clock.
func (t *timeline) vouched(now clock.Reading) bool { return t.set(now) && t.clock.Synchronised() }

// observe takes the Date of an answer as a witness of the time.
func (t *timeline) observe(date time.Time, now clock.Reading) {
	if date.IsZero() {
		return
	}
	t.witnessed, t.server, t.serverAt = true, date, now.Boot
}

// stepped forgets a Date that a wall clock, stepped and vouched for, contradicts:
// the boot clock may have stood still since it came.
func (t *timeline) stepped(now clock.Reading) {
	if t.witnessed && t.vouched(now) && now.Wall.Sub(t.serverTime(now)) > maxSkew {
		t.witnessed = false
	}
}

// serverTime is the server's clock by the last Date, if one came.
func (t *timeline) serverTime(now clock.Reading) time.Time {
	return t.server.Add(now.Boot - t.serverAt)
}

// trueTime returns the time that something other than this device vouches for:
// preferably the server, whose clock decides about its tokens.
func (t *timeline) trueTime(now clock.Reading) (time.Time, bool) {
	if t.witnessed {
		return t.serverTime(now), true
	}
	return now.Wall, t.vouched(now)
}

// skew returns how far the server's clock is ahead of the wall clock; zero if the
// server did not say.
func (t *timeline) skew(now clock.Reading) time.Duration {
	if !t.witnessed {
		return 0
	}
	return t.serverTime(now).Sub(now.Wall)
}

func (t *timeline) stamp(now clock.Reading) storage.Stamp {
	return storage.Stamp{BootID: t.bootID, Boot: now.Boot, Wall: now.Wall.UTC().Round(0)}
}

// thisBoot reports whether a stamp's Boot reading can be compared with now's.
func (t *timeline) thisBoot(s storage.Stamp, now clock.Reading) bool {
	return s.BootID == t.bootID && s.Boot <= now.Boot
}

// tokenSent returns the reading of this boot's clock from which a stored
// token's life counts. It is unknown for a token of an earlier boot while
// nothing vouches for the time.
//
// If device and server disagreed about the time when the token was requested,
// the earlier of the two moments counts: dropping a token early is better than
// serving a dead one.
func (t *timeline) tokenSent(tok *storage.Token, now clock.Reading) (time.Duration, bool) {
	if t.thisBoot(tok.Sent, now) {
		return min(tok.Sent.Boot, now.Boot-t.vouchedAge(tok, now)), true
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

// vouchedAge returns the age of a token of this boot by the clock that is
// vouched for, if the boot clock shows less; otherwise 0. In a suspend the boot
// clock stands still on a device that has no clock of its own.
func (t *timeline) vouchedAge(tok *storage.Token, now clock.Reading) (age time.Duration) {
	byBoot := now.Boot - tok.Sent.Boot
	if t.witnessed && !tok.ServerSent.IsZero() {
		if byDate := t.serverTime(now).Sub(tok.ServerSent); byDate > byBoot+maxSkew {
			age = byDate
		}
	}
	sent, skew := wallSent(tok)
	if byWall := now.Wall.Sub(sent); !sent.IsZero() && byWall > max(byBoot, age)+skew && t.vouched(now) {
		age = byWall
	}
	return age
}

// wallSent returns when a token was requested, by a clock that was vouched for,
// and how far the wall clock may differ from that clock. The time is zero if
// there was none.
func wallSent(tok *storage.Token) (sent time.Time, skew time.Duration) {
	if !tok.WallSent.IsZero() {
		return tok.WallSent, wallSkew
	}
	return tok.ServerSent, maxSkew
}

// sentTimes returns when a call was sent: by the server's clock, at the
// earliest, and by the wall clock. Each is zero if nothing vouches for it. If
// the wall clock is behind the server's it may have stood still in a suspend:
// then the server's counts for both.
func (t *timeline) sentTimes(sent, now clock.Reading, date time.Time) (server, wall time.Time) {
	if t.vouched(now) { // maybe only since the call left
		wall = now.Wall.Add(sent.Boot - now.Boot).UTC().Round(0)
	}
	if date.IsZero() {
		return wall, wall
	}
	server = date.Add(sent.Boot - now.Boot).UTC()
	if !wall.IsZero() && server.After(wall) {
		wall = server
	}
	return server, wall
}

// life returns the life of a token that has just come, from when it was
// requested. It is zero or less if the server handed out an old token that has
// expired.
func (t *timeline) life(tok dcr.Token, now clock.Reading) time.Duration {
	life := tok.ExpiresIn
	date, known := tok.Date, true
	if date.IsZero() {
		date, known = t.trueTime(now)
	}
	const earliest = 2020 // no token is older, but a clock that was never set is
	age := date.Sub(tok.CreatedAt)
	if known && tok.CreatedAt.Year() >= earliest && age >= -maxCreatedAhead && age <= maxLife && age > time.Second {
		life -= age + time.Second // both may be whole seconds
	}
	return min(life, maxLife)
}

// remaining returns what is left of a stored wait. A stamp of an earlier boot
// counts by the wall clock, which may be wrong: the result is never more than the
// wait itself.
func (t *timeline) remaining(noted storage.Stamp, wait time.Duration, now clock.Reading) time.Duration {
	passed := now.Wall.Sub(noted.Wall)
	if t.thisBoot(noted, now) {
		passed = now.Boot - noted.Boot
	}
	return min(max(wait-max(passed, 0), 0), wait)
}

// passed reports whether at least d went by since a stamp. In doubt it did not:
// after a reboot only a clock that is vouched for counts.
func (t *timeline) passed(since storage.Stamp, d time.Duration, now clock.Reading) bool {
	if t.thisBoot(since, now) {
		return now.Boot-since.Boot >= d
	}
	current, ok := t.trueTime(now)
	return ok && !since.Wall.IsZero() && current.Sub(since.Wall) >= d+maxSkew
}
