package broker

import (
	"strings"
	"testing"
	"time"

	"github.com/tvpassd/tvpassd/daemon/dcr"
	"github.com/tvpassd/tvpassd/ipc"
)

// deadServed fails the test if a token is served after its expiry by the
// server's clock.
func (l *lab) expectNoDeadToken(issuedAt time.Time) {
	l.t.Helper()
	if l.served() != "" && !l.world.Before(issuedAt.Add(labLife)) {
		l.t.Fatalf("a token is served %v after it was issued", l.world.Sub(issuedAt))
	}
}

func TestSuspendAgesTheToken(t *testing.T) {
	l := newLab(t)
	l.pass(10 * time.Second)
	issued := l.requests[1].at
	l.answer = func(request) (any, error) { return nil, errOffline }
	l.advance(7 * time.Hour) // nothing of the daemon ran
	l.expectNoDeadToken(issued)
	if l.served() != "" {
		t.Error("served after a night's sleep")
	}
}

func TestStepsOfTheWallClock(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for _, tc := range []struct {
		step    time.Duration
		vouched bool
		age     time.Duration // that it adds to a token
	}{
		{-40 * year, false, 0},
		{-time.Hour, false, 0},
		{time.Hour, false, 0},
		{11 * year, false, 0},
		{-time.Hour, true, 0},
		{time.Second, true, 0}, // a leap second
		{time.Hour, true, time.Hour},
		{labLife, true, labLife},
		{11 * year, true, 11 * year},
	} {
		l := newLab(t)
		l.pass(10 * time.Second)
		first := l.served()
		before, _ := l.token()
		l.clock.wall, l.clock.synced = l.clock.wall.Add(tc.step), tc.vouched
		after, served := l.token() // before the daemon has looked
		if want := max(before.ExpiresIn-tc.age, 0); served != (want > 0) || (after.ExpiresIn-want).Abs() > wallSkew {
			t.Errorf("a step by %v (vouched for: %v) leaves %v of %v", tc.step, tc.vouched, after.ExpiresIn, before.ExpiresIn)
		}
		l.pass(time.Minute)
		if replaced := l.served() != first; replaced != (tc.age >= labLife) {
			t.Errorf("a step by %v (vouched for: %v) replaced the token: %v", tc.step, tc.vouched, replaced)
		}
	}
}

// token is what a player of the first app is shown of it now.
func (l *lab) token() (Token, bool) {
	return l.view().Token(l.clock.Now())
}

// On a device without a battery the boot clock and the wall clock stand still
// in a suspend, until the time service steps the wall clock by the night.
func TestABootClockThatStoodStill(t *testing.T) {
	const night = 8 * time.Hour
	for _, tc := range []struct {
		name  string
		knows func(*lab) // what tells
		dates bool       // answers had a Date before
	}{
		{"a step that is vouched for", func(l *lab) { l.clock.wall = l.world }, true},
		{"the same without any Date", func(l *lab) { l.clock.wall = l.world }, false},
		{"a step that is vouched for later", func(l *lab) {
			l.clock.wall, l.clock.synced = l.world, false
			l.pass(10 * time.Second)
			l.clock.synced = true
		}, true},
		{"a Date", func(l *lab) {
			l.engine.refresh(l.engine.machine("other"), l.clock.Now())
			l.pass(time.Second)
		}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLab(t, "a", "other")
			if !tc.dates {
				l.answer = func(r request) (any, error) { return withoutDate(l.healthy(r)) }
			}
			l.pass(10 * time.Second)
			first := l.served()
			l.world = l.world.Add(night) // and no clock of the device
			l.answer = func(r request) (any, error) {
				if r.app == "a" {
					return nil, errOffline
				}
				return l.healthy(r)
			}
			tc.knows(l)
			if tok := l.served(); tok != "" {
				t.Fatalf("%q is served %v after it was asked for", tok, night)
			}
			if tc.name == "a step that is vouched for later" {
				l.requests = nil
				l.pass(lookAgain + time.Second)
				if l.count(callToken) == 0 {
					t.Error("nobody asks for another token")
				}
			}
			l.answer = l.healthy
			l.pass(time.Minute)
			if tok := l.served(); tok == "" || tok == first {
				t.Errorf("then %q is served", tok)
			}
		})
	}
}

// withoutDate is an answer whose Date was stripped.
func withoutDate(answer any, err error) (any, error) {
	switch a := answer.(type) {
	case dcr.Credentials:
		a.Date = time.Time{}
		answer = a
	case dcr.Token:
		a.Date = time.Time{}
		answer = a
	}
	return answer, err
}

