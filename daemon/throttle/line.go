package throttle

import (
	"context"
	"sync"
	"time"
)

// Timer runs a function once, later on; a *time.Timer of time.AfterFunc is one.
type Timer interface {
	Reset(d time.Duration) bool
	Stop() bool
}

// Line is a [Queue] that callers wait in. Its methods may be called from any
// goroutine. It wakes up only while somebody waits.
type Line struct {
	now func() time.Duration

	mu    sync.Mutex // guards what follows
	queue *Queue
	timer Timer
}

// Turn is a call that may leave, until it is done.
type Turn struct {
	line   *Line
	ticket *Ticket
}

// NewLine returns a line in front of a gate. The readings of the boot clock come
// from now, the timer from afterFunc, such as time.AfterFunc.
func NewLine(gate *Gate, now func() time.Duration, afterFunc func(time.Duration, func()) Timer) *Line {
	l := &Line{now: now, queue: NewQueue(gate)}
	l.timer = afterFunc(never, l.wake)
	l.timer.Stop()
	gate.onFreed(l.wake)
	return l
}

// Enter waits until a call of an app may leave, and takes a token of the bucket
// for it. It returns a [*ShutError] when the wait is over, and at once if the
// call is not expected to leave within the wait. If ctx ends before the call
// leaves, Enter returns the context's error and takes no token.
func (l *Line) Enter(ctx context.Context, app string, wait time.Duration) (*Turn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l.mu.Lock()
	now := l.now()
	t, err := l.queue.Enter(app, wait, now)
	if err != nil {
		l.mu.Unlock()
		return nil, err
	}
	if err := l.await(ctx, t, now); err != nil {
		return nil, err
	}
	return &Turn{l, t}, nil
}

// Again shuts the gate after a 429 to this call, and waits until the call may
// leave once more: the server did not act on it. Its errors are those of
// [Line.Enter]; the call is done then.
func (t *Turn) Again(ctx context.Context, retryAfter, wait time.Duration) error {
	l := t.line
	l.mu.Lock()
	now := l.now()
	if err := l.queue.Throttled(t.ticket, retryAfter, wait, now); err != nil {
		l.advance(now)
		l.mu.Unlock()
		return err
	}
	return l.await(ctx, t.ticket, now)
}

// Answered notes that the server has answered this call with anything but a 429.
func (t *Turn) Answered() {
	t.line.mu.Lock()
	t.line.queue.Answered(t.ticket)
	t.line.mu.Unlock()
}

// Done ends the call, however it went, and frees its place in flight. It may be
// called more than once.
func (t *Turn) Done() {
	t.line.mu.Lock()
	defer t.line.mu.Unlock()
	now := t.line.now()
	t.line.queue.End(t.ticket, now)
	t.line.advance(now)
}

// Unused is Done for a call that did not leave after all. Others may use its token.
func (t *Turn) Unused() {
	t.line.queue.gate.giveBack()
	t.Done()
}

// await waits for a ticket. It is called with the lock held, and releases it.
func (l *Line) await(ctx context.Context, t *Ticket, now time.Duration) error {
	t.ready = make(chan error, 1)
	l.advance(now)
	l.mu.Unlock()
	if len(t.ready) > 0 { // at once, as mostly
		return <-t.ready
	}
	select {
	case err := <-t.ready:
		return err
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(t.ready) > 0 { // its turn came at the same moment
		return <-t.ready
	}
	now = l.now()
	l.queue.End(t, now)
	l.advance(now)
	return ctx.Err()
}

func (l *Line) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.advance(l.now())
}

// advance tells the calls that left or whose wait is over, and sets the timer.
func (l *Line) advance(now time.Duration) {
	left, late, next := l.queue.Advance(now)
	for _, t := range left {
		t.ready <- nil
	}
	for _, t := range late {
		t.ready <- l.queue.Late(t, now)
	}
	if next < never {
		l.timer.Reset(max(next-now, time.Millisecond))
	} else {
		l.timer.Stop()
	}
}

// Load returns how many calls of an app wait and are in flight.
func (l *Line) Load(app string) Load {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.queue.Load(app)
}

// Total returns how many calls of all apps wait and are in flight.
func (l *Line) Total() Load {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.queue.Total()
}
