package broker

import (
	"testing"
	"time"

	"github.com/tvpassd/tvpassd/daemon/dcr"
	"github.com/tvpassd/tvpassd/ipc"
)

// throttleOnce makes the server answer one 429 with a Retry-After of an hour.
func (l *lab) throttleOnce() {
	once := true
	l.answer = func(r request) (any, error) {
		if once {
			once = false
			return nil, &dcr.Error{Kind: dcr.Throttled, RetryAfter: time.Hour}
		}
		return l.healthy(r)
	}
}

func TestRetryAfterIsForgottenOnceItIsOver(t *testing.T) {
	l := newLab(t)
	l.setup.TLS = false
	l.start()
	l.throttleOnce()
	l.pass(2 * time.Hour)
	l.expectState(ipc.StateReady)
	l.reboot(24*time.Hour, time.Unix(0, 0), false)
	l.pass(trustWait + time.Second)
	l.expectState(ipc.StateReady)
}

func TestAShorterRetryAfterDoesNotReplaceALongerOne(t *testing.T) {
	l := newLab(t, "a", "b", "c")
	l.pass(10 * time.Second)
	waits := []time.Duration{time.Hour, 2 * time.Second}
	l.answer = func(request) (any, error) {
		e := &dcr.Error{Kind: dcr.Throttled, RetryAfter: waits[0]}
		waits = waits[1:]
		return nil, e
	}
	for _, app := range []string{"a", "b"} {
		l.engine.refresh(l.engine.machine(app), l.clock.Now())
	}
	l.pass(time.Second)
	l.start()
	l.answer, l.requests = l.healthy, nil
	l.engine.refresh(l.engine.machine("c"), l.clock.Now())
	l.pass(30 * time.Minute)
	if len(l.requests) > 0 {
		t.Errorf("%d requests within the longer Retry-After", len(l.requests))
	}
}

func TestAThrottledAnswerForAnAppThatWasReset(t *testing.T) {
	l := newLab(t)
	l.latency = 2 * time.Second
	l.throttleOnce()
	l.pass(1100 * time.Millisecond) // the registration is under way
	if err := l.engine.reset(l.machine(), l.clock.Now()); err != nil {
		t.Fatal(err)
	}
	l.setup.Apps = append(l.setup.Apps, App{ID: "late", SoftwareStatement: "s"})
	l.pass(2 * time.Second) // it is throttled
	l.requests = nil
	if err := l.engine.configure(l.setup, l.clock.Now()); err != nil {
		t.Fatal(err)
	}
	l.pass(30 * time.Minute)
	if len(l.requests) > 0 {
		t.Errorf("%d requests within Retry-After", len(l.requests))
	}
}
