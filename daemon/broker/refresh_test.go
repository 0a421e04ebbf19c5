package broker

import (
	"testing"
	"time"

	"github.com/tvpassd/tvpassd/daemon/dcr"
)

func TestARefreshThatIsNoLongerNeededLeavesNoFailure(t *testing.T) {
	l := newLab(t)
	l.pass(10 * time.Second)
	l.answer = func(request) (any, error) { return nil, l.refuse(dcr.ServerError, "") } // which brings a Date
	l.reboot(time.Hour, l.world.Add(time.Hour), false)
	l.pass(10 * time.Second)
	l.expectState(StateReady)
	l.expectCounts(1, 2)
}

func TestAnAdminsRefreshIsRetried(t *testing.T) {
	l := newLab(t)
	l.pass(10 * time.Second)
	l.answer = func(request) (any, error) { return nil, errOffline }
	l.engine.refresh(l.machine(), l.clock.Now())
	l.pass(10 * time.Second)
	l.expectState(StateStale)
	l.answer = l.healthy
	l.pass(time.Minute)
	l.expectState(StateReady)
}

func TestAReportOfARefusedTokenIsNotWrittenTwice(t *testing.T) {
	l := newLab(t)
	l.pass(10 * time.Second)
	l.answer = func(request) (any, error) { return nil, errOffline }
	l.engine.report(l.machine(), l.clock.Now())
	l.pass(6 * time.Minute)
	refused := l.machine().rec.Token
	if action := l.engine.report(l.machine(), l.clock.Now()); action != ActionRefresh || l.machine().rec.Token != refused {
		t.Errorf("the second report is answered %q, or makes a new record", action)
	}
}
