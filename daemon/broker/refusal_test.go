package broker

import (
	"strings"
	"testing"
	"time"

	"github.com/tvpassd/tvpassd/daemon/dcr"
	"github.com/tvpassd/tvpassd/ipc"
)

// unknownClient answers invalid_client to the clients that are listed.
func (l *lab) unknownClient(unknown map[string]bool) {
	l.answer = func(r request) (any, error) {
		if r.kind == callToken && unknown[r.client] {
			return nil, l.refuse(dcr.Rejected, "invalid_client")
		}
		return l.healthy(r)
	}
}

func TestInvalidClientMustComeTwice(t *testing.T) {
	l := newLab(t)
	l.pass(10 * time.Second)
	once := true
	l.answer = func(r request) (any, error) {
		if once && r.kind == callToken {
			once = false
			return nil, l.refuse(dcr.Rejected, "invalid_client")
		}
		return l.healthy(r)
	}
	l.pass(5 * time.Hour)
	l.expectCounts(1, 3)
	l.expectState(ipc.StateReady)
}

func TestRefusedCredentialsAreReplacedOnceADay(t *testing.T) {
	l := newLab(t)
	l.pass(10 * time.Second)
	first := *l.machine().rec.Credentials
	l.unknownClient(map[string]bool{first.ClientID: true})
	l.pass(5 * time.Hour)

	l.expectCounts(2, 5) // first token, refused, refused again, tried once more, new token
	if gap := l.requests[3].at.Sub(l.requests[2].at); gap < confirmValid || gap > confirmValidMost+time.Second {
		t.Errorf("invalid_client was confirmed after %v", gap)
	}
	l.expectState(ipc.StateReady)
	if aside := l.machine().rec.History.Aside; len(aside) != 1 || aside[0].ClientID != first.ClientID {
		t.Errorf("the replaced pair is not kept aside: %v", aside)
	}
	if !strings.Contains(l.logs.String(), "level=ERROR") {
		t.Error("credentials were replaced without a word")
	}

	replaced := l.world
	l.answer = func(r request) (any, error) { // now it knows nobody any more
		if r.kind == callToken {
			return nil, l.refuse(dcr.Rejected, "invalid_client")
		}
		return l.healthy(r)
	}
	l.requests = nil
	l.pass(18 * time.Hour)
	l.start()
	l.expectState(ipc.StateRejected)
	if n := l.count(callRegister); n != 0 {
		t.Fatalf("registered again %v after the last time", l.world.Sub(replaced))
	}
	if n := len(l.requests); n > 40 {
		t.Errorf("%d requests while only a person can help", n)
	}
	l.pass(14 * time.Hour)
	if n := l.count(callRegister); n != 1 {
		t.Errorf("%d registrations in the second day, want 1", n)
	}
}

func TestInvalidClientOnDemandDoesNotCountTwiceAtOnce(t *testing.T) {
	l := newLab(t)
	l.pass(10 * time.Second)
	l.unknownClient(map[string]bool{l.machine().rec.Credentials.ClientID: true})
	for range 3 { // an admin in a hurry
		l.engine.refresh(l.machine(), l.clock.Now())
		l.pass(1100 * time.Millisecond)
	}
	if n := l.count(callRegister); n != 1 {
		t.Errorf("registered again within %v", 3*1100*time.Millisecond)
	}
	if l.machine().rec.Retry.Slow {
		t.Error("a suspicion that is not confirmed yet waits for a person")
	}
}

func TestReplacementNeedsAWitnessedDayAcrossReboots(t *testing.T) {
	l := newLab(t)
	l.pass(10 * time.Second)
	l.answer = func(r request) (any, error) {
		if r.kind == callToken {
			return nil, l.refuse(dcr.Rejected, "invalid_client")
		}
		return l.healthy(r)
	}
	l.engine.refresh(l.machine(), l.clock.Now())
	l.pass(65 * time.Minute)
	if n := l.count(callRegister); n != 2 {
		t.Fatalf("%d registrations, want the first and one replacement", n)
	}
	// The device comes back an hour later with a clock that is ten days ahead.
	l.reboot(time.Hour, l.world.Add(10*24*time.Hour), false)
	l.pass(12 * time.Hour)
	if n := l.count(callRegister); n != 2 {
		t.Errorf("%d registrations: a wrong clock made a second replacement of the day", n)
	}
}