// A server with a cache of answers hands out old tokens.
func TestATokenOfEarlier(t *testing.T) {
	const hour = time.Hour
	for _, tc := range []struct {
		name    string
		age     time.Duration // of created_at, by the Date
		life    time.Duration
		want    time.Duration // what is left; 0: nothing
		dates   bool
		created bool
	}{
		{"fresh", 0, 6 * hour, 6 * hour, true, true},
		{"without created_at", 3 * hour, 6 * hour, 6 * hour, true, false},
		{"half a second ahead", -500 * time.Millisecond, 6 * hour, 6 * hour, true, true},
		{"whole seconds", time.Second, 10 * time.Second, 10 * time.Second, true, true},
		{"two hours old", 2 * hour, 6 * hour, 4 * hour, true, true},
		{"two hours old, a Date that was stripped", 2 * hour, 6 * hour, 4 * hour, false, true},
		{"expired", 7 * hour, 6 * hour, 0, true, true},
		{"just expired", 6 * hour, 6 * hour, 0, true, true},
		{"a clock that is a little ahead", -4 * time.Minute, 6 * hour, 6 * hour, true, true},
		{"a clock that is far ahead", -hour, 6 * hour, 6 * hour, true, true},
		{"more than a week old", 7*24*hour + time.Minute, 6 * hour, 6 * hour, true, true},
		{"almost a week old", 7*24*hour - time.Minute, 8 * 24 * hour, 24*hour + time.Minute, true, true},
		{"1970", labStart.Sub(time.Unix(7, 0)), 6 * hour, 6 * hour, true, true},
		{"a month", 0, 30 * 24 * hour, 7 * 24 * hour, true, true},
		{"a month, a week old", 6 * 24 * hour, 30 * 24 * hour, 7 * 24 * hour, true, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLab(t)
			l.answer = func(r request) (any, error) {
				answer, err := l.healthy(r)
				if tok, ok := answer.(dcr.Token); ok {
					tok.ExpiresIn = tc.life
					if tc.created {
						tok.CreatedAt = l.world.Add(-tc.age)
					}
					answer = tok
				}
				if !tc.dates {
					return withoutDate(answer, err)
				}
				return answer, err
			}
			l.pass(time.Second)
			tok, _ := l.token()
			if d := tc.want - tok.ExpiresIn; d.Abs() > 3*time.Second || tok.ExpiresIn < 0 {
				t.Errorf("%v are left, want %v", tok.ExpiresIn, tc.want)
			}
			if tc.want > 0 {
				return
			}
			if f := l.failure(); f.Code != ipc.CodeServerError || !strings.Contains(f.Detail, "created_at") {
				t.Errorf("the failure is %+v", f)
			}
			l.answer = l.healthy
			l.pass(time.Minute)
			l.expectState(ipc.StateReady)
		})
	}
}

func TestTokenOfAnEarlierBoot(t *testing.T) {
	for _, tc := range []struct {
		name   string
		off    time.Duration
		clock  time.Duration // the new boot's wall clock against the truth
		synced bool
		served bool
		calls  int // token requests in the first 5 s
		later  int // and until half a minute after the start
	}{
		{"a clock that the kernel vouches for", time.Hour, 0, true, true, 0, 0},
		{"expired meanwhile", 7 * time.Hour, 0, true, false, 1, 1},
		{"a right clock without a witness", time.Hour, 0, false, false, 0, 1},
		{"a clock restored from a file", 7 * time.Hour, -7 * time.Hour, false, false, 0, 1},
		{"1970", time.Hour, -56 * 365 * 24 * time.Hour, false, false, 0, 0},
		{"1970, and synchronised, says the kernel", time.Hour, -56 * 365 * 24 * time.Hour, true, false, 0, 0},
		{"2037", time.Hour, 11 * 365 * 24 * time.Hour, false, false, 1, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLab(t)
			l.pass(10 * time.Second)
			l.requests = nil
			first := l.served()
			l.reboot(tc.off, l.world.Add(tc.off+tc.clock), tc.synced)
			if got := l.served() == first; got != tc.served {
				t.Errorf("served: %v, want %v", got, tc.served)
			}
			l.pass(5 * time.Second)
			l.expectCounts(0, tc.calls)
			l.pass(trustWait - 4*time.Second)
			l.expectCounts(0, tc.later)
		})
	}
}

