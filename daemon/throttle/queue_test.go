package throttle

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// desk is a queue with a clock, and names for its calls.
type desk struct {
	t     *testing.T
	gate  *Gate
	queue *Queue
	now   time.Duration
	names map[*Ticket]string
	calls map[string]*Ticket
	left  []string // since the last look
	late  []string // likewise
}

func newDesk(t *testing.T) *desk {
	g := New("b", start, empty())
	return &desk{t: t, gate: g, queue: NewQueue(g), now: start, names: map[*Ticket]string{}, calls: map[string]*Ticket{}}
}

// busy is a desk whose bucket holds one token, which is the daemon's.
func busy(t *testing.T) *desk {
	d := newDesk(t)
	d.gate.all = bucket(start - time.Second)
	return d
}

// enter puts calls into the queue, each named by its app and a number.
func (d *desk) enter(wait time.Duration, names ...string) {
	d.t.Helper()
	for _, name := range names {
		if err := d.try(name, wait); err != nil {
			d.t.Fatalf("%s: %v", name, err)
		}
	}
}

func (d *desk) try(name string, wait time.Duration) error {
	tk, err := d.queue.Enter(name[:1], wait, d.now)
	if err == nil {
		d.names[tk], d.calls[name] = name, tk
		d.advance()
	}
	return err
}

func (d *desk) advance() (next time.Duration) {
	left, late, next := d.queue.Advance(d.now)
	for _, tk := range left {
		d.left = append(d.left, d.names[tk])
	}
	for _, tk := range late {
		d.late = append(d.late, d.names[tk])
	}
	if next <= d.now {
		d.t.Fatalf("the next look is due %v ago", d.now-next)
	}
	return next
}

// pass advances the clock.
func (d *desk) pass(t time.Duration) {
	end := d.now + t
	for {
		next := d.advance()
		if next > end {
			break
		}
		d.now = next
	}
	d.now = end
	d.advance()
}

// end ends calls.
func (d *desk) end(names ...string) {
	for _, name := range names {
		d.queue.End(d.calls[name], d.now)
	}
}

// land ends all calls in flight.
func (d *desk) land() {
	for name, tk := range d.calls {
		if tk.state == ticketFlies {
			d.end(name)
		}
	}
}

// expect compares the calls that left with those that should have.
func (d *desk) expect(want string) {
	d.t.Helper()
	if got := strings.Join(d.left, " "); got != want {
		d.t.Errorf("%q left, want %q", got, want)
	}
	d.left = nil
}

func (d *desk) expectLate(want string) {
	d.t.Helper()
	if got := strings.Join(d.late, " "); got != want {
		d.t.Errorf("%q waited in vain, want %q", got, want)
	}
	d.late = nil
}

func numbered(app string, n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprint(app, i+1))
	}
	return names
}

func TestTheFirstCallsLeaveAtOnce(t *testing.T) {
	d := newDesk(t)
	d.enter(0, "a1", "a2", "a3", "a4", "b1", "b2", "b3", "b4")
	d.expect("a1 a2 a3 a4 b1 b2 b3 b4")
	d.end(numbered("a", 4)...)
	d.enter(0, "a5")
	d.expect("a5")
	if d.try("a6", 0) == nil {
		d.advance()
	}
	d.expectLate("a6") // the last token is the daemon's
	if at := d.gate.Opens(d.now); at != d.now {
		t.Errorf("a call of the daemon's own waits %v", at-d.now)
	}
}

func TestAppsTakeTurns(t *testing.T) {
	d := busy(t)
	d.enter(time.Minute, "a1", "a2", "a3", "b1", "a4", "c1", "b2")
	for range 7 {
		d.pass(time.Second)
		d.land()
	}
	d.expect("c1 a1 b1 a2 b2 a3 a4")
}