func TestAPersonMustAct(t *testing.T) {
	for _, code := range []string{
		"invalid_software_statement", "unapproved_software_statement", "invalid_redirect_uri", "invalid_request",
	} {
		t.Run(code, func(t *testing.T) {
			l := newLab(t)
			l.answer = func(request) (any, error) { return nil, l.refuse(dcr.Rejected, code) }
			l.pass(24 * time.Hour)
			l.expectState(ipc.StateRejected)
			if n := len(l.requests); n < 4 || n > 40 {
				t.Errorf("%d requests in a day", n)
			}
			for _, gap := range l.gaps(0) {
				if gap < 15*time.Minute || gap > 6*time.Hour+time.Second {
					t.Errorf("tried again after %v", gap)
				}
			}
			if f := l.failure(); f.ServerCode != code || f.Detail == code || f.Detail == "" {
				t.Errorf("the refusal is not in plain words: %+v", f)
			}

			// The person acts, by a reload or by a restart.
			l.answer = l.healthy
			l.setup.Apps[0].SoftwareStatement = "another"
			if code == "invalid_redirect_uri" {
				l.setup.Apps[0].RedirectURI = "app://there"
				l.start()
			} else if err := l.engine.configure(l.setup, l.clock.Now()); err != nil {
				t.Fatal(err)
			}
			l.pass(5 * time.Second)
			l.expectState(ipc.StateReady)
		})
	}
}

// A code that no page documents may pass by itself.
func TestAnUndocumentedRefusalIsRetriedSoon(t *testing.T) {
	for _, code := range []string{"temporarily_unavailable", "slow_down", "Unauthorized", "access_denied", "?"} {
		t.Run(code, func(t *testing.T) {
			for _, kind := range []callKind{callRegister, callToken} {
				l := newLab(t)
				refuses := true
				l.answer = func(r request) (any, error) {
					if refuses && r.kind == kind {
						return nil, l.refuse(dcr.Rejected, code)
					}
					return l.healthy(r)
				}
				l.pass(time.Minute)
				if n := len(l.requests); n < 4 {
					t.Errorf("%s: %d calls in the first minute", kind, n)
				}
				l.expectState(ipc.StateWaiting)
				if f := l.failure(); f.Code != ipc.CodeRejected || f.ServerCode != code {
					t.Errorf("%s: the failure is %+v", kind, f)
				}
				refuses = false
				l.pass(2 * time.Minute)
				l.expectState(ipc.StateReady)
			}
		})
	}
}

func TestAnUndocumentedRefusalThatStays(t *testing.T) {
	l := newLab(t)
	l.answer = func(request) (any, error) { return nil, l.refuse(dcr.Rejected, "something_new") }
	l.pass(4 * time.Hour)
	l.expectState(ipc.StateRejected)
	l.start()
	l.requests = nil
	l.pass(24 * time.Hour)
	l.expectState(ipc.StateRejected)
	if n := len(l.requests); n < 3 || n > 40 {
		t.Errorf("%d requests in a day", n)
	}
	for _, gap := range l.gaps(0) {
		if gap < 15*time.Minute {
			t.Errorf("tried again after %v", gap)
		}
	}

	// Other trouble before a refusal, or between two, does not count as one.
	for name, trouble := range map[string]func(n int) bool{
		"before":     func(n int) bool { return n < 20 },
		"in between": func(n int) bool { return n%5 == 0 },
	} {
		l := newLab(t)
		l.answer = func(request) (any, error) {
			if trouble(len(l.requests)) {
				return nil, errOffline
			}
			return nil, l.refuse(dcr.Rejected, "something_new")
		}
		for len(l.requests) < 25 {
			l.pass(time.Minute)
		}
		if l.state() != ipc.StateWaiting {
			t.Errorf("with other trouble %s it is %s", name, l.state())
		}
	}
}

func TestAChangedStatementKeepsThePair(t *testing.T) {
	l := newLab(t)
	l.pass(10 * time.Second)
	l.setup.Apps[0].SoftwareStatement = "another"
	if err := l.engine.configure(l.setup, l.clock.Now()); err != nil {
		t.Fatal(err)
	}
	l.start()
	l.pass(10 * time.Hour)
	if n := l.count(callRegister); n != 1 {
		t.Errorf("%d registrations", n)
	}
}

func TestCredentialsBelongToTheEndpoint(t *testing.T) {
	l := newLab(t)
	l.pass(10 * time.Second)
	first, home := l.served(), l.setup.Endpoint
	for _, endpoint := range []string{"https://staging.example", home} {
		l.setup.Endpoint = endpoint
		if err := l.engine.configure(l.setup, l.clock.Now()); err != nil {
			t.Fatal(err)
		}
		l.pass(10 * time.Second)
		l.expectCounts(2, 2)
	}
	if l.served() != first {
		t.Error("switching back did not find the first token again")
	}
}