// A time service needs some seconds after a boot. Most tokens turn out to be good
// then, and need not be refreshed.
func TestAStoredTokenWaitsForTheTime(t *testing.T) {
	for _, off := range []time.Duration{time.Hour, 7 * time.Hour} {
		l := newLab(t)
		l.pass(10 * time.Second)
		l.requests = nil
		l.reboot(off, l.world.Add(time.Hour), false) // a clock of a file
		l.pass(15 * time.Second)
		l.expectCounts(0, 0)
		l.clock.wall, l.clock.synced = l.world, true
		l.pass(2 * time.Second)
		if want := btoi(off > labLife); l.count(callToken) != want {
			t.Errorf("after %v off: %d calls, want %d", off, l.count(callToken), want)
		}
		l.expectState(ipc.StateReady)
	}

	// Nobody has to wait for that.
	l := newLab(t)
	l.pass(10 * time.Second)
	l.requests = nil
	l.reboot(time.Hour, l.world.Add(time.Hour), false)
	l.pass(time.Second)
	l.machine().awaited(l.engine.at(l.clock.Now()))
	l.pass(time.Second)
	l.expectCounts(0, 1)
	l.expectState(ipc.StateReady)
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestAnUnsetClockMakesNoCallUntilItIsSet(t *testing.T) {
	l := newLab(t)
	l.pass(10 * time.Second)
	l.reboot(7*time.Hour, time.Unix(0, 0), false)
	l.requests = nil
	l.pass(24 * time.Hour)
	l.expectCounts(0, 0)
	l.expectState(ipc.StateWaiting)
	if f := l.failure(); f.Code != ipc.CodeClockUnset {
		t.Errorf("the failure is %+v", f)
	}
	l.clock.wall, l.clock.synced = l.world, true
	l.pass(2 * time.Second)
	l.expectState(ipc.StateReady)

	// Without TLS there is nothing to check, and no reason to wait.
	lab := newLab(t)
	lab.setup.TLS = false
	lab.clock.wall = time.Unix(0, 0)
	lab.start()
	lab.pass(5 * time.Second)
	lab.expectState(ipc.StateReady)
}

func TestAServerClockThatIsAheadDoesNotStretchALife(t *testing.T) {
	l := newLab(t)
	ahead := 2 * time.Hour
	l.answer = func(r request) (any, error) {
		answer, err := l.healthy(r)
		if tok, ok := answer.(dcr.Token); ok {
			tok.Date = tok.Date.Add(ahead)
			return tok, err
		}
		return answer, err
	}
	l.pass(10 * time.Second)
	issued := l.requests[1].at
	l.answer = func(request) (any, error) { return nil, errOffline }
	for range 14 {
		l.reboot(30*time.Minute, l.world.Add(30*time.Minute), true)
		l.expectNoDeadToken(issued)
	}
}

func TestAnAnswerThatTookLongCountsFromItsRequest(t *testing.T) {
	l := newLab(t)
	l.latency = 14 * time.Second
	l.pass(time.Minute)
	sent := l.requests[1].at
	l.answer = func(request) (any, error) { return nil, errOffline }
	l.pass(labLife - l.world.Sub(sent))
	l.expectNoDeadToken(sent)
}

func TestRetryStateSurvivesAReboot(t *testing.T) {
	l := newLab(t)
	l.answer = func(request) (any, error) { return nil, l.refuse(dcr.Rejected, "invalid_software_statement") }
	l.pass(time.Minute)
	l.expectCounts(1, 0)
	l.reboot(time.Minute, l.world.Add(time.Minute), true)
	l.pass(10 * time.Minute)
	l.expectCounts(1, 0)
	l.expectState(ipc.StateRejected)
	if f := l.failure(); f.ServerCode != "invalid_software_statement" {
		t.Errorf("the reason is lost: %+v", f)
	}
	l.reboot(12*time.Hour, time.Unix(0, 0), false) // a clock that is wrong makes no wait longer than it was
	l.clock.wall = l.world
	l.pass(6*time.Hour + time.Minute)
	if l.count(callRegister) < 2 {
		t.Error("not tried again")
	}
}

func TestStorageThatFails(t *testing.T) {
	t.Run("no registration without a note of it", func(t *testing.T) {
		l := newLab(t)
		l.store.fails = errDisk
		l.pass(time.Hour)
		l.expectCounts(0, 0)
		if f := l.failure(); f.Code != ipc.CodeStorage {
			t.Errorf("the failure is %+v", f)
		}
		l.store.fails = nil
		l.pass(saveAgain + 5*time.Second) // the ladder of the registration is cut short
		l.expectState(ipc.StateReady)
		l.expectCounts(1, 1)
	})
	t.Run("players are served from memory", func(t *testing.T) {
		l := newLab(t)
		l.pass(10 * time.Second)
		l.store.fails = errDisk
		l.pass(10 * time.Hour)
		l.expectState(ipc.StateReady)
		l.expectCounts(1, 3)
		l.store.fails = nil
		l.pass(time.Minute)
		if got := l.store.apps[labEndpoint+"ref30"].Token; got == nil || got.AccessToken != l.served() {
			t.Error("the token was not written once that was possible")
		}
	})
	t.Run("nothing is written while idle", func(t *testing.T) {
		l := newLab(t)
		l.pass(10 * time.Second)
		l.engine.refresh(l.machine(), l.clock.Now()) // the first one after a start comes early
		l.pass(time.Second)
		before := l.store.saves
		l.pass(3 * time.Hour)
		if l.store.saves != before {
			t.Errorf("%d writes in three idle hours", l.store.saves-before)
		}
		l.pass(2 * time.Hour)
		if n := l.store.saves - before; n != 1 {
			t.Errorf("%d writes for a refresh", n)
		}
	})
}
