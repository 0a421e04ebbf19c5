package broker

import (
	"slices"
	"time"

	"github.com/tvpassd/tvpassd/daemon/clock"
	"github.com/tvpassd/tvpassd/ipc"
)

// Calls counts the calls for an app since the start, by [Endpoints]. A value
// never changes: each call makes a new one.
type Calls [2]CallCounts

// CallCounts counts the calls to one endpoint.
type CallCounts struct {
	Ended [5]int64 // by [Results]
	Took  Durations
}

// Endpoints returns the names of the server's endpoints.
func Endpoints() [2]string { return [...]string{string(callRegister), string(callToken)} }

// Results returns the ways in which calls end.
func Results() [5]string {
	return [...]string{"success", ipc.CodeOffline, ipc.CodeThrottled, ipc.CodeServerError, ipc.CodeRejected}
}

// with returns the counts of c and of one more call.
func (c *Calls) with(kind callKind, result string, took time.Duration) *Calls {
	next, endpoints, results := *c, Endpoints(), Results()
	counts := &next[slices.Index(endpoints[:], string(kind))]
	counts.Ended[slices.Index(results[:], result)]++
	counts.Took.Add(took)
	return &next
}

// Durations counts how long something took.
type Durations struct {
	Buckets [6]int64 // by [DurationBounds]; the last one is for all that took longer
	Sum     time.Duration
}

// DurationBounds returns the upper bounds of the buckets of [Durations], from a
// call on a kept connection to one on a bad line.
func DurationBounds() [5]time.Duration {
	const ms = time.Millisecond
	return [...]time.Duration{100 * ms, 300 * ms, time.Second, 3 * time.Second, 10 * time.Second}
}

// Add counts one duration.
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

// Waits counts how often calls that were due had to wait for the gate.
type Waits struct {
	Count int64
	Sum   time.Duration // in which at least one call waited
}

// gateWaits counts the waits that have ended.
type gateWaits struct {
	ended   Waits
	holding bool // a due call waits
	since   time.Duration
}

// hold notes whether a due call waits at this moment.
func (w *gateWaits) hold(holds bool, now clock.Reading) {
	switch {
	case holds && !w.holding:
		w.since = now.Boot
	case w.holding && !holds:
		w.ended.Count++
		w.ended.Sum += now.Boot - w.since
	}
	w.holding = holds
}
