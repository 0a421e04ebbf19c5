package broker

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tvpassd/tvpassd/daemon/dcr"
	"github.com/tvpassd/tvpassd/storage"
)

// What the simulation found, each as short as it can be told.

func TestAClockThatIsSetCutsTheWaitShort(t *testing.T) {
	l := newLab(t)
	l.clock.wall = l.world.Add(-100 * 24 * time.Hour) // a restored time: set, but too old for the certificate
	l.answer = func(request) (any, error) { return nil, errOffline }
	l.pass(3 * time.Hour)
	l.answer = l.healthy
	l.clock.wall = l.world
	l.pass(5 * time.Second)
	l.expectState(StateReady)
}

func TestACallUnderWayWhenTheLinkComesUp(t *testing.T) {
	l := newLab(t)
	l.answer = func(request) (any, error) { return nil, errOffline }
	l.pass(3 * time.Hour)
	l.latency = 15 * time.Second
	for before := len(l.requests); len(l.requests) == before; {
		l.pass(time.Second)
	}
	l.engine.nudge(l.clock.Now()) // it will fail all the same
	l.answer, l.latency = l.healthy, 80*time.Millisecond
	l.pass(time.Minute)
	l.expectState(StateReady)
}

// throttleOnce answers one 429 with a Retry-After of an hour, and is healthy then.
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
	l.expectState(StateReady)
	l.reboot(24*time.Hour, time.Unix(0, 0), false)
	l.pass(5 * time.Second)
	l.expectState(StateReady)
}

