package broker

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tvpassd/tvpassd/daemon/dcr"
	"github.com/tvpassd/tvpassd/ipc"
)

// database is a server's memory of the pairs that it gave out.
type database map[string]bool

// asks makes a server with a database of its own answer, until it is called
// again.
func (l *lab) asks(db database) {
	l.answer = func(r request) (any, error) {
		if r.kind == callToken && !db[r.client] {
			return nil, l.refuse(dcr.Rejected, "invalid_client")
		}
		answer, err := l.healthy(r)
		if c, ok := answer.(dcr.Credentials); ok {
			db[c.ClientID] = true
		}
		return answer, err
	}
}

// incident is something that makes a server refuse what it gave out.
type incident struct {
	name    string
	happens func(l *lab, length time.Duration)
}

func incidents() []incident {
	return []incident{
		{"a fail-over and back to the old database", func(l *lab, length time.Duration) {
			old := database{l.machine().rec.Credentials.ClientID: true}
			l.asks(database{})
			l.pass(length)
			l.asks(old)
		}},
		{"a fail-over and back to a new database", func(l *lab, length time.Duration) {
			l.asks(database{})
			l.pass(length)
			l.asks(database{})
		}},
		{"a revocation that is taken back", func(l *lab, length time.Duration) {
			mine := database{l.machine().rec.Credentials.ClientID: true}
			l.answer = func(r request) (any, error) {
				if r.kind == callRegister {
					return nil, l.refuse(dcr.Rejected, "unapproved_software_statement")
				}
				return nil, l.refuse(dcr.Rejected, "invalid_client")
			}
			l.pass(length)
			l.asks(mine)
		}},
	}
}

// toll counts what an incident costs devices, until three days after its end.
type toll struct {
	signOuts int           // registrations that it led to
	forGood  int           // devices that have another pair in the end
	without  time.Duration // the mean time without a valid token, after the end
}

// The situations in which a device meets an incident.
const (
	atAnyTime  = "at any time"
	refreshing = "as it refreshes its token"
	without    = "without a token"
)

// suffers runs a device through an incident.
func (bill *toll) suffers(t *testing.T, seed uint64, situation string, i incident, length time.Duration) {
	l := newLab(t)
	l.random = rand.New(rand.NewPCG(seed, 11))
	l.asks(database{})
	l.start()
	l.pass(10 * time.Second)
	pair := l.machine().rec.Credentials.ClientID
	l.pass(time.Duration(l.random.Int64N(int64(3 * time.Hour))))
	switch situation {
	case refreshing:
		l.engine.refresh(l.machine(), l.clock.Now())
	case without:
		l.advance(labLife)
	}
	i.happens(l, length)
	for begin := l.clock.boot; l.clock.boot < begin+3*24*time.Hour; {
		l.pass(time.Minute)
		if !l.machine().valid(l.clock.Now()) {
			bill.without += time.Minute / devices
		}
	}
	bill.signOuts += l.machine().rec.History.Registrations - 1
	if l.machine().rec.Credentials.ClientID != pair {
		bill.forGood++
	}
}

// devices go through each incident of TestSignOuts.
const devices = 50

// An incident that passes by itself signs nobody out while there is a token,
// and nobody for good.
func TestSignOuts(t *testing.T) {
	const h, m = time.Hour, time.Minute
	all := incidents()
	for _, tc := range []struct {
		incident  incident
		length    time.Duration
		situation string
		most      toll
	}{
		{all[0], 30 * time.Second, refreshing, toll{}},
		{all[0], 10 * m, refreshing, toll{devices / 5, 0, 0}},
		{all[0], 10 * m, atAnyTime, toll{}},
		{all[0], 10 * m, without, toll{devices, 0, m}},
		{all[0], 2 * h, atAnyTime, toll{devices, 0, 0}},
		{all[1], 10 * m, atAnyTime, toll{devices, devices, 0}},
		{all[1], 10 * m, without, toll{2 * devices, devices, 24 * h}}, // one registration a day
		{all[2], 10 * m, refreshing, toll{}},
		{all[2], 2 * h, atAnyTime, toll{0, 0, m}},
		{all[2], 10 * m, without, toll{0, 0, 20 * m}},
		{all[2], 24 * h, atAnyTime, toll{0, 0, 26 * h}},
	} {
		var bill toll
		for seed := range uint64(devices) {
			bill.suffers(t, seed, tc.situation, tc.incident, tc.length)
		}
		t.Logf("%s after %v, met %s: %d sign-outs of %d devices, %d for good; without a token %v in the mean",
			tc.incident.name, tc.length, tc.situation, bill.signOuts, devices, bill.forGood, bill.without.Round(time.Second))
		if bill.signOuts > tc.most.signOuts || bill.forGood > tc.most.forGood || bill.without > tc.most.without {
			t.Errorf("%s after %v, met %s: %+v, want %+v at most", tc.incident.name, tc.length, tc.situation, bill, tc.most)
		}
	}
}

