package broker

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/tvpassd/tvpassd/daemon/dcr"
	"github.com/tvpassd/tvpassd/ipc"
)

// Devices that failed together must not come back together: a wait may be
// anything between the floor of its ladder and the step.
func TestWaitsAreDrawnFromTheWholeStep(t *testing.T) {
	for _, tc := range []struct {
		name   string
		err    error
		ladder ladder
		steps  int
	}{
		{"quick", errOffline, quickLadder, 12},
		{"slow", &dcr.Error{Kind: dcr.Rejected, ServerCode: "invalid_software_statement"}, slowLadder, 6},
	} {
		t.Run(tc.name, func(t *testing.T) {
			low, high := make([]time.Duration, tc.steps), make([]time.Duration, tc.steps)
			for seed := range uint64(200) {
				l := newLab(t)
				l.random = rand.New(rand.NewPCG(seed, 6))
				l.start()
				l.answer = func(request) (any, error) { return nil, tc.err }
				for len(l.requests) <= tc.steps {
					l.pass(tc.ladder.top)
				}
				for i, gap := range l.gaps(0)[:tc.steps] {
					gap -= l.latency
					if low[i] == 0 || gap < low[i] {
						low[i] = gap
					}
					high[i] = max(high[i], gap)
				}
			}
			for i := range tc.steps {
				step := tc.ladder.step(i + 1)
				span := step - tc.ladder.floor
				floor := tc.ladder.floor
				if low[i] < floor || low[i] > floor+span/8 || high[i] < step-span/8 || high[i] > step+time.Second {
					t.Errorf("wait %d lies between %v and %v, want the whole of %v to %v", i+1, low[i], high[i], floor, step)
				}
			}
			if got := tc.ladder.step(tc.steps); got != tc.ladder.top {
				t.Errorf("step %d is %v, want the top", tc.steps, got)
			}
		})
	}
}

// failing returns a lab whose app has failed for some hours, and waits.
func failing(t *testing.T, registered bool, err error) *lab {
	l := newLab(t)
	if registered {
		l.pass(10 * time.Second)
	}
	l.answer = func(request) (any, error) { return nil, err }
	l.engine.refresh(l.machine(), l.clock.Now())
	l.pass(3 * time.Hour)
	for l.machine().next-l.clock.boot < 5*time.Second {
		l.pass(10 * time.Second)
	}
	return l
}

var failures = map[string]error{
	"offline":      errOffline,
	"server error": &dcr.Error{Kind: dcr.ServerError, Detail: "503"},
	"throttled":    &dcr.Error{Kind: dcr.Throttled, RetryAfter: time.Minute},
	"rejected":     &dcr.Error{Kind: dcr.Rejected, ServerCode: "unapproved_software_statement"},
}

func TestAReloadCutsNoWaitOfAnUnchangedApp(t *testing.T) {
	for name, err := range failures {
		for _, registered := range []bool{false, true} {
			l := failing(t, registered, err)
			next := l.machine().next
			for n := range 3 {
				l.setup.Apps = append(l.setup.Apps, App{ID: "z" + string(rune('0'+n)), SoftwareStatement: "s"})
				l.setup.Apps[0].ApplicationID = "another" // which no registration is made of
				if err := l.engine.configure(l.setup, l.clock.Now()); err != nil {
					t.Fatal(err)
				}
				if l.machine().next != next {
					t.Errorf("%s, registered %v: a reload moved the next call by %v", name, registered, l.machine().next-next)
				}
			}
		}
	}
}

func TestALinkThatComesUpCutsOnlyWaitsForTheNetwork(t *testing.T) {
	for name, err := range failures {
		for _, registered := range []bool{false, true} {
			l := failing(t, registered, err)
			before := l.machine().next
			l.engine.nudge(l.clock.Now())
			if cut := l.machine().next < before; cut != (err == errOffline) {
				t.Errorf("%s, registered %v: the wait is cut short: %v", name, registered, cut)
			}
		}
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
}
