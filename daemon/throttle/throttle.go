// Package throttle decides when a call may leave the device for the server.
//
// It owns the gate: one token bucket for the whole device, kept well inside the
// server's documented throttle, and shut after a 429. The daemon's own calls go
// first. Players' calls wait in a [Queue]. Neither sends or waits: the time is
// passed in, as readings of the boot clock. A [Line] is a Queue that callers can
// wait in.
//
// A gate remembers within one boot what left (see [Memory]): a device that
// boots may use its burst at once, a daemon in a crash loop may not.
package throttle

import (
	"errors"
	"io/fs"
	"maps"
	"reflect"
	"sync"
	"time"
)

const (
	// The documented throttle gives a device 1 request a second and a burst of
	// 10 ("Throttling mechanism"). An older edition of that page gave a burst
	// of 3: the daemon's own calls keep to 3, and all calls do after a 429.
	capacity = 10
	ownBurst = 3
	// afterShut is how long the capacity stays at ownBurst after a 429. From
	// then on it grows by one every growEvery.
	afterShut = time.Hour
	growEvery = time.Minute

	// minShut is the least that the page asks for after a 429.
	minShut = time.Second
	// maxShut bounds what a server, or something that poses as one, can ask for.
	maxShut = time.Hour
	// mostDoublings bounds how often 429s in a row double minShut.
	mostDoublings = 3
)

// State is what a gate remembers within one boot. Times are readings of the boot
// clock.
type State struct {
	BootID    string        `json:"boot_id"`
	Last      time.Duration `json:"last"`                // when the last call left
	Shut      time.Duration `json:"shut,omitempty"`      // no call leaves before
	Earlier   time.Duration `json:"earlier,omitempty"`   // no call leaves before: what an earlier boot was asked for
	Throttled time.Duration `json:"throttled,omitempty"` // when the last 429 came; zero: none in this boot
	Row       int           `json:"row,omitempty"`       // so many 429s came in a row, without another answer in between

	Unanswered map[string]Unanswered `json:"unanswered,omitempty"` // by the name of the call
}

// Unanswered are calls of one name that left one after the other without an
// end: each time the daemon was killed before the answer came.
type Unanswered struct {
	Count int           `json:"count"`
	Next  time.Duration `json:"next"` // no other one leaves before
}

// Memory keeps a State until the device boots again. [File] is one.
type Memory interface {
	// Load returns what was saved last. An error that is fs.ErrNotExist means
	// that nothing was saved in this boot, any other that nobody can know, or that
	// it can't be saved anew.
	Load() (State, error)
	Save(State) error
}

// Gate is the one way to the server. Its methods may be called from any
// goroutine.
type Gate struct {
	mu     sync.Mutex // guards what follows
	memory Memory
	state  State
	own    bucket // of the daemon's own calls
	all    bucket
	claim  int // so many tokens are kept for the daemon's own calls
	err    error
	abuse  abuse
	freed  func()        // called when players' calls may leave earlier than before
	shuts  chan struct{} // receives when a player has had the gate shut
}

// New returns the gate as an earlier run of this boot left it. The bucket is
// full at the first run of a boot. At a later one it holds what has flowed in
// since the last call left. If that can't be known it is empty: [Gate.Err] says
// why.
func New(bootID string, now time.Duration, memory Memory) *Gate {
	if bootID == "" {
		memory = nowhere{}
	}
	g := &Gate{memory: memory, claim: 1, abuse: newAbuse(now), freed: func() {}, shuts: make(chan struct{}, 1)}
	saved, err := memory.Load()
	g.state, g.err = recall(bootID, now, saved, err)
	if g.err != nil {
		g.state.Last = now
	}
	// A run that can't save its state for the next one gets no burst either. What
	// is saved already is not saved again: where /run is on a disk that takes longer
	// than the rest of a start.
	if err != nil || !reflect.DeepEqual(g.state, saved) {
		if err := memory.Save(g.state); err != nil {
			g.err, g.state.Last = err, now
		}
	}
	g.drain(g.state.Last)
	g.drain(g.shut() - minShut)
	return g
}

// recall returns the state to begin with, from what [Memory.Load] returned.
func recall(bootID string, now time.Duration, s State, err error) (State, error) {
	full := State{BootID: bootID, Last: now - capacity*time.Second}
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && s.BootID != bootID:
		return full, nil
	case err != nil:
		return full, err
	case s.Last > now:
		return full, errors.New("the last call left in the future")
	}
	s.Shut, s.Earlier = min(s.Shut, now+maxShut), min(s.Earlier, now+maxShut)
	s.Throttled, s.Row = min(max(s.Throttled, 0), now), min(max(s.Row, 0), mostDoublings+1)
	return s, nil
}

// nowhere is the Memory of a boot that has no id: no state can be recognised as
// one of the same boot.
type nowhere struct{}

var errNoBootID = errors.New("the kernel has no boot id, or no boot clock")

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
// daemon's own may leave together: at most ownBurst.
func (g *Gate) OpensFor(calls int, now time.Duration) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return max(now, g.shut(), g.own.holds(calls), g.all.holds(calls))
}

// Claim keeps tokens of the bucket for calls of the daemon's own that are due.
// Players' calls always leave it one: a claim for less is a claim for one.
func (g *Gate) Claim(calls int) {
	calls = max(calls, 1)
	g.mu.Lock()
	frees := calls < g.claim
	g.claim = calls
	g.mu.Unlock()
	if frees {
		g.freed()
	}
}

// Leave lets a call of the daemon's own leave, which [Gate.Opens] has allowed.
// Leave saves that before it returns.
func (g *Gate) Leave(now time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.own = g.own.take(ownBurst, now)
	g.leave(now)
}

// LeaveNamed is Leave for a call that counts as unanswered until
// [Gate.Answered]. If it stays unanswered, the next run knows how often that
// happened, and repeats the call no sooner than at next, a reading of the boot
// clock.
func (g *Gate) LeaveNamed(name string, next, now time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.note(name, Unanswered{Count: g.state.Unanswered[name].Count + 1, Next: next})
	g.own = g.own.take(ownBurst, now)
	g.leave(now)
}

// players returns when the gate opens, and the bucket that players' calls have
// then: without the tokens that are kept for the daemon's own calls.
func (g *Gate) players(now time.Duration) (opens time.Duration, b bucket) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.forPlayers(now)
}

func (g *Gate) forPlayers(now time.Duration) (opens time.Duration, b bucket) {
	opens = max(now, g.shut())
	return opens, g.all.atMost(g.capacity(opens), opens) + bucket(g.claim)*bucket(time.Second)
}

// leavePlayers lets a call of a player leave if it may, and reports whether it
// did.
func (g *Gate) leavePlayers(now time.Duration) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if opens, b := g.forPlayers(now); max(opens, b.holds(1)) > now {
		return false
	}
	g.leave(now)
	return true
}

func (g *Gate) leave(now time.Duration) {
	g.all = g.all.take(g.capacity(now), now)
	g.abuse.leaves(g.state.Last, now)
	g.state.Last = now
	g.save()
}

// giveBack returns the token of a player's call that did not leave.
func (g *Gate) giveBack() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all -= bucket(time.Second)
}

// Answered notes that a call of that name has ended in any way.
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