func TestWaitsAreReckonedAnewWhenTheClockIsSet(t *testing.T) {
	l := newLab(t)
	l.throttleOnce()
	l.pass(10 * time.Second)
	l.reboot(2*time.Hour, time.Unix(0, 0), false)
	l.pass(time.Minute)
	l.clock.wall = l.world
	l.pass(5 * time.Second)
	l.expectState(StateReady)
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

func TestARefreshThatProvedNeedlessLeavesNoTrace(t *testing.T) {
	l := newLab(t)
	l.pass(10 * time.Second)
	l.answer = func(request) (any, error) { return nil, l.refuse(dcr.ServerError, "") } // which brings a Date
	l.reboot(time.Hour, l.world.Add(time.Hour), false)
	l.pass(10 * time.Second)
	l.expectState(StateReady)
	l.expectCounts(1, 2)
}

func TestAnAdminsRefreshIsTriedAgain(t *testing.T) {
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

func TestWithoutABootIDThisRunIsABootOfItsOwn(t *testing.T) {
	l := newLab(t)
	l.clock.bootID, l.clock.synced = "", false
	l.answer = func(r request) (any, error) { // nothing ever tells the time
		answer, err := l.healthy(r)
		switch a := answer.(type) {
		case dcr.Credentials:
			a.Date = time.Time{}
			answer = a
		case dcr.Token:
			a.Date = time.Time{}
			answer = a
		}
		return answer, err
	}
	l.start()
	l.pass(3 * time.Hour)
	l.expectState(StateReady)
	l.expectCounts(1, 1)
	l.start()
	if l.served() != "" {
		t.Error("a token of an earlier run is trusted")
	}
}

func TestInvalidClientAcrossARebootWithAnEarlierClock(t *testing.T) {
	l := newLab(t)
	l.pass(10 * time.Second)
	l.unknownClient(map[string]bool{l.machine().rec.Credentials.ClientID: true})
	l.clock.wall = l.world.Add(12 * time.Hour)
	l.engine.refresh(l.machine(), l.clock.Now())
	l.pass(2 * time.Second) // refused once
	l.reboot(time.Minute, l.world, false)
	l.pass(time.Minute)
	l.expectState(StateReady)
	l.expectCounts(2, 5) // refused before, and twice after
}

func TestTheDayLimitIsNotReckonedByAClockThatNobodyVouchesFor(t *testing.T) {
	l := newLab(t)
	l.pass(10 * time.Second)
	l.answer = func(r request) (any, error) {
		if r.kind == callToken {
			return nil, &dcr.Error{Kind: dcr.Rejected, ServerCode: "invalid_client"}
		}
		return dcr.Credentials{ClientID: "another", ClientSecret: "secret"}, nil
	}
	l.clock.wall, l.clock.synced = l.world.Add(-3*24*time.Hour), false
	l.start() // without the Date of before
	l.engine.refresh(l.machine(), l.clock.Now())
	l.pass(time.Minute)
	if n := l.count(callRegister); n != 2 {
		t.Fatalf("%d registrations, want the first and one replacement", n)
	}
	l.reboot(time.Hour, l.world.Add(time.Hour), true)
	l.pass(20 * time.Hour)
	if n := l.count(callRegister); n != 2 {
		t.Errorf("%d registrations: the replacement was dated by a wrong clock", n)
	}
	l.pass(12 * time.Hour)
	if n := l.count(callRegister); n != 3 {
		t.Errorf("%d registrations in the second day, want 3", n)
	}
}

func TestARefusalOfTheOldStatementDoesNotHoldUpTheNewOne(t *testing.T) {
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
	l.expectState(StateReady)
}

// halfWay is a store that writes, and fails all the same.
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

func TestATokenOfAnEarlierBootIsNotSaidToLiveLongerThanItDoes(t *testing.T) {
	l := newLab(t)
	l.pass(10 * time.Second)
	expires := l.requests[1].at.Add(labLife)
	l.clock.synced = false
	l.latency = 14 * time.Second // the Date that will vouch for the time is this old when it comes
	l.answer = func(request) (any, error) { return nil, l.refuse(dcr.ServerError, "") }
	l.reboot(time.Hour, l.world.Add(time.Hour), false)
	l.pass(20 * time.Second)
	tok, ok := l.engine.view(l.machine(), l.clock.Now()).Token(l.clock.Now())
	if left := expires.Sub(l.world); !ok || tok.ExpiresIn > left || tok.ExpiresIn < left-2*time.Minute {
		t.Errorf("it is said to live %v, and lives %v", tok.ExpiresIn, left)
	}
}

func TestAClockThatIsSetWhileATokenIsOnItsWay(t *testing.T) {
	l := newLab(t)
	l.clock.wall, l.clock.synced = l.world.Add(3*time.Hour), false
	l.latency = 2 * time.Second
	l.answer = func(r request) (any, error) { // with something between that strips the Date
		if r.kind == callRegister {
			return dcr.Credentials{ClientID: "client", ClientSecret: "secret"}, nil
		}
		l.clock.wall, l.clock.synced = l.world, true
		return dcr.Token{AccessToken: "token", ExpiresIn: labLife}, nil
	}
	l.pass(10 * time.Second)
	l.expectState(StateReady)
	l.answer = func(request) (any, error) { return nil, errOffline }
	l.reboot(7*time.Hour, l.world.Add(7*time.Hour), true)
	if l.served() != "" {
		t.Error("a token is served an hour after its expiry")
	}
}

func TestAReportOfARefusedTokenIsNotWrittenTwice(t *testing.T) {
	l := newLab(t)
	l.pass(10 * time.Second)
	l.answer = func(request) (any, error) { return nil, errOffline }
	l.engine.report(l.machine(), l.clock.Now())
	l.pass(6 * time.Minute)
	refused := l.machine().rec.Token
	if action := l.engine.report(l.machine(), l.clock.Now()); action != ActionRefresh || l.machine().rec.Token != refused {
		t.Errorf("the second report leads to %q and a new record", action)
	}
}

func TestAFailedWriteIsLoggedOnce(t *testing.T) {
	l := newLab(t)
	l.pass(10 * time.Second)
	l.store.fails = errDisk
	l.pass(10 * time.Hour)
	if n := strings.Count(l.logs.String(), "could not be written"); n != 1 {
		t.Errorf("logged %d times in ten hours", n)
	}
}

// A record must hold all that an App does, or the rest would be lost at the next
// write.
func TestARecordHoldsEverythingOfAnApp(t *testing.T) {
	app, rec := reflect.TypeFor[storage.App](), reflect.TypeFor[record]()
	if app.NumField() != rec.NumField() {
		t.Errorf("an App has %d parts, a record %d", app.NumField(), rec.NumField())
	}
	want := storage.App{
		Credentials: &storage.Credentials{}, History: storage.History{Registrations: 7}, Token: &storage.Token{},
		Retry: &storage.Retry{}, Transitions: &storage.Transitions{},
	}
	for i := range app.NumField() {
		if reflect.ValueOf(want).Field(i).IsZero() {
			t.Errorf("this test does not know %s", app.Field(i).Name)
		}
	}
	if got := recordOf(want).app(); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v became %+v", want, got)
	}
}
