package broker

import (
	"testing"
	"time"

	"github.com/tvpassd/tvpassd/daemon/dcr"
)

// deadServed fails the test when a token is served after its expiry by the server's clock.
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

func TestStepsOfTheWallClockChangeNothing(t *testing.T) {
	for _, step := range []time.Duration{-40 * 365 * 24 * time.Hour, -time.Hour, time.Hour, 11 * 365 * 24 * time.Hour} {
		l := newLab(t)
		l.pass(10 * time.Second)
		first := l.served()
		l.clock.wall = l.clock.wall.Add(step)
		l.pass(3 * time.Hour)
		if l.served() != first {
			t.Errorf("a step by %v lost the token", step)
		}
		l.expectCounts(1, 1)
		l.clock.wall = l.world
		l.pass(2 * time.Hour)
		l.expectCounts(1, 2)
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
	}{
		{"a clock that the kernel vouches for", time.Hour, 0, true, true, 0},
		{"expired meanwhile", 7 * time.Hour, 0, true, false, 1},
		{"a right clock without a witness", time.Hour, 0, false, false, 1},
		{"a clock restored from a file", 7 * time.Hour, -7 * time.Hour, false, false, 1},
		{"1970", time.Hour, -56 * 365 * 24 * time.Hour, false, false, 0},
		{"1970, and synchronised, says the kernel", time.Hour, -56 * 365 * 24 * time.Hour, true, false, 0},
		{"2037", time.Hour, 11 * 365 * 24 * time.Hour, false, false, 1},
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
		})
	}
}

func TestAnUnsetClockMakesNoCallUntilItIsSet(t *testing.T) {
	l := newLab(t)
	l.pass(10 * time.Second)
	l.reboot(7*time.Hour, time.Unix(0, 0), false)
	l.requests = nil
	l.pass(24 * time.Hour)
	l.expectCounts(0, 0)
	l.expectState(StateWaiting)
	if f := l.failure(); f.Code != CodeClockUnset {
		t.Errorf("the failure is %+v", f)
	}
	l.clock.wall, l.clock.synced = l.world, true
	l.pass(2 * time.Second)
	l.expectState(StateReady)

	// Without TLS there is nothing to check, and no reason to wait.
	lab := newLab(t)
	lab.setup.TLS = false
	lab.clock.wall = time.Unix(0, 0)
	lab.start()
	lab.pass(5 * time.Second)
	lab.expectState(StateReady)
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
	l.expectState(StateRejected)
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
		if f := l.failure(); f.Code != CodeStorage {
			t.Errorf("the failure is %+v", f)
		}
		l.store.fails = nil
		l.pass(15*time.Minute + 5*time.Second)
		l.expectState(StateReady)
		l.expectCounts(1, 1)
	})
	t.Run("players are served from memory", func(t *testing.T) {
		l := newLab(t)
		l.pass(10 * time.Second)
		l.store.fails = errDisk
		l.pass(10 * time.Hour)
		l.expectState(StateReady)
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
