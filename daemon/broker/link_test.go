package broker

import (
	"testing"
	"time"
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
	l.expectState(StateReady)
}
