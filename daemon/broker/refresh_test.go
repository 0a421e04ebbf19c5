package broker

import (
	"testing"
	"time"

	"github.com/tvpassd/tvpassd/daemon/dcr"
	"github.com/tvpassd/tvpassd/ipc"
)

func TestARefreshThatIsNoLongerNeededLeavesNoFailure(t *testing.T) {
	l := newLab(t)
	l.pass(10 * time.Second)
	l.answer = func(request) (any, error) { return nil, l.refuse(dcr.ServerError, "") } // which brings a Date
	l.reboot(time.Hour, l.world.Add(time.Hour), false)
	l.pass(trustWait + time.Second)
	l.expectState(ipc.StateReady)
	l.expectCounts(1, 2)
}

func TestAnAdminsRefreshIsRetried(t *testing.T) {
	l := newLab(t)
	l.pass(10 * time.Second)
	l.answer = func(request) (any, error) { return nil, errOffline }
	l.engine.refresh(l.machine(), l.clock.Now())
	l.pass(10 * time.Second)
	l.expectState(ipc.StateStale)
	l.answer = l.healthy
	l.pass(time.Minute)
	l.expectState(ipc.StateReady)
}

func TestAReportOfARefusedTokenIsNotWrittenTwice(t *testing.T) {
	l := newLab(t)
	l.pass(10 * time.Second)
	l.answer = func(request) (any, error) { return nil, errOffline }
	l.engine.report(l.machine(), l.clock.Now())
	l.pass(6 * time.Minute)
	refused := l.machine().rec.Token
	action := l.engine.report(l.machine(), l.clock.Now())
	if action != ipc.ActionRefresh || l.machine().rec.Token != refused {
		t.Errorf("the second report is answered %q, or makes a new record", action)
	}
}

// Two apps ask for tokens because nothing vouches for the time. The first
// answer vouches for it: the failure of the second no longer matters.
func TestAFailureThatComesAfterTheTimeIsKnown(t *testing.T) {
	l := newLab(t, "a", "b")
	l.pass(10 * time.Second)
	l.answer = func(r request) (any, error) {
		l.latency = 100 * time.Millisecond
		if r.app == "b" {
			l.latency = 5 * time.Second
		}
		return nil, l.refuse(dcr.ServerError, "")
	}
	l.reboot(time.Hour, l.world.Add(time.Hour), false)
	l.pass(time.Minute)
	for _, m := range l.engine.active {
		if v := l.engine.view(m, l.clock.Now()); v.State(l.clock.Now()) != ipc.StateReady {
			t.Errorf("%s is %s", m.app.ID, v.State(l.clock.Now()))
		}
	}
	l.expectCounts(2, 4)
}
