package broker

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tvpassd/tvpassd/daemon/dcr"
	"github.com/tvpassd/tvpassd/ipc"
	"github.com/tvpassd/tvpassd/storage"
)

func TestInvalidClientAcrossARebootWithAnEarlierClock(t *testing.T) {
	l := newLab(t)
	l.pass(10 * time.Second)
	l.unknownClient(map[string]bool{l.machine().rec.Credentials.ClientID: true})
	l.clock.wall = l.world.Add(12 * time.Hour)
	l.engine.refresh(l.machine(), l.clock.Now())
	l.pass(2 * time.Second) // refused once
	l.reboot(time.Minute, l.world, false)
	l.pass(10 * time.Minute)
	if n := l.count(callRegister); n != 1 {
		t.Errorf("%d registrations: what lies between two refusals was reckoned across the reboot", n)
	}
	l.pass(time.Hour)
	l.expectState(ipc.StateReady)
}

func TestTheDayLimitNeedsAVouchedForClock(t *testing.T) {
	l := newLab(t)
	l.pass(10 * time.Second)
	l.answer = func(r request) (any, error) {
		if r.kind == callToken {
			return nil, &dcr.Error{Kind: dcr.Rejected, ServerCode: "invalid_client"}
		}
		return dcr.Credentials{ClientID: "another", ClientSecret: "secret"}, nil
	}
	l.clock.wall, l.clock.synced = l.world.Add(-3*24*time.Hour), false
	l.start() // which forgets the Date
	l.engine.refresh(l.machine(), l.clock.Now())
	l.pass(65 * time.Minute)
	if n := l.count(callRegister); n != 2 {
		t.Fatalf("%d registrations, want the first and one replacement", n)
	}
	l.reboot(time.Hour, l.world.Add(time.Hour), true)
	l.pass(20 * time.Hour)
	if n := l.count(callRegister); n != 2 {
		t.Errorf("%d registrations: a wrong clock dated the replacement", n)
	}
	l.pass(12 * time.Hour)
	if n := l.count(callRegister); n != 3 {
		t.Errorf("%d registrations in the second day, want 3", n)
	}
}

func TestARefusalOfTheOldStatementDoesNotDelayTheNewOne(t *testing.T) {
	l := newLab(t)
	l.latency = 3 * time.Second
	l.answer = func(request) (any, error) { return nil, l.refuse(dcr.Rejected, "invalid_software_statement") }
	l.pass(2 * time.Second) // the registration is under way
	l.setup.Apps[0].SoftwareStatement = "another"
	if err := l.engine.configure(l.setup, l.clock.Now()); err != nil {
		t.Fatal(err)
	}
	l.answer = l.healthy
	l.pass(15 * time.Second)
	l.expectState(ipc.StateReady)
}

// halfWay is a store that writes and then reports an error.
type halfWay struct{ *labStore }

func (s halfWay) SaveApp(endpoint, app string, a storage.App) error {
	s.apps[endpoint+app] = a
	return s.fails
}

func TestAResetThatFailsHalfWayLosesNothing(t *testing.T) {
	l := newLab(t)
	l.pass(10 * time.Second)
	want := l.machine().rec.Credentials.ClientID
	l.engine.store = halfWay{l.store}
	l.store.fails = errDisk
	if err := l.engine.reset(l.machine(), l.clock.Now()); err == nil {
		t.Fatal("the reset succeeds")
	}
	l.store.fails = nil
	l.start()
	if got := l.machine().rec.Credentials; got == nil || got.ClientID != want {
		t.Error("the credentials are lost at the next start")
	}
}

func TestTheNewestThreePairsAreKeptAside(t *testing.T) {
	l := newLab(t)
	l.pass(10 * time.Second)
	for n := range 5 {
		pair := dcr.Credentials{ClientID: fmt.Sprint("pair-", n), ClientSecret: "s"}
		l.machine().registered(pair, l.engine.at(l.clock.Now()))
	}
	var aside []string
	for _, pair := range l.machine().rec.History.Aside {
		aside = append(aside, pair.ClientID)
	}
	if want := []string{"pair-3", "pair-2", "pair-1"}; !slices.Equal(aside, want) {
		t.Errorf("kept aside are %q, want %q", aside, want)
	}
}