// An app that polls does not wait for those that flood, however many there are,
// and those are not starved by many that poll.
func TestPollersOvertakeFloods(t *testing.T) {
	for _, tc := range []struct {
		floods, polls string        // by app
		waits         time.Duration // of a poll, at most
		turns         int           // of each app that floods, at least
	}{
		{"a", "p", time.Second, 79},
		{"abcde", "p", time.Second, 15},
		{"abcdefgh", "p", time.Second, 9},
		{"abcd", "pq", 2 * time.Second, 9}, // mostOvertake is enough for both
		{"ab", "pqrs", 9 * time.Second, 15},
	} {
		t.Run(tc.floods+" "+tc.polls, func(t *testing.T) {
			d := busy(t)
			turns, asked := map[byte]int{}, map[byte]time.Duration{}
			for i := range 1200 {
				for j := range len(tc.floods) {
					_ = d.try(fmt.Sprint(tc.floods[j:j+1], i), 5*time.Second) // most are told at once that there is no room
				}
				for j := range len(tc.polls) {
					if app := tc.polls[j]; d.now >= asked[app]+3*time.Second && d.queue.Load(string(app)).Waiting == 0 {
						asked[app] = d.now
						d.enter(20*time.Second, fmt.Sprint(string(app), i))
					}
				}
				d.pass(100 * time.Millisecond)
				for _, name := range d.left {
					app := name[0]
					turns[app]++
					if waited := d.now - asked[app]; strings.Contains(tc.polls, name[:1]) && waited > tc.waits {
						t.Errorf("%s waits %v", name, waited)
					}
				}
				d.left = nil
				d.land()
			}
			for j := range len(tc.floods) {
				if n, first := turns[tc.floods[j]], turns[tc.floods[0]]; n < tc.turns || n < first-2 || n > first+2 {
					t.Errorf("%c has %d turns, want at least %d, and as many as others", tc.floods[j], n, tc.turns)
				}
			}
		})
	}
}

// An app whose calls follow one another at once does not poll: it overtakes for a
// start, and then takes turns.
func TestAppsThatAskOftenTakeTurns(t *testing.T) {
	d := busy(t)
	d.enter(time.Minute, numbered("a", 8)...)
	for i := range 8 {
		d.enter(time.Minute, fmt.Sprint("b", i+1))
		for d.queue.Load("b").Waiting > 0 {
			d.pass(100 * time.Millisecond)
			d.land()
		}
	}
	d.expect("b1 b2 a1 b3 a2 b4 a3 b5 a4 b6 a5 b7 a6 b8")
}

func TestADueCallOfTheDaemonOvertakesTheQueue(t *testing.T) {
	d := busy(t)
	d.enter(time.Minute, numbered("a", 8)...)
	d.enter(time.Minute, numbered("b", 8)...)
	for range 20 {
		d.pass(300 * time.Millisecond)
		d.land()
		if at := d.gate.Opens(d.now); at > d.now+time.Second {
			t.Fatalf("a call of the daemon's own waits %v", at-d.now)
		}
	}
	if at := d.gate.Opens(d.now); at != d.now {
		t.Fatalf("it waits %v", at-d.now)
	}
	d.gate.Leave(d.now)
	d.left = nil
	d.gate.Claim(2)
	for d.gate.OpensFor(2, d.now) > d.now {
		d.pass(100 * time.Millisecond)
	}
	d.expect("")
	d.gate.Leave(d.now)
	d.gate.Claim(0)
	d.pass(time.Second)
	if len(d.left) == 0 {
		t.Error("the claim outlasts the calls")
	}
}

func TestRoom(t *testing.T) {
	d := busy(t)
	for _, app := range []string{"a", "b", "c"} {
		d.enter(time.Minute, numbered(app, 8)...)
		err := d.try(app+"9", time.Minute)
		if shut, ok := errors.AsType[*ShutError](err); !ok || shut.RetryAfter < 8*time.Second {
			t.Errorf("a ninth call of %s: %v", app, err)
		}
	}
	d.enter(time.Minute, numbered("d", 8)...)
	d.expectLate("")
	d.enter(time.Minute, "e1", "e2") // two of others make room
	if len(d.late) != 2 || d.queue.Total() != (Load{Waiting: 32}) {
		t.Errorf("%v made room, the load is %v", d.late, d.queue.Total())
	}
	if got := d.queue.Load("e"); got != (Load{Waiting: 2}) {
		t.Errorf("the load of e is %v", got)
	}
}

