package dcr

import (
	"context"
	"math"
	"sync"
	"time"
)

// phase is a part of an exchange.
type phase int

const (
	connecting phase = iota
	writing
	written
	answered
	over
)

// never is the time of a phase without a limit.
const never time.Duration = math.MaxInt64

// deadline ends an exchange that takes too long. Goroutines of the carrier
// move it, and not always in order: it never goes back to an earlier phase.
type deadline struct {
	whole bool // only connecting has a time of its own

	mu    sync.Mutex // guards what follows
	phase phase
	timer *time.Timer
}

// newDeadline returns a deadline of an exchange that connects.
func newDeadline(timeout time.Duration, cancel context.CancelCauseFunc, whole bool) *deadline {
	return &deadline{
		whole: whole, timer: time.AfterFunc(timeout, func() { cancel(context.DeadlineExceeded) }),
	}
}

// enter gives a phase, or what is left of it, a time from now on.
func (d *deadline) enter(p phase, timeout time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p >= d.phase && (p == connecting || !d.whole) {
		d.phase = p
		d.timer.Reset(timeout)
	}
}

func (d *deadline) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.phase = over
	d.timer.Stop()
}
