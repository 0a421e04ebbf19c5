package broker

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/tvpassd/tvpassd/daemon/dcr"
	"github.com/tvpassd/tvpassd/ipc"
	"github.com/tvpassd/tvpassd/storage"
)

func TestFirstTokenTakesOneRegistration(t *testing.T) {
	l := newLab(t)
	l.expectState(ipc.StateRegistering)
	l.pass(10 * time.Second)
	l.expectState(ipc.StateReady)
	l.expectCounts(1, 1)
	for range 20 { // and never another, however often the daemon is restarted
		l.start()
		l.pass(time.Minute)
	}
	l.expectCounts(1, 1)
}

// arrivals is how long after now each app has a token.
func (l *lab) arrivals(within time.Duration) (mean time.Duration, each map[string]time.Duration) {
	l.t.Helper()
	each = map[string]time.Duration{}
	for begin := l.clock.boot; l.clock.boot < begin+within && len(each) < len(l.setup.Apps); l.pass(10 * time.Millisecond) {
		for _, m := range l.engine.active {
			if _, had := each[m.app.ID]; m.valid(l.clock.Now()) && !had {
				each[m.app.ID] = l.clock.boot - begin
			}
		}
	}
	for _, app := range l.setup.Apps {
		if _, has := each[app.ID]; !has {
			l.t.Fatalf("%s has no token after %v: %v", app.ID, within, each)
		}
		mean += each[app.ID] / time.Duration(len(l.setup.Apps))
	}
	return mean, each
}

// A device that boots has its tokens as soon as the network and the throttle let
// it: nothing else is waited for.
func TestTheFirstTokenComesAtOnce(t *testing.T) {
	for _, tc := range []struct {
		name           string
		apps           []string
		first, expired time.Duration // means, at most
	}{
		{"one app", []string{"a"}, 170 * time.Millisecond, 90 * time.Millisecond},
		{"five apps", []string{"a", "b", "c", "d", "e"}, 3400 * time.Millisecond, 700 * time.Millisecond},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLab(t, tc.apps...)
			if mean, each := l.arrivals(time.Minute); mean > tc.first {
				t.Errorf("a first start takes %v, want %v at most: %v", mean, tc.first, each)
			}
			l.advance(labLife)
			l.start()
			if mean, each := l.arrivals(time.Minute); mean > tc.expired {
				t.Errorf("with expired tokens it takes %v, want %v at most: %v", mean, tc.expired, each)
			}
			if !fitsBucket(l.requests, 3) {
				t.Error("requests exceed a burst of 3 at 1 a second")
			}
		})
	}
}

func TestShortLivesDoNotStarveAnotherApp(t *testing.T) {
	l := newLab(t, "a", "b", "c")
	l.answer = func(r request) (any, error) {
		answer, err := l.healthy(r)
		if tok, ok := answer.(dcr.Token); ok && r.app != "c" {
			tok.ExpiresIn = time.Second
			return tok, err
		}
		return answer, err
	}
	l.pass(20 * time.Second)
	if m := l.engine.machine("c"); !m.valid(l.clock.Now()) {
		t.Error("c has no token after 20 s")
	}
	served := l.engine.machine("c").rec.Token
	l.pass(labLife*2/3 + patience + 20*time.Second)
	if l.engine.machine("c").rec.Token == served {
		t.Error("the token of c was not refreshed in time")
	}
}

func TestAKillInTheMiddleOfATokenCallBacksOff(t *testing.T) {
	l := newLab(t)
	l.pass(10 * time.Second)
	l.advance(labLife)
	l.requests = nil
	l.latency = time.Minute
	for begin := l.clock.boot; l.clock.boot < begin+10*time.Minute; {
		l.start()
		l.pass(300 * time.Millisecond)
	}
	if n := len(l.requests); n < 5 || n > 15 {
		t.Errorf("%d requests in ten minutes of kills", n)
	}
	l.latency = 80 * time.Millisecond
	l.pass(15 * time.Minute)
	l.expectState(ipc.StateReady)
	l.start()
	l.engine.refresh(l.machine(), l.clock.Now())
	l.pass(time.Second)
	if n := l.engine.gate.Unanswered(l.machine().key()).Count; n != 0 {
		t.Errorf("%d calls still count as unanswered", n)
	}
}

func TestNoRestartExceedsTheBucket(t *testing.T) {
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 5))
		l := newLab(t, "a", "b", "c", "d", "e")
		for range 200 {
			l.memory.fails = nil
			if random.IntN(4) == 0 {
				l.memory.fails = errDisk
			}
			l.start()
			for _, m := range l.engine.active {
				l.engine.refresh(m, l.clock.Now())
			}
			l.pass(logUniform(random, time.Millisecond, 5*time.Second))
		}
		if !fitsBucket(l.requests, 3) {
			t.Fatalf("seed %d: restarts exceed a burst of 3 at 1 a second", seed)
		}
	}
}

