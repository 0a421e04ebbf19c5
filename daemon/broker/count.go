package broker

import (
	"maps"
	"time"
)

// Outcome is how calls to the server ended, for counting.
type Outcome struct{ Call, Result string }

// Calls are the calls for an app since the start. They never change; the next call makes new ones.
type Calls struct {
	Ended map[Outcome]int64
	Took  map[string]Durations // by Outcome.Call
}

// with is c and one call more.
func (c *Calls) with(o Outcome, took time.Duration) *Calls {
	next := Calls{make(map[Outcome]int64, len(c.Ended)+1), make(map[string]Durations, len(c.Took)+1)}
	maps.Copy(next.Ended, c.Ended)
	maps.Copy(next.Took, c.Took)
	next.Ended[o]++
	d := next.Took[o.Call]
	d.Add(took)
	next.Took[o.Call] = d
	return &next
}

// Durations counts how long something took.
type Durations struct {
	Buckets [6]int64 // by DurationBounds; the last one is for all that took longer
	Sum     time.Duration
}

// DurationBounds are the most that the buckets of Durations hold: from a call on a kept connection to one on a bad line.
func DurationBounds() [5]time.Duration {
	return [...]time.Duration{100 * time.Millisecond, 300 * time.Millisecond, time.Second, 3 * time.Second, 10 * time.Second}
}

// Add counts one.
func (d *Durations) Add(took time.Duration) {
	n := 0
	for _, bound := range DurationBounds() {
		if took > bound {
			n++
		}
	}
	d.Buckets[n]++
	d.Sum += took
}

// Waits are calls that were due and had to wait for the gate.
type Waits struct {
	Count int64
	Sum   time.Duration // in which at least one call waited
}
