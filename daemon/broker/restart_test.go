package broker

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tvpassd/tvpassd/ipc"
)

// The clock of the device may show a time before the token was requested: then
// its age is unknown.
func TestATokenThatWasAskedForInTheFuture(t *testing.T) {
	l := newLab(t)
	l.pass(10 * time.Second)
	l.reboot(time.Minute, l.world.Add(-time.Hour), true)
	if l.served() != "" {
		t.Error("a token is trusted that was asked for an hour from now")
	}
}

// A known boot id with a lower reading is not the same boot: a snapshot was
// restored, or a container was moved.
func TestTheSameBootIDWithALowerReading(t *testing.T) {
	l := newLab(t)
	l.pass(time.Hour)
	l.clock.synced = false
	l.world = l.world.Add(7 * time.Hour)
	l.clock.boot, l.clock.wall = 20*time.Second, l.world
	l.start()
	if l.served() != "" {
		t.Error("a token is served an hour after its expiry")
	}
}

// A token that is about to expire when the daemon starts is refreshed before it
// does: a spread never takes more than half of what is left.
func TestAStartInTheLastSecondsOfALife(t *testing.T) {
	for seed := range uint64(100) {
		l := newLab(t)
		l.pass(10 * time.Second)
		expires := l.machine().live.expires
		l.advance(expires - l.clock.boot - 4*time.Second)
		l.random = rand.New(rand.NewPCG(seed, 8))
		l.requests = nil
		l.start()
		l.pass(3 * time.Second)
		if l.count(callToken) == 0 {
			t.Fatalf("seed %d: no call in three of the last four seconds", seed)
		}
	}
}

func TestARefusedTokenIsReplacedAfterARestart(t *testing.T) {
	l := newLab(t)
	l.pass(10 * time.Second)
	first := l.served()
	l.answer = func(request) (any, error) { return nil, errOffline }
	l.engine.report(l.machine(), l.clock.Now())
	l.pass(time.Second)
	l.answer = l.healthy
	l.start()
	l.expectState(ipc.StateStale)
	l.pass(10 * time.Minute)
	if got := l.served(); got == first || got == "" {
		t.Errorf("%q is served, want a new token", got)
	}
}

func TestTransitionsSurviveARestart(t *testing.T) {
	l := newLab(t)
	l.pass(time.Minute)
	l.answer = func(request) (any, error) { return nil, errOffline }
	l.pass(8 * time.Hour)
	before := l.transitions()
	if len(before) < 3 {
		t.Fatalf("only %v", before)
	}
	l.start()
	if diff := cmp.Diff(before, l.transitions()); diff != "" {
		t.Errorf("after a restart (-before +after):\n%s", diff)
	}
	l.pass(time.Hour)
	if diff := cmp.Diff(before, l.transitions()); diff != "" {
		t.Errorf("an hour later (-before +after):\n%s", diff)
	}
}