// How long after the first invalid_client a second one counts depends on
// whether the viewer still has a token.
func TestWhenTheSecondRefusalIsAskedFor(t *testing.T) {
	for _, tc := range []struct {
		name      string
		prepare   func(*lab)
		low, high time.Duration
	}{
		{"a valid token", func(*lab) {}, 10 * time.Minute, time.Hour},
		{"a token that was refused too", (*lab).report, time.Minute, 2 * time.Minute},
		{"the last tenth of a life", func(l *lab) { l.advance(labLife*19/20 - 10*time.Second) }, confirmAfter, labLife / 20},
		{"no token", func(l *lab) { l.advance(labLife) }, confirmAfter, 2 * confirmAfter},
		{"a token that is refused meanwhile", func(l *lab) {
			l.pass(2 * time.Second)
			l.engine.report(l.machine(), l.clock.Now())
		}, time.Minute, 2 * time.Minute},
		{"a token that ends meanwhile", func(l *lab) {
			l.pass(2 * time.Second)
			l.machine().live.expires = l.clock.boot // by what the next Date says
		}, confirmAfter, 2*confirmAfter + 2*time.Second},
		{"a restart", func(l *lab) {
			l.pass(2 * time.Second)
			l.start()
		}, 10 * time.Minute, time.Hour},
	} {
		t.Run(tc.name, func(t *testing.T) {
			shortest, longest := labLife, time.Duration(0)
			for seed := range uint64(60) {
				l := newLab(t)
				l.random = rand.New(rand.NewPCG(seed, 12))
				l.start()
				l.pass(10 * time.Second)
				l.asks(database{})
				l.requests = nil
				l.engine.refresh(l.machine(), l.clock.Now())
				tc.prepare(l)
				for begin := l.clock.boot; len(l.requests) < 2 && l.clock.boot < begin+2*time.Hour; {
					l.pass(time.Second)
				}
				gap := l.gaps(0)[0]
				shortest, longest = min(shortest, gap), max(longest, gap)
				if l.count(callRegister) > 0 {
					t.Fatal("registered before the second refusal")
				}
			}
			if slack := 3 * time.Second; shortest < tc.low || longest > tc.high+slack {
				t.Errorf("asked for between %v and %v later, want %v to %v", shortest, longest, tc.low, tc.high)
			}
			if spread := tc.high - tc.low; longest-shortest < spread/2 {
				t.Errorf("asked for between %v and %v later: want the whole from %v to %v", shortest, longest, tc.low, tc.high)
			}
		})
	}
}

// clients are the clients that asked for a token, in their order.
func (l *lab) clients() (clients []string) {
	for _, r := range l.requests {
		clients = append(clients, string(r.kind)+" "+r.client)
	}
	return clients
}

