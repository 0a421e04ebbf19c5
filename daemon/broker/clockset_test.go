package broker

import (
	"testing"
	"time"

	"github.com/tvpassd/tvpassd/daemon/dcr"
	"github.com/tvpassd/tvpassd/ipc"
)

func TestAClockThatIsSetCutsTheWaitShort(t *testing.T) {
	l := newLab(t)
	l.clock.wall = l.world.Add(-100 * 24 * time.Hour) // restored from a file: set, but too old for the certificate
	l.answer = func(request) (any, error) { return nil, errOffline }
	l.pass(3 * time.Hour)
	l.answer = l.healthy
	l.clock.wall = l.world
	l.pass(5 * time.Second)
	l.expectState(ipc.StateReady)
}

func TestAClockThatIsSetShortensStoredWaits(t *testing.T) {
	l := newLab(t)
	l.throttleOnce()
	l.pass(10 * time.Second)
	l.reboot(2*time.Hour, time.Unix(0, 0), false)
	l.pass(time.Minute)
	l.clock.wall = l.world
	l.pass(5 * time.Second)
	l.expectState(ipc.StateReady)
}

func TestWithoutABootIDThisRunIsABootOfItsOwn(t *testing.T) {
	l := newLab(t)
	l.clock.bootID, l.clock.synced = "", false
	l.answer = func(r request) (any, error) { return withoutDate(l.healthy(r)) }
	l.start()
	l.pass(time.Hour)
	l.expectState(ipc.StateReady)
	l.expectCounts(1, 1)
	l.start()
	if l.served() != "" {
		t.Error("a token of an earlier run is trusted")
	}
}

func TestATokenOfAnEarlierBootLivesNoLongerThanItDoes(t *testing.T) {
	l := newLab(t)
	l.pass(10 * time.Second)
	expires := l.requests[1].at.Add(labLife)
	l.clock.synced = false
	l.latency = 14 * time.Second // so old is the Date that vouches for the time
	l.answer = func(request) (any, error) { return nil, l.refuse(dcr.ServerError, "") }
	l.reboot(time.Hour, l.world.Add(time.Hour), false)
	l.pass(trustWait + 20*time.Second)
	tok, ok := l.view().Token(l.clock.Now())
	if left := expires.Sub(l.world); !ok || tok.ExpiresIn > left || tok.ExpiresIn < left-2*time.Minute {
		t.Errorf("expires_in is %v, the token lives %v", tok.ExpiresIn, left)
	}
}

func TestAClockThatIsSetDuringATokenCall(t *testing.T) {
	l := newLab(t)
	l.clock.wall, l.clock.synced = l.world.Add(3*time.Hour), false
	l.latency = 2 * time.Second
	l.answer = func(r request) (any, error) { // behind a proxy that strips the Date
		if r.kind == callRegister {
			return dcr.Credentials{ClientID: "client", ClientSecret: "secret"}, nil
		}
		l.clock.wall, l.clock.synced = l.world, true
		return dcr.Token{AccessToken: "token", ExpiresIn: labLife}, nil
	}
	l.pass(10 * time.Second)
	l.expectState(ipc.StateReady)
	l.answer = func(request) (any, error) { return nil, errOffline }
	l.reboot(7*time.Hour, l.world.Add(7*time.Hour), true)
	if l.served() != "" {
		t.Error("a token is served an hour after its expiry")
	}
}

// A device that never learns the time does not wake up to check the clock:
// setting it rings the alarm.
func TestAnUnsetClockIsNotPolled(t *testing.T) {
	l := newLab(t)
	l.pass(time.Minute)
	l.reboot(time.Minute, time.Unix(0, 0), false)
	l.pass(trustWait)
	turns := 0
	l.look = func() { turns++ }
	l.pass(10 * time.Hour)
	if turns > 10 {
		t.Errorf("%d wake-ups in 10 hours", turns)
	}
}