func TestReport(t *testing.T) {
	l := newLab(t)
	l.pass(10 * time.Second)
	first := l.served()
	if action := l.engine.report(l.machine(), l.clock.Now()); action != ipc.ActionRefresh {
		t.Fatalf("the first report leads to %q", action)
	}
	l.expectState(ipc.StateStale)
	l.pass(10 * time.Second)
	l.expectCounts(1, 2)
	if l.served() == first {
		t.Error("the refused token is still served after the refresh")
	}
	for range 29 {
		if action := l.engine.report(l.machine(), l.clock.Now()); action != ipc.ActionNone {
			t.Fatalf("a second report within 5 minutes leads to %q", action)
		}
		l.pass(10 * time.Second)
	}
	l.expectCounts(1, 2)
	l.pass(20 * time.Second)
	if action := l.engine.report(l.machine(), l.clock.Now()); action != ipc.ActionRefresh {
		t.Errorf("a report after 5 minutes leads to %q", action)
	}
	l.pass(time.Hour)
	l.expectCounts(1, 3) // reports alone never register
}

func TestAReportWhileCredentialsAreReplaced(t *testing.T) {
	l := newLab(t)
	l.pass(10 * time.Second)
	l.answer = func(r request) (any, error) {
		if r.kind == callToken {
			return nil, l.refuse(dcr.Rejected, "invalid_client")
		}
		return nil, errOffline
	}
	report := func(want string) {
		t.Helper()
		if action := l.engine.report(l.machine(), l.clock.Now()); action != want {
			t.Errorf("the report leads to %q, want %q", action, want)
		}
	}
	report(ipc.ActionRefresh)
	l.pass(10 * time.Minute) // refused twice, and the registration fails again and again
	if n := l.count(callRegister); n < 3 || l.machine().flight != nil {
		t.Fatalf("%d registrations", n)
	}
	report(ipc.ActionRegister)
	l.latency = time.Minute
	for l.machine().flight == nil {
		l.pass(time.Second)
	}
	report(ipc.ActionRegister)
	l.latency, l.answer = 80*time.Millisecond, l.healthy
	l.pass(time.Hour)
	l.expectState(ipc.StateReady)
	report(ipc.ActionRefresh)
}

func TestNobodyWaitsForARefreshThatCannotLeave(t *testing.T) {
	for name, hinder := range map[string]func(*lab){
		"the clock is not set": func(l *lab) { l.clock.wall = time.Unix(0, 0) },
		"the gate is shut":     func(l *lab) { l.engine.throttled(&call{}, time.Minute, l.clock.Now()) },
		"it has just failed": func(l *lab) {
			l.answer = func(request) (any, error) { return nil, errOffline }
			l.engine.refresh(l.machine(), l.clock.Now())
			l.pass(100 * time.Millisecond)
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.pass(10 * time.Second)
			hinder(l)
			if action := l.engine.report(l.machine(), l.clock.Now()); action != ipc.ActionRefresh {
				t.Fatalf("the report leads to %q", action)
			}
			if l.view().core.hold {
				t.Error("players wait")
			}
		})
	}
}

func TestReset(t *testing.T) {
	l := newLab(t)
	l.pass(10 * time.Second)
	if err := l.engine.reset(l.machine(), l.clock.Now()); err != nil {
		t.Fatal(err)
	}
	if l.served() != "" || l.store.apps[labEndpoint+"ref30"].Credentials != nil {
		t.Error("credentials or token outlived the reset")
	}
	l.pass(10 * time.Second)
	l.expectCounts(2, 2)
	if n := l.machine().rec.History.Registrations; n != 2 {
		t.Errorf("%d registrations counted, want 2", n)
	}

	l.store.fails = errDisk
	if err := l.engine.reset(l.machine(), l.clock.Now()); err == nil || l.served() == "" {
		t.Error("a reset that can't be stored must change nothing, and say so")
	}
}

func TestResetDropsTheAnswerOfACallUnderWay(t *testing.T) {
	l := newLab(t)
	l.pass(50 * time.Millisecond) // the registration is under way
	if err := l.engine.reset(l.machine(), l.clock.Now()); err != nil {
		t.Fatal(err)
	}
	l.pass(50 * time.Millisecond)
	if l.machine().rec.Credentials != nil {
		t.Error("credentials of before the reset were taken")
	}
	l.pass(10 * time.Second)
	l.expectState(ipc.StateReady)
}
