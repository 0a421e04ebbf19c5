package broker

import (
	"math/rand/v2"
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
	begin := l.clock.boot
	for ; l.clock.boot < begin+within && len(each) < len(l.setup.Apps); l.pass(10 * time.Millisecond) {
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

// A device that boots has its tokens as soon as the network and the throttle
// allow: it waits for nothing else.
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
		{"after a start with a token that was not due", func(l *lab) {
			l.start()
			l.engine.refresh(l.machine(), l.clock.Now())
		}, 0.6},
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

// aged returns a record without trouble, whose token was requested before this
// boot.
func aged(a storage.App, sent time.Time) storage.App {
	tok := *a.Token
	tok.Sent, tok.ServerSent = storage.Stamp{Wall: sent}, sent
	a.Token, a.Retry = &tok, nil
	return a
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
