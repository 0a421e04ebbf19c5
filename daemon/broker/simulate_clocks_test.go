package broker

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/tvpassd/tvpassd/daemon/clock"
)

// simBirth is when every simulated life begins. True time is a duration since
// then.
var simBirth = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

const (
	simNever = never
	simDay   = 24 * time.Hour
	simYear  = 365 * simDay

	// certificateSpan is how far the wall clock may be off before the server's
	// certificate seems expired, or not valid yet.
	certificateSpan = 40 * simDay
)

// The wall clocks with which a device comes back from a power cut.
type simBootClock int

const (
	bootsAt1970   simBootClock = iota // no battery
	bootsRestored                     // a service writes the time to a file, and reads it back at boot
	bootsRight                        // a battery
	bootsWrong                        // a battery that has seen better days: any time between 2015 and 2037
)

func (c simBootClock) String() string {
	return [...]string{"1970", "the last known time", "the right time", "a wrong time"}[c]
}

// simClocks are the clocks of a device.
type simClocks struct {
	boot   time.Duration // CLOCK_BOOTTIME
	awake  time.Duration // CLOCK_MONOTONIC, which stands still in a suspend: nothing may rely on it
	wall   time.Duration // CLOCK_REALTIME, since simBirth
	boots  int
	noID   bool // the boot id can't be read
	synced bool // as adjtimex has it
}

func (c *simClocks) Now() clock.Reading {
	return clock.Reading{Boot: c.boot, Wall: simBirth.Add(c.wall)}
}
func (c *simClocks) Synchronised() bool { return c.synced }
func (c *simClocks) BootID() string {
	if c.noID {
		return ""
	}
	return fmt.Sprint("boot-", c.boots)
}

// advance lets time go by while the device is awake.
func (c *simClocks) advance(d time.Duration) {
	c.awake += d
	c.sleep(d)
}

// sleep lets time go by in a suspend.
func (c *simClocks) sleep(d time.Duration) {
	c.boot += d
	c.wall += d
}

// reboot begins another boot at the true time at, after the device was off.
func (c *simClocks) reboot(kind simBootClock, at, off, up time.Duration, random *rand.Rand) {
	c.boots++
	c.boot, c.awake, c.synced = up, up, false
	switch kind {
	case bootsAt1970:
		c.wall = time.Unix(0, 0).Sub(simBirth) + up
	case bootsRestored:
		c.wall += up
	case bootsRight:
		c.wall += off + up
	case bootsWrong:
		c.wall = at + between(-11*simYear, 11*simYear, random)
	}
}

// simAlarm is the kernel's timer. It is due at a reading of the boot clock. A
// step of the wall clock and a resume ring it too.
type simAlarm struct {
	clocks *simClocks
	at     time.Duration
	rung   bool
}

func (a *simAlarm) Set(at time.Duration) { a.at = at }
func (a *simAlarm) C() <-chan struct{}   { return nil }
func (a *simAlarm) ring()                { a.rung = true }

// wait is how long until the alarm is due.
func (a *simAlarm) wait() time.Duration { return max(a.at-a.clocks.boot, 0) }

// take reports whether the alarm rang, once for each ring.
func (a *simAlarm) take() bool {
	due := a.rung || a.wait() == 0
	a.rung = false
	return due
}