func TestInFlight(t *testing.T) {
	d := newDesk(t)
	d.enter(time.Minute, numbered("a", 6)...)
	d.enter(time.Minute, numbered("b", 3)...)
	d.enter(time.Minute, numbered("c", 3)...)
	d.pass(10 * time.Second)
	d.expect("a1 a2 a3 a4 b1 b2 b3 c1")
	d.end("a1")
	d.pass(time.Second)
	d.expect("a5")
	d.end("b2", "b2")
	d.pass(time.Second)
	d.expect("c2")
	if got := d.queue.Total(); got != (Load{Waiting: 2, Flying: 8}) {
		t.Errorf("the load is %v", got)
	}
}

func TestToldAtOnce(t *testing.T) {
	shut := func(t time.Duration) func(*desk) {
		return func(d *desk) { d.gate.Throttled(d.now, t, d.now) }
	}
	queuedFor := func(wait time.Duration, app string, n int) func(*desk) {
		return func(d *desk) {
			d.gate.all = bucket(d.now - time.Second)
			d.enter(wait, numbered(app, n)...)
		}
	}
	queued := func(app string, n int) func(*desk) { return queuedFor(time.Minute, app, n) }
	for _, tc := range []struct {
		name   string
		before func(*desk)
		wait   time.Duration
		want   time.Duration // to ask again after; 0: it may wait
	}{
		{"nothing in the way", func(*desk) {}, 0, 0},
		{"the gate is shut for longer", shut(40 * time.Second), 10 * time.Second, 41 * time.Second},
		{"the gate opens in time", shut(5 * time.Second), 10 * time.Second, 0},
		{"just within the margin", shut(10 * time.Second), 10 * time.Second, 0},
		{"just beyond the margin", shut(10 * time.Second), 10*time.Second - 1, 11 * time.Second},
		{"seven of the app", queued("x", 7), 6 * time.Second, 8 * time.Second},
		{"seven of another app", queued("y", 7), 6 * time.Second, 0},
		{"one before it will be gone", queuedFor(1500*time.Millisecond, "x", 2), 500 * time.Millisecond, 2 * time.Second},
		{"there is a spare one", queuedFor(1500*time.Millisecond, "x", 2), 1500 * time.Millisecond, 2 * time.Second},
		{"there is a spare one of another app", queuedFor(1500*time.Millisecond, "y", 2), 1500 * time.Millisecond, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := newDesk(t)
			tc.before(d)
			err := d.try("x8", tc.wait)
			var after time.Duration
			if shut, ok := errors.AsType[*ShutError](err); ok {
				after = shut.RetryAfter
			}
			if after != tc.want {
				t.Errorf("%v, want to ask again after %v", err, tc.want)
			}
		})
	}
}

func TestLeavers(t *testing.T) {
	d := busy(t)
	d.enter(time.Minute, "a1", "a2", "a3")
	d.end("a1", "a2")
	d.pass(time.Second)
	d.expect("a3")
	d.pass(3 * time.Second)
	d.enter(0, "a4", "a5", "a6") // nothing was spent on those who left
	d.expect("a4 a5 a6")
}

func TestAWaitThatEnds(t *testing.T) {
	d := busy(t)
	d.enter(1500*time.Millisecond, "a1", "a2")
	d.pass(1499 * time.Millisecond)
	d.expect("a1")
	d.expectLate("")
	d.pass(time.Millisecond)
	d.expectLate("a2")
	if err := d.queue.Late(d.calls["a2"], d.now); err.RetryAfter != time.Second {
		t.Errorf("to ask again after %v", err.RetryAfter)
	}
	if next := d.advance(); next != never {
		t.Errorf("with nobody waiting the queue wants to be looked at in %v", next-d.now)
	}
}

