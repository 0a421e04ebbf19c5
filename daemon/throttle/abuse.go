package throttle

import "time"

const (
	// refill is how long the server's bucket takes to fill.
	refill = capacity * time.Second
	// sharedFrom 429s within sharedWithin mean that others use the same bucket.
	sharedFrom   = 4
	sharedWithin = 10 * time.Minute
	// A player's report of a 429 counts once in appReports for its app, and once
	// in allReports for the device.
	appReports = 10 * time.Second
	allReports = 5 * time.Second
)

// abuse is what a gate knows of calls that reach the server without passing it.
type abuse struct {
	hurried   time.Duration             // when a call last left less than a second after another one
	foreign   [sharedFrom]time.Duration // when the last 429s came that this device did not cause; zero: none
	reported  time.Duration             // when a report of a 429 last counted
	reporters map[string]time.Duration  // by app, likewise
}

// newAbuse returns an abuse that knows nothing of what left before now.
func newAbuse(now time.Duration) abuse {
	return abuse{hurried: now, reported: now - allReports, reporters: map[string]time.Duration{}}
}

func (a *abuse) leaves(last, now time.Duration) {
	if now-last < time.Second {
		a.hurried = now
	}
}

// throttled notes a 429 to a call that left at a reading of the boot clock. It
// counts if no burst of this device can have emptied the server's bucket.
func (a *abuse) throttled(sent, now time.Duration) {
	if sent-a.hurried < refill {
		return
	}
	copy(a.foreign[:], a.foreign[1:])
	a.foreign[sharedFrom-1] = now
}

func (a *abuse) shared(now time.Duration) bool {
	return a.foreign[0] > 0 && now-a.foreign[0] < sharedWithin
}

// takes notes a player's report of a 429 and returns true, unless one has
// counted a moment ago.
func (a *abuse) takes(app string, now time.Duration) bool {
	last, before := a.reporters[app]
	if now-a.reported < allReports || before && now-last < appReports {
		return false
	}
	a.reported, a.reporters[app] = now, now
	return true
}
