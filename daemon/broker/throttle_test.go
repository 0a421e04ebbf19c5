package broker

import (
	"strings"
	"testing"
	"time"

	"github.com/tvpassd/tvpassd/daemon/dcr"
	"github.com/tvpassd/tvpassd/daemon/throttle"
	"github.com/tvpassd/tvpassd/ipc"
)

// throttleOnce makes the server answer one 429 with a Retry-After of an hour.
func (l *lab) throttleOnce() {
	once := true
	l.answer = func(r request) (any, error) {
		if once {
			once = false
			return nil, &dcr.Error{Kind: dcr.Throttled, RetryAfter: time.Hour}
		}
		return l.healthy(r)
	}
}

func TestRetryAfterIsForgottenOnceItIsOver(t *testing.T) {
	l := newLab(t)
	l.setup.TLS = false
	l.start()
	l.throttleOnce()
	l.pass(2 * time.Hour)
	l.expectState(ipc.StateReady)
	l.reboot(24*time.Hour, time.Unix(0, 0), false)
	l.pass(trustWait + time.Second)
	l.expectState(ipc.StateReady)
}

func TestAShorterRetryAfterDoesNotReplaceALongerOne(t *testing.T) {
	l := newLab(t, "a", "b", "c")
	l.pass(10 * time.Second)
	waits := []time.Duration{time.Hour, 2 * time.Second}
	l.answer = func(request) (any, error) {
		e := &dcr.Error{Kind: dcr.Throttled, RetryAfter: waits[0]}
		waits = waits[1:]
		return nil, e
	}
	for _, app := range []string{"a", "b"} {
		l.engine.refresh(l.engine.machine(app), l.clock.Now())
	}
	l.pass(time.Second)
	l.start()
	l.answer, l.requests = l.healthy, nil
	l.engine.refresh(l.engine.machine("c"), l.clock.Now())
	l.pass(30 * time.Minute)
	if len(l.requests) > 0 {
		t.Errorf("%d requests within the longer Retry-After", len(l.requests))
	}
}

func TestAThrottledAnswerForAnAppThatWasReset(t *testing.T) {
	l := newLab(t)
	l.latency = 2 * time.Second
	l.throttleOnce()
	l.pass(1100 * time.Millisecond) // the registration is under way
	if err := l.engine.reset(l.machine(), l.clock.Now()); err != nil {
		t.Fatal(err)
	}
	l.setup.Apps = append(l.setup.Apps, App{ID: "late", SoftwareStatement: "s"})
	l.pass(2 * time.Second) // it is throttled
	l.requests = nil
	if err := l.engine.configure(l.setup, l.clock.Now()); err != nil {
		t.Fatal(err)
	}
	l.pass(30 * time.Minute)
	if len(l.requests) > 0 {
		t.Errorf("%d requests within Retry-After", len(l.requests))
	}
}

func TestThrottledClosesTheGateForEveryApp(t *testing.T) {
	for _, tc := range []struct {
		name             string
		retryAfter, want time.Duration
	}{
		{"no Retry-After", 0, time.Second},
		{"a Retry-After of 40 s", 40 * time.Second, 40 * time.Second},
		{"one beyond an hour", 5 * time.Hour, time.Hour},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLab(t, "a", "b", "c")
			l.answer = func(r request) (any, error) {
				if len(l.requests) <= 2 { // the burst, but for the token of one of them
					return nil, &dcr.Error{Kind: dcr.Throttled, RetryAfter: tc.retryAfter}
				}
				return l.healthy(r)
			}
			l.pass(100 * time.Millisecond)
			l.expectCounts(2, 0)
			l.start() // a restart does not open it
			l.pass(2 * time.Hour)
			if gap := l.gaps(0)[1]; gap < tc.want || gap > tc.want+2*time.Second {
				t.Errorf("the next request left after %v, want %v", gap, tc.want)
			}
			if r := l.count(callRegister); r != 5 {
				t.Errorf("%d registrations for three apps, two of them throttled once", r)
			}
		})
	}
}

func TestAnAppWaitsWhileTheGateIsShut(t *testing.T) {
	l := newLab(t)
	l.pass(10 * time.Second)
	l.answer = func(request) (any, error) { return nil, &dcr.Error{Kind: dcr.Throttled, RetryAfter: 2 * time.Minute} }
	l.engine.refresh(l.machine(), l.clock.Now())
	l.pass(time.Second)
	l.answer = l.healthy
	if err := l.engine.reset(l.machine(), l.clock.Now()); err != nil {
		t.Fatal(err)
	}
	l.setup.Apps = append(l.setup.Apps, App{ID: "late", SoftwareStatement: "s"})
	if err := l.engine.configure(l.setup, l.clock.Now()); err != nil {
		t.Fatal(err)
	}
	for passed := time.Duration(0); passed < 2*time.Minute; passed += 10 * time.Second {
		now := l.clock.Now()
		for _, m := range l.engine.active {
			v := l.engine.view(m, now)
			next, planned := v.NextCall(now)
			left := 2*time.Minute - passed
			if v.State(now) != ipc.StateWaiting || !planned || (next-left).Abs() > 2*time.Second {
				t.Fatalf("%v before the gate opens %s is %s, and called for in %v", left, m.app.ID, v.State(now), next)
			}
		}
		l.pass(10 * time.Second)
	}
	l.pass(10 * time.Second)
	l.expectState(ipc.StateReady)
	if late := *l.engine.machine("late").rec.Transitions; len(late) != 1 || late[0].State != ipc.StateReady {
		t.Errorf("the wait is told: %v", late)
	}
}