func TestA429GoesBackToTheHead(t *testing.T) {
	d := newDesk(t)
	d.enter(time.Minute, numbered("a", 4)...)
	d.enter(time.Minute, "a5", "a6")
	d.expect("a1 a2 a3 a4")
	d.now += 100 * time.Millisecond
	if err := d.queue.Throttled(d.calls["a2"], 0, time.Minute, d.now); err != nil {
		t.Fatal(err)
	}
	d.pass(time.Second - 1)
	d.expect("")
	d.pass(3 * time.Second)
	d.expect("a2")
	if err := d.queue.Throttled(d.calls["a2"], time.Hour, time.Minute, d.now); err == nil {
		t.Error("it waits, though the gate is shut for an hour")
	}
	d.end("a2")
	if got := d.queue.Total(); got != (Load{Waiting: 2, Flying: 3}) {
		t.Errorf("the load is %v", got)
	}
}

// FuzzQueue drives a queue by arbitrary bytes and checks what must always hold.
func FuzzQueue(f *testing.F) {
	f.Add([]byte("enter and leave and wait and 429"))
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 40, 80, 120, 200, 255, 1, 2, 3})
	f.Fuzz(func(t *testing.T, ops []byte) {
		c := crowd{desk: newDesk(t), held: capacityLeft{level: capacity, at: start}}
		for _, op := range ops {
			c.do(int(op%6), int(op/6))
			c.settle()
		}
	})
}

// crowd is a desk and everybody who stands at it.
type crowd struct {
	*desk
	held            capacityLeft
	flying, waiting []*Ticket
}

// do does one of six things, n says how.
func (c *crowd) do(op, n int) {
	switch op {
	case 0, 1:
		tk, err := c.queue.Enter(string(rune('a'+n%5)), time.Duration(n)*time.Second, c.now)
		if err == nil {
			c.waiting = append(c.waiting, tk)
		}
	case 2:
		c.now += time.Duration(n*n) * 10 * time.Millisecond
	case 3:
		if len(c.flying) > 0 {
			tk := c.flying[n%len(c.flying)]
			c.flying = without(c.flying, tk)
			if c.queue.Throttled(tk, time.Duration(n%7)*time.Second, time.Duration(n)*time.Second, c.now) == nil {
				c.waiting = append(c.waiting, tk)
			}
			c.held.shut = c.now + time.Second
		}
	case 4:
		if all := append(slices.Clone(c.flying), c.waiting...); len(all) > 0 {
			tk := all[n%len(all)]
			c.queue.End(tk, c.now)
			c.flying, c.waiting = without(c.flying, tk), without(c.waiting, tk)
		}
	case 5:
		if c.gate.Opens(c.now) == c.now {
			c.held.take(c.t, c.now)
			c.gate.Leave(c.now)
		}
	}
}

// settle lets leave what may, and checks the queue.
func (c *crowd) settle() {
	left, late, next := c.queue.Advance(c.now)
	for _, tk := range left {
		c.held.take(c.t, c.now)
		c.waiting = without(c.waiting, tk)
		c.flying = append(c.flying, tk)
	}
	for _, tk := range late {
		c.waiting = without(c.waiting, tk)
	}
	if next <= c.now {
		c.t.Fatalf("Advance asks to be called %v ago", c.now-next)
	}
	want := Load{len(c.waiting), len(c.flying)}
	if total := c.queue.Total(); total != want || total.Flying > mostFlying {
		c.t.Fatalf("the load is %v, want %v and at most %d in flight", total, want, mostFlying)
	}
}

func without(tickets []*Ticket, tk *Ticket) []*Ticket {
	return slices.DeleteFunc(tickets, func(other *Ticket) bool { return other == tk })
}

// capacityLeft is the documented bucket, and the second after a 429.
type capacityLeft struct {
	level    float64
	at, shut time.Duration
}

func (c *capacityLeft) take(t *testing.T, now time.Duration) {
	t.Helper()
	c.level = min(capacity, c.level+(now-c.at).Seconds()) - 1
	c.at = now
	if c.level < -1e-6 || now < c.shut {
		t.Fatalf("a call leaves with %v tokens in the bucket, %v before the gate opens", c.level+1, c.shut-now)
	}
}