func TestRefreshIsDrawnOnceBeforeTwoThirdsOfTheLife(t *testing.T) {
	for _, tc := range []struct {
		name    string
		happens func(*lab) // before the token comes
		from    float64
	}{
		{"in a quiet time", func(l *lab) { l.engine.refresh(l.machine(), l.clock.Now()) }, 0.6},
		{"after a start", func(l *lab) {
			l.advance(labLife)
			l.start()
		}, 0.2},
		{"after a registration", func(l *lab) {
			if err := l.engine.reset(l.machine(), l.clock.Now()); err != nil {
				t.Fatal(err)
			}
		}, 0.2},
		{"after a failure", func(l *lab) {
			l.answer = func(request) (any, error) { return nil, errOffline }
			l.engine.refresh(l.machine(), l.clock.Now())
			l.pass(time.Second)
			l.answer = l.healthy
			l.pass(10 * time.Second)
		}, 0.2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			low, high := labLife, time.Duration(0)
			for seed := range uint64(200) {
				l := newLab(t)
				l.random = rand.New(rand.NewPCG(seed, 0))
				l.start()
				l.pass(10 * time.Second)
				tc.happens(l)
				l.pass(10 * time.Second)
				before := len(l.requests)
				drawn := l.store.apps[labEndpoint+"ref30"].Token.RefreshAfter
				for len(l.requests) == before {
					l.start() // which does not draw again
					l.pass(time.Minute * 5)
				}
				if after := l.requests[before].at.Sub(l.requests[before-1].at); after < drawn || after > drawn+startSpread {
					t.Fatalf("refreshed after %v, drawn was %v", after, drawn)
				}
				low, high = min(low, drawn), max(high, drawn)
			}
			from, to := time.Duration(tc.from*float64(labLife)), labLife*2/3
			if low < from || high > to || high-low < (to-from)*3/4 {
				t.Errorf("refreshes lie between %v and %v, want %v to %v", low, high, from, to)
			}
		})
	}
}

func TestOldTokenIsServedWhileRefreshingFails(t *testing.T) {
	l := newLab(t)
	l.pass(10 * time.Second)
	first := l.served()
	l.answer = func(request) (any, error) { return nil, errOffline }
	l.pass(5*time.Hour + 50*time.Minute)
	if l.served() != first {
		t.Fatal("the old token is gone before it expired")
	}
	l.expectState(ipc.StateStale)
	l.pass(20 * time.Minute)
	if tok := l.served(); tok != "" {
		t.Fatalf("%q is served after its expiry", tok)
	}
	l.expectState(ipc.StateWaiting)
	l.answer = l.healthy
	l.pass(15*time.Minute + time.Second)
	l.expectState(ipc.StateReady)
}

func TestDueWorkIsSpreadOnlyBehindAValidToken(t *testing.T) {
	l := newLab(t)
	l.pass(10 * time.Second)
	l.clock.boot += 5 * time.Hour // the daemon was down
	l.world, l.clock.wall = l.world.Add(5*time.Hour), l.clock.wall.Add(5*time.Hour)
	var delays []time.Duration
	saved := l.store.apps[labEndpoint+"ref30"]
	for seed := range uint64(50) {
		l.store.apps[labEndpoint+"ref30"] = saved
		l.random = rand.New(rand.NewPCG(seed, 1))
		l.requests = nil
		l.start()
		begin := l.world
		l.pass(31 * time.Second)
		l.expectCounts(0, 1)
		delays = append(delays, l.requests[0].at.Sub(begin))
		l.clock.boot -= 31 * time.Second
		l.world, l.clock.wall = l.world.Add(-31*time.Second), l.clock.wall.Add(-31*time.Second)
	}
	var late int
	for _, d := range delays {
		if d > 10*time.Second {
			late++
		}
	}
	if late < 10 || late == len(delays) {
		t.Errorf("refreshes after a start are not spread over 30 s: %v", delays)
	}

	saved.Token = nil
	l.store.apps[labEndpoint+"ref30"] = saved
	l.requests = nil
	l.start()
	begin := l.world
	l.pass(2 * time.Second)
	l.expectCounts(0, 1)
	if d := l.requests[0].at.Sub(begin); d > 1100*time.Millisecond {
		t.Errorf("an app without a token waited %v", d)
	}
}