// A 429 to a call of a player is stored if it lasts: short ones would wear the
// flash out.
func TestAPlayers429(t *testing.T) {
	l := newLab(t)
	l.pass(10 * time.Second)
	queue := throttle.NewQueue(l.engine.gate)
	refuse := func(call *throttle.Ticket, retryAfter time.Duration) {
		if err := queue.Throttled(call, retryAfter, 0, l.clock.Now().Boot); err == nil {
			t.Fatal("the call waits, though its wait is over")
		}
		<-l.engine.gate.Shuts() // wakes the broker
		l.engine.step(l.clock.Now())
	}
	for range 50 {
		now := l.clock.Now().Boot
		if _, err := queue.Enter("ref30", time.Minute, now); err != nil {
			t.Fatal(err)
		}
		left, _, _ := queue.Advance(now)
		refuse(left[0], 2*time.Second)
		l.pass(10 * time.Second)
	}
	if l.store.shuts != 0 {
		t.Errorf("short ones are stored %d times", l.store.shuts)
	}
	var flying []*throttle.Ticket
	for range 4 { // they are refused one after the other
		if _, err := queue.Enter("ref30", time.Minute, l.clock.Now().Boot); err != nil {
			t.Fatal(err)
		}
	}
	l.pass(10 * time.Second)
	flying, _, _ = queue.Advance(l.clock.Now().Boot)
	for _, call := range flying {
		refuse(call, time.Hour)
		l.pass(100 * time.Millisecond)
	}
	if l.store.shuts != 1 || l.store.gate.Wait != time.Hour {
		t.Errorf("long ones to %d calls are stored %d times, as %v", len(flying), l.store.shuts, l.store.gate.Wait)
	}
	l.reboot(time.Minute, l.world, true)
	l.engine.refresh(l.machine(), l.clock.Now())
	l.requests = nil
	l.pass(30 * time.Minute)
	if len(l.requests) > 0 {
		t.Errorf("%d calls within Retry-After", len(l.requests))
	}
}

// While a registration waits, players do not take the tokens that it needs.
func TestPlayersDoNotHoldARegistrationBack(t *testing.T) {
	l := newLab(t, "a", "b")
	l.pass(time.Minute)
	queue := throttle.NewQueue(l.engine.gate)
	now := l.clock.Now()
	for n := range 16 {
		if _, err := queue.Enter(string(rune('a'+n%2)), time.Minute, now.Boot); err != nil {
			t.Fatal(err)
		}
	}
	left, _, _ := queue.Advance(now.Boot)
	for _, call := range left {
		queue.End(call, now.Boot)
	}
	for _, m := range l.engine.machines {
		if err := l.engine.reset(m, now); err != nil {
			t.Fatal(err)
		}
	}
	l.engine.step(now)
	registers := l.engine.gate.OpensFor(2, now.Boot)
	if _, _, next := queue.Advance(now.Boot); registers == now.Boot || next <= registers {
		t.Errorf("a player's call may leave in %v, a registration in %v", next-now.Boot, registers-now.Boot)
	}
}

func TestTheGateKeepsWithinTheBucket(t *testing.T) {
	apps := strings.Split("abcdefghijklmnopqrst", "")
	l := newLab(t, apps...)
	l.pass(time.Minute)
	if l.count(callRegister) != len(apps) || l.count(callToken) != len(apps) {
		t.Fatalf("%d apps made %d requests", len(apps), len(l.requests))
	}
	if !fitsBucket(l.requests, 3) {
		t.Error("requests exceed a burst of 3 at 1 a second")
	}

	// After a long rest three leave together, and then one a second.
	l.requests = nil
	for _, id := range apps {
		l.engine.refresh(l.engine.machine(id), l.clock.Now())
	}
	l.pass(10 * time.Second)
	if got := len(l.requests); got < 11 || got > 13 || !fitsBucket(l.requests, 3) {
		t.Errorf("%d requests in 10 s", got)
	}
}

// fitsBucket reports whether requests fit the documented bucket: 11 at once, 1 a
// second.
func fitsBucket(requests []request, capacity float64) bool {
	level, last := capacity, time.Time{}
	for _, r := range requests {
		if !last.IsZero() {
			level = min(capacity, level+r.at.Sub(last).Seconds())
		}
		last = r.at
		if level -= 1; level < -1e-6 {
			return false
		}
	}
	return true
}
