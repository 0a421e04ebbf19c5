package broker

import (
	"testing"
	"time"

	"github.com/tvpassd/tvpassd/ipc"
)

func TestSkewIsHowFarTheServerIsAhead(t *testing.T) {
	for _, ahead := range []time.Duration{-40 * time.Second, 0, 40 * time.Second} {
		l := newLab(t)
		l.clock.wall = l.world.Add(-ahead)
		l.pass(10 * time.Second)
		if got := l.engine.time.skew(l.clock.Now()); (got - ahead).Abs() > 2*time.Second {
			t.Errorf("the server is %v ahead, the skew is %v", ahead, got)
		}
	}
}

func TestAnUnsetClockIsNoTroubleOfAnAppWithAToken(t *testing.T) {
	l := newLab(t)
	l.pass(10 * time.Second)
	l.clock.wall = time.Unix(0, 0)
	l.pass(time.Hour)
	l.expectState(ipc.StateReady)
	if f := l.failure(); f.Code != "" {
		t.Errorf("the failure is %+v", f)
	}
}