// Before a device registers again, it tries each pair that it ever had, newest
// first.
func TestTheRoundBeforeARegistration(t *testing.T) {
	l := newLab(t)
	l.pass(10 * time.Second)
	pairs := []string{l.machine().rec.Credentials.ClientID}
	for range 4 {
		l.advance(25 * time.Hour)
		l.asks(database{})
		l.requests = nil
		l.pass(time.Minute)
		l.expectState(ipc.StateReady)
		want := []string{"token " + pairs[0], "token " + pairs[0]}
		for _, pair := range pairs[:min(len(pairs), 1+keptAside)] {
			want = append(want, "token "+pair)
		}
		pairs = append([]string{l.machine().rec.Credentials.ClientID}, pairs...)
		want = append(want, "register ", "token "+pairs[0])
		if diff := cmp.Diff(want, l.clients()); diff != "" {
			t.Fatalf("the calls (-want +got):\n%s", diff)
		}
	}

	// The server knows the oldest kept pair again: it is the pair from then on.
	l.advance(25 * time.Hour)
	l.asks(database{pairs[3]: true})
	l.pass(time.Minute)
	l.expectState(ipc.StateReady)
	if n := l.machine().rec.History.Registrations; n != 5 {
		t.Errorf("%d registrations, want none that was not needed", n)
	}
	l.start() // what is stored
	h := l.machine().rec.History
	var aside []string
	for _, pair := range h.Aside {
		aside = append(aside, pair.ClientID)
	}
	diff := cmp.Diff([]string{pairs[0], pairs[1], pairs[2]}, aside)
	if diff != "" || l.machine().rec.Credentials.ClientID != pairs[3] {
		t.Errorf("the pair is %s, aside (-want +got):\n%s", l.machine().rec.Credentials.ClientID, diff)
	}
	if at := l.view().Replaced(); !at.IsZero() {
		t.Error("viewers are still said to be signed out")
	}
	if !strings.Contains(l.logs.String(), "credentials_restored") {
		t.Error("credentials were restored without a word")
	}

	// An admin's reset forgets all pairs.
	if err := l.engine.reset(l.machine(), l.clock.Now()); err != nil {
		t.Fatal(err)
	}
	l.requests = nil
	l.pass(10 * time.Second)
	if got := l.clients(); len(got) != 2 || got[0] != "register " || len(l.machine().rec.History.Aside) != 0 {
		t.Errorf("after a reset: %v, and %v is kept aside", got, l.machine().rec.History.Aside)
	}
}

// A round that did not finish, or whose registration failed, proves nothing an
// hour later.
func TestARoundIsMadeRightBeforeTheRegistration(t *testing.T) {
	l := newLab(t)
	l.pass(10 * time.Second)
	pair := l.machine().rec.Credentials.ClientID
	l.advance(labLife)
	l.answer = func(r request) (any, error) {
		if r.kind == callRegister {
			return nil, l.refuse(dcr.ServerError, "")
		}
		return nil, l.refuse(dcr.Rejected, "invalid_client")
	}
	l.pass(3 * time.Hour)
	registered, tried := 0, time.Time{}
	for _, r := range l.requests[2:] {
		if r.kind == callToken {
			tried = r.at
			continue
		}
		registered++
		if since := r.at.Sub(tried); since > roundFresh+2*time.Second {
			t.Fatalf("registered %v after the pair was last tried", since)
		}
	}
	if registered < 10 {
		t.Errorf("%d attempts to register in 3 hours", registered)
	}
	if n := len(l.requests); n > 100 {
		t.Errorf("%d calls in 3 hours", n)
	}
	l.asks(database{pair: true})
	l.pass(15*time.Minute + 5*time.Second)
	l.expectState(ipc.StateReady)
	if n := l.machine().rec.History.Registrations; n != 1 {
		t.Errorf("%d registrations", n)
	}
}

// Only a refusal makes the device give up a pair: other failures do not, and no
// pair is skipped.
func TestARoundWaitsOutOtherTrouble(t *testing.T) {
	for name, trouble := range map[string]func(*lab) error{
		"offline":            func(*lab) error { return errOffline },
		"429":                func(l *lab) error { return l.refuse(dcr.Throttled, "") },
		"another refusal":    func(l *lab) error { return l.refuse(dcr.Rejected, "unauthorized_client") },
		"an unexpected code": func(l *lab) error { return l.refuse(dcr.Rejected, "slow_down") },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.pass(10 * time.Second)
			first := l.machine().rec.Credentials.ClientID
			l.advance(labLife)
			l.asks(database{})
			l.pass(time.Minute) // it is replaced
			second := l.machine().rec.Credentials.ClientID
			l.advance(labLife)
			troubled := 3
			l.answer = func(r request) (any, error) {
				switch {
				case r.client == second:
					return nil, l.refuse(dcr.Rejected, "invalid_client")
				case r.client == first && troubled > 0:
					troubled--
					return nil, trouble(l)
				}
				return l.healthy(r)
			}
			l.pass(5 * time.Hour)
			l.expectState(ipc.StateReady)
			if got := l.machine().rec.Credentials.ClientID; got != first {
				t.Errorf("the pair is %s", got)
			}
		})
	}
}
