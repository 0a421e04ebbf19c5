// Package throttle decides when a call may leave the device for the server.
//
// It owns the gate: one token bucket for the whole device, kept well inside the
// server's documented throttle, and shut after a 429. It neither sends nor
// waits. The time is passed in, as readings of the boot clock.
//
// A gate remembers what left as long as the boot lasts (see [Memory]): a device
// that boots may use its burst at once, a daemon in a crash loop may not.
package throttle

import (
	"errors"
	"io/fs"
	"maps"
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// The documented throttle gives a device 1 request a second and a burst of
	// 10 ("Throttling mechanism"). Players drink from the same bucket, and an
	// older edition of that page gave a burst of 3: the daemon's own calls keep
	// to 3.
	perSecond = 1
	capacity  = 10
	ownBurst  = 3

	// minShut is the least that the page asks for after a 429.
	minShut = time.Second
	// maxShut bounds what a server, or something that poses as one, can ask for.
	maxShut = time.Hour
)

// State is what a gate remembers within one boot. Times are readings of the boot
// clock.
type State struct {
	BootID string        `json:"boot_id"`
	Last   time.Duration `json:"last"`           // when the last call left
	Shut   time.Duration `json:"shut,omitempty"` // no call leaves before

	Unanswered map[string]Unanswered `json:"unanswered,omitempty"` // by the name of the call
}

// Unanswered are calls of one name that left, one after the other, and whose end
// the daemon never saw: it was killed before.
type Unanswered struct {
	Count int           `json:"count"`
	Next  time.Duration `json:"next"` // no other one leaves before
}

// Memory keeps a State until the device boots again. [File] is one.
type Memory interface {
	// Load returns what was saved last. An error that is fs.ErrNotExist means
	// that nothing was saved in this boot, any other that nobody can know.
	Load() (State, error)
	Save(State) error
}

// Gate is the one way to the server. Its methods may be called from any
// goroutine.
type Gate struct {
	mu     sync.Mutex // guards what follows
	memory Memory
	state  State
	own    *rate.Limiter // of the daemon's own calls
	err    error
}

// New takes a gate up where an earlier run of this boot left it. The bucket is
// full at the first run of a boot. At a later one it holds what has flowed in
// since the last call left. If that can't be known it is empty: [Gate.Err] says
// why.
func New(bootID string, now time.Duration, memory Memory) *Gate {
	if bootID == "" {
		memory = nowhere{}
	}
	g := &Gate{memory: memory, own: rate.NewLimiter(perSecond, ownBurst)}
	g.state, g.err = recall(bootID, now, memory)
	if g.err != nil {
		g.state.Last = now
	}
	// A run that can't leave word to the next one gets no burst either.
	if err := memory.Save(g.state); err != nil {
		g.err, g.state.Last = err, now
	}
	g.drain(max(g.state.Last, g.state.Shut))
	return g
}

// recall returns the state to begin with.
func recall(bootID string, now time.Duration, memory Memory) (State, error) {
	full := State{BootID: bootID, Last: now - capacity*time.Second/perSecond}
	s, err := memory.Load()
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && s.BootID != bootID:
		return full, nil
	case err != nil:
		return full, err
	case s.Last > now:
		return full, errors.New("the last call left in the future")
	}
	s.Shut = min(s.Shut, now+maxShut)
	return s, nil
}

// nowhere is the Memory of a boot that has no id: nothing can be said to be of
// the same boot.
type nowhere struct{}

var errNoBootID = errors.New("the kernel tells no boot id")

func (nowhere) Load() (State, error) { return State{}, errNoBootID }
func (nowhere) Save(State) error     { return errNoBootID }

// Err returns why this run began with an empty bucket, or why the next one will
// have to; nil once what left could be remembered.
func (g *Gate) Err() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

// Opens returns the first moment from now on at which a call of the daemon's own
// may leave.
func (g *Gate) Opens(now time.Duration) time.Duration { return g.OpensFor(1, now) }

// OpensFor returns the first moment from now on at which so many calls of the
// daemon's own may leave together.
func (g *Gate) OpensFor(calls int, now time.Duration) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	at := max(now, g.state.Shut)
	if missing := float64(calls) - g.own.TokensAt(moment(at)); missing > 0 {
		at += time.Duration(math.Ceil(missing / perSecond * float64(time.Second)))
	}
	return at
}

// Leave lets a call of the daemon's own leave, which [Gate.Opens] has allowed.
// It is remembered before Leave returns.
func (g *Gate) Leave(now time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.leave(now)
}

// LeaveNamed is Leave for a call that counts as unanswered until
// [Gate.Answered]. If it stays so, the next run knows how often that happened
// and when to repeat the call: not before a reading of the boot clock.
func (g *Gate) LeaveNamed(name string, next, now time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.note(name, Unanswered{Count: g.state.Unanswered[name].Count + 1, Next: next})
	g.leave(now)
}

func (g *Gate) leave(now time.Duration) {
	g.own.ReserveN(moment(now), 1)
	g.state.Last = now
	g.save()
}

// Answered notes that a call of that name has ended, however it did.
func (g *Gate) Answered(name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, ok := g.state.Unanswered[name]; ok {
		g.note(name, Unanswered{})
		g.save()
	}
}

// Unanswered returns what is known of the calls of a name that were not answered.
func (g *Gate) Unanswered(name string) Unanswered {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.state.Unanswered[name]
}

// Throttled shuts the gate after a 429, and returns for how long. The server's
// bucket is empty then, and so is the gate's.
func (g *Gate) Throttled(retryAfter, now time.Duration) time.Duration {
	wait := min(max(retryAfter, minShut), maxShut)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.state.Shut = max(g.state.Shut, now+wait)
	g.drain(g.state.Shut)
	g.save()
	return wait
}

// ShutUntil keeps the gate shut at least until a reading of the boot clock: what
// an earlier boot was asked for.
func (g *Gate) ShutUntil(at time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if at > g.state.Shut {
		g.state.Shut = at
		g.save()
	}
}

// OpenFrom opens the gate again from a reading of the boot clock on, if it is
// shut for longer.
func (g *Gate) OpenFrom(at time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if at < g.state.Shut {
		g.state.Shut = at
		g.drain(at) // it may have been drained at the end of the longer wait
		g.save()
	}
}

// Shut returns until when the gate is shut: zero, or a reading of the boot clock
// that may have passed.
func (g *Gate) Shut() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.state.Shut
}

// note replaces one count. The map that was saved stays as it is.
func (g *Gate) note(name string, u Unanswered) {
	next := maps.Clone(g.state.Unanswered)
	if u.Count == 0 {
		delete(next, name)
	} else {
		if next == nil {
			next = map[string]Unanswered{}
		}
		next[name] = u
	}
	g.state.Unanswered = next
}

func (g *Gate) save() { g.err = g.memory.Save(g.state) }

// drain empties the bucket at a reading of the boot clock.
func (g *Gate) drain(at time.Duration) {
	g.own.AllowN(moment(at), int(g.own.TokensAt(moment(at))))
}

// moment is a reading of the boot clock in the form that the bucket wants.
func moment(boot time.Duration) time.Time { return time.Unix(0, 0).Add(boot) }
