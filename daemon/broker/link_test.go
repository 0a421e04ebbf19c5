package broker

import (
	"testing"
	"time"

	"github.com/tvpassd/tvpassd/ipc"
)

func TestALinkThatComesUpDuringACall(t *testing.T) {
	l := newLab(t)
	l.answer = func(request) (any, error) { return nil, errOffline }
	l.pass(3 * time.Hour)
	l.latency = 15 * time.Second
	for before := len(l.requests); len(l.requests) == before; {
		l.pass(time.Second)
	}
	l.engine.nudge(l.clock.Now()) // the call fails all the same
	l.answer, l.latency = l.healthy, 80*time.Millisecond
	l.pass(time.Minute)
	l.expectState(ipc.StateReady)
}

// A link may come up before the name servers are known. Calls that fail then do
// not wait for the ladder, which is at 15 minutes.
func TestALinkThatComesUpBeforeTheNameServers(t *testing.T) {
	for _, later := range []time.Duration{time.Second, 20 * time.Second, 100 * time.Second} {
		l := newLab(t)
		l.answer = func(request) (any, error) { return nil, errOffline }
		l.pass(3 * time.Hour)
		l.engine.nudge(l.clock.Now())
		l.pass(later)
		l.answer = l.healthy
		l.pass(nudgeEvery + 5*time.Second)
		l.expectState(ipc.StateReady)
	}
}

// A link that flaps cuts a wait short once in 30 s, whenever it flaps.
func TestALinkThatFlapsCutsAWaitOnceInHalfAMinute(t *testing.T) {
	l := failing(t, true, errOffline)
	l.requests = nil
	for range 330 { // ten minutes
		l.engine.nudge(l.clock.Now())
		l.pass(1810 * time.Millisecond)
	}
	early := 0
	for _, gap := range l.gaps(0) {
		if gap < 10*time.Second {
			early++
		}
	}
	if n := len(l.requests); n > 25 || early > 3 {
		t.Errorf("%d requests in ten minutes, %d of them right after another", n, early)
	}
}

// A call that ends late is not repeated at once, although a link came up half a
// minute ago: many devices wait together for the server to come back.
func TestACallThatFailsLateAfterALinkCameUp(t *testing.T) {
	l := failing(t, true, errOffline)
	l.latency = 31 * time.Second // more than nudgeEvery
	l.requests = nil
	l.engine.nudge(l.clock.Now())
	l.pass(settling)
	pauses := map[time.Duration]bool{}
	for _, gap := range l.gaps(0) {
		pause := gap - l.latency
		pauses[pause] = true
		if pause < quickLadder.floor || pause > quickLadder.first {
			t.Errorf("the next call leaves %v after the failure", pause)
		}
	}
	if len(pauses) < 2 {
		t.Errorf("the pauses are %v, want some that are drawn", pauses)
	}
}
