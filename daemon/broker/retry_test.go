package broker

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/tvpassd/tvpassd/daemon/dcr"
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
				if low[i] < tc.ladder.floor || low[i] > tc.ladder.floor+span/8 || high[i] < step-span/8 || high[i] > step+time.Second {
					t.Errorf("wait %d lies between %v and %v, want the whole of %v to %v", i+1, low[i], high[i], tc.ladder.floor, step)
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