func TestAPlayerWhoWaitsCutsTheSpreadShort(t *testing.T) {
	l := newLab(t)
	l.pass(10 * time.Second)
	for range 20 {
		l.start()
		l.machine().awaited(l.engine.at(l.clock.Now()))
		l.pass(time.Minute)
	}
	l.expectCounts(1, 1) // nobody hastens a refresh that is not due

	l.answer = func(request) (any, error) { return nil, errOffline }
	for seed := range uint64(20) {
		l.reboot(0, l.world, true)
		l.store.apps[labEndpoint+"ref30"] = aged(l.store.apps[labEndpoint+"ref30"], l.world.Add(-labLife*3/4))
		l.random = rand.New(rand.NewPCG(seed, 1))
		l.requests = nil
		l.start()
		l.machine().awaited(l.engine.at(l.clock.Now()))
		l.pass(10 * time.Millisecond)
		l.expectCounts(0, 1)
		l.pass(90 * time.Millisecond)
		l.machine().awaited(l.engine.at(l.clock.Now()))
		l.pass(900 * time.Millisecond) // a failure has its wait, whoever waits
		l.expectCounts(0, 1)
	}
}

// aged is a record whose token was asked for at a moment before this boot, and that knows of no trouble.
func aged(a storage.App, sent time.Time) storage.App {
	tok := *a.Token
	tok.Sent, tok.ServerSent = storage.Stamp{Wall: sent}, sent
	a.Token, a.Retry = &tok, nil
	return a
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

// fitsBucket tells whether requests fit the documented bucket: 11 at once, 1 a second.
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

func TestRestartsInALoopAreNoRequestLoop(t *testing.T) {
	for _, tc := range []struct {
		name string
		up   time.Duration
		most int // requests in two minutes
	}{
		{"killed while the first request is under way", 50 * time.Millisecond, 30},
		{"killed while the request is under way", 1050 * time.Millisecond, 30},
		{"killed after the failure", 1500 * time.Millisecond, 30},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLab(t)
			l.answer = func(request) (any, error) { return nil, errOffline }
			for begin := l.clock.boot; l.clock.boot < begin+2*time.Minute; {
				l.pass(tc.up)
				l.start()
			}
			if got := len(l.requests); got > tc.most || !fitsBucket(l.requests, 11) {
				t.Errorf("%d requests in two minutes of restarts", got)
			}
		})
	}
}

func TestBackoff(t *testing.T) {
	l := newLab(t)
	l.answer = func(request) (any, error) { return nil, errOffline }
	l.pass(12 * time.Hour)
	step := 4 * time.Second
	for i, gap := range l.gaps(0) {
		gap -= l.latency
		if gap < time.Second || gap > max(step, time.Second) {
			t.Errorf("attempt %d came %v after the one before, want 1 s to %v", i+2, gap, step)
		}
		step = min(2*step, 15*time.Minute)
	}
	if n := len(l.requests); n < 48 || n > 400 {
		t.Errorf("%d attempts in 12 hours", n)
	}
	l.answer = l.healthy
	l.pass(15*time.Minute + 5*time.Second)
	l.expectState(ipc.StateReady)
}

func TestBackoffTightensInTheLastTenthOfALife(t *testing.T) {
	for seed := range uint64(30) {
		l := newLab(t)
		l.random = rand.New(rand.NewPCG(seed, 3))
		l.start()
		l.pass(10 * time.Second)
		expires := l.clock.boot + labLife
		l.answer = func(request) (any, error) { return nil, errOffline }
		l.pass(expires - labLife/10 - l.clock.boot)
		before := len(l.requests)
		l.pass(labLife/10 - 30*time.Second)
		for _, gap := range l.gaps(before - 1)[1:] {
			if gap > urgentWait+l.latency {
				t.Fatalf("seed %d: %v between attempts while the token runs out", seed, gap)
			}
		}
		if len(l.requests) == before {
			t.Fatalf("seed %d: no attempt while the token runs out", seed)
		}
	}
}

func TestAWaitingPlayerChangesNothing(t *testing.T) {
	l := newLab(t)
	l.answer = func(request) (any, error) { return nil, errOffline }
	quiet := newLab(t)
	quiet.answer = l.answer
	for range 3600 {
		l.pass(time.Second)
		l.served()
		quiet.pass(time.Second)
	}
	if len(l.requests) != len(quiet.requests) {
		t.Errorf("%d requests with a player asking every second, %d without", len(l.requests), len(quiet.requests))
	}
}

func TestALinkThatComesUpCutsTheWaitShort(t *testing.T) {
	l := newLab(t)
	l.answer = func(request) (any, error) { return nil, errOffline }
	l.pass(3 * time.Hour)
	l.answer = l.healthy
	l.engine.nudge(l.clock.Now())
	l.pass(5 * time.Second)
	l.expectState(ipc.StateReady)

	// A link that flaps every second is no request loop.
	flapping := newLab(t)
	flapping.answer = func(request) (any, error) { return nil, errOffline }
	flapping.pass(3 * time.Hour)
	before := len(flapping.requests)
	for range 600 {
		flapping.engine.nudge(flapping.clock.Now())
		flapping.pass(time.Second)
	}
	if n := len(flapping.requests) - before; n > 25 {
		t.Errorf("%d requests in ten minutes of a flapping link", n)
	}
}
