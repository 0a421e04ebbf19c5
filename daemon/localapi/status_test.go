package localapi

import (
	"encoding/json"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tvpassd/tvpassd/daemon/broker"
	"github.com/tvpassd/tvpassd/daemon/clock"
	"github.com/tvpassd/tvpassd/daemon/throttle"
	"github.com/tvpassd/tvpassd/ipc"
	"github.com/tvpassd/tvpassd/ipc/server"
	"github.com/tvpassd/tvpassd/storage"
)

const statusEndpoint = "http://127.0.0.1:1"

var statusNow = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// told is a broker whose Overview is set by the test.
type told struct {
	*broker.Broker
	change func(*broker.Overview)
}

func (b told) Overview() broker.Overview {
	o := b.Broker.Overview()
	b.change(&o)
	return o
}

// newStatus returns an API over the stored apps, an hour after boot. No call is
// made.
func newStatus(t *testing.T, apps map[string]storage.App, change func(*broker.Overview)) *API {
	t.Helper()
	at := stopped{clock.Reading{Boot: time.Hour, Wall: statusNow}}
	store, err := storage.Open(storage.Config{Dir: t.TempDir(), Now: func() time.Time { return statusNow }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	setup := broker.Setup{Endpoint: statusEndpoint}
	for id, app := range apps {
		if err := store.SaveApp(statusEndpoint, id, app); err != nil {
			t.Fatal(err)
		}
		setup.Apps = append(setup.Apps, broker.App{ID: id, SoftwareStatement: "a.b.c"})
	}
	b, err := broker.New(broker.Config{
		Clock: at, Alarm: at, Store: store,
		Gate:   throttle.New("boot", at.now.Boot, &throttle.File{Path: t.TempDir() + "/gate"}),
		Random: rand.New(rand.NewPCG(1, 2)), Log: slog.New(slog.DiscardHandler),
	}, setup)
	if err != nil {
		t.Fatal(err)
	}
	a := New(Config{
		Broker: told{b, change}, Hardware: plainDevice{}, Store: store, Line: emptyLine{},
		Log:    slog.New(slog.DiscardHandler),
		Socket: func() error { return nil }, Volatile: func() string { return "" }, Changed: func() string { return "" },
	})
	a.Adopt(Settings{Endpoint: statusEndpoint, Policy: &server.Policy{Replaced: make(chan struct{})}})
	return a
}

// withToken is an app whose token was asked for some time ago.
func withToken(ago time.Duration) storage.App {
	return storage.App{
		Credentials: &storage.Credentials{ClientID: "client-of-an-app", ClientSecret: "secret",
			RegisteredAt: statusNow.Add(-ago)},
		History: storage.History{Registrations: 1},
		Token: &storage.Token{
			AccessToken: "token", Life: time.Hour, RefreshAfter: 40 * time.Minute, ServerSent: statusNow.Add(-ago),
			Sent: storage.Stamp{BootID: "boot", Boot: time.Hour - ago, Wall: statusNow.Add(-ago)},
		},
	}
}

func same(*broker.Overview) {}

func TestATokenCountsFromItsRequest(t *testing.T) {
	a := newStatus(t, map[string]storage.App{"ref30": withToken(10*time.Minute + 500*time.Millisecond)}, same)
	tok, err := a.Token(t.Context(), "ref30", ipc.Query{})
	if err != nil {
		t.Fatal(err)
	}
	issued := statusNow.Add(-10*time.Minute - 500*time.Millisecond)
	if !tok.IssuedAt.Equal(issued) || !tok.ExpiresAt.Equal(issued.Add(time.Hour)) || tok.ExpiresIn != 50*60-1 {
		t.Errorf("%+v", tok)
	}
	st := a.Status(server.Viewer{Admin: true}).Apps[0]
	if !st.TokenExpiresAt.Equal(issued.Add(time.Hour)) || *st.TokenExpiresIn != 50*60-1 || *st.NextRefreshIn != 30*60-1 {
		t.Errorf("the status is %+v", st)
	}
	if st.LastError != nil || st.State != ipc.StateReady {
		t.Errorf("%s, %+v", st.State, st.LastError)
	}
}

func TestStatusOfClockAndThrottle(t *testing.T) {
	for _, skew := range []time.Duration{1500 * time.Millisecond, -1500 * time.Millisecond, 0} {
		a := newStatus(t, nil, func(o *broker.Overview) { o.Skew, o.GateOpens = skew, 2*time.Second })
		st := a.Status(server.Viewer{Admin: true})
		if st.Clock.SkewMS != skew.Milliseconds() {
			t.Errorf("skew_ms is %d if the server is %v ahead", st.Clock.SkewMS, skew)
		}
		if st.Throttle.Open || st.Throttle.OpensInMS != 2000 {
			t.Errorf("the throttle is %+v", st.Throttle)
		}
	}
	if st := newStatus(t, nil, same).Status(server.Viewer{Admin: true}); st.Clock.SkewMS != 0 || !st.Throttle.Open ||
		st.Throttle.OpensInMS != 0 {
		t.Errorf("at rest: %+v, %+v", st.Clock, st.Throttle)
	}
}

func TestWarningOfASharedThrottle(t *testing.T) {
	for _, shared := range []bool{false, true} {
		st := newStatus(t, nil, func(o *broker.Overview) { o.Shared = shared }).Status(server.Viewer{Admin: true})
		warns := slices.ContainsFunc(st.Warnings, func(w ipc.Warning) bool { return w.Code == "throttle_shared" })
		if warns != shared {
			t.Errorf("the warnings are %v", st.Warnings)
		}
	}
}

func TestRetryAfterIsRoundedUp(t *testing.T) {
	for after, want := range map[time.Duration]int64{
		0: 0, time.Nanosecond: 1, time.Millisecond: 1,
		time.Millisecond + 1: 2, time.Second: 1000, 1500 * time.Microsecond: 2,
	} {
		err := problem(&broker.NoTokenError{Failure: broker.Failure{Code: ipc.CodeOffline}, RetryAfter: after})
		if p, ok := errors.AsType[*ipc.Problem](err); !ok || p.RetryAfterMS != want {
			t.Errorf("%v: %v, want %d ms", after, err, want)
		}
	}
}

// Admins see that the configuration on disk changed, unless it was refused.
func TestReloadNeeded(t *testing.T) {
	a := newStatus(t, map[string]storage.App{"alpha": withToken(0)}, func(*broker.Overview) {})
	a.cfg.Changed = func() string { return "/etc/tvpassd/config.toml" }
	codes := func(v server.Viewer) (codes []string) {
		for _, w := range a.Status(v).Warnings {
			codes = append(codes, w.Code)
		}
		return codes
	}
	if got := codes(server.Viewer{Admin: true}); !slices.Equal(got, []string{"reload_needed"}) {
		t.Errorf("an admin sees %q", got)
	}
	if got := codes(server.Viewer{Apps: []string{"alpha"}}); len(got) > 0 {
		t.Errorf("a player sees %q", got)
	}
	settings := a.Settings()
	settings.Items = []Item{{Code: ipc.CodeInvalidConfiguration, Admin: true}}
	a.Adopt(settings)
	if got := codes(server.Viewer{Admin: true}); !slices.Equal(got, []string{"invalid_configuration"}) {
		t.Errorf("with a refused configuration an admin sees %q", got)
	}
}

// Two users, three apps, and warnings that concern one of them, everybody or
// admins only.
func TestEachSeesTheWarningsThatConcernThem(t *testing.T) {
	gone := withToken(time.Minute)
	gone.History.Replaced = &storage.Stamp{BootID: "boot", Boot: 50 * time.Minute, Wall: statusNow.Add(-10 * time.Minute)}
	const secretPath = "/srv/others/secret.toml"
	a := newStatus(t, map[string]storage.App{"alpha": withToken(0), "beta": withToken(0), "gamma": gone},
		func(o *broker.Overview) {
			o.StorageErr = errors.New("write " + secretPath + ": no space left on device")
		})
	settings := a.Settings()
	settings.Items = []Item{{Code: "app_disabled", Detail: secretPath + " is bad", Admin: true}}
	a.Adopt(settings)
	for _, tc := range []struct {
		name   string
		viewer server.Viewer
		codes  []string
		apps   []string
		path   bool
	}{
		{"alice", server.Viewer{Apps: []string{"alpha", "beta"}}, []string{"storage"}, []string{"alpha", "beta"}, false},
		{"bob", server.Viewer{Apps: []string{"gamma"}}, []string{"credentials_replaced", "storage"}, []string{"gamma"},
			false},
		{"a stranger", server.Viewer{}, []string{"storage"}, nil, false},
		{"an admin", server.Viewer{Admin: true}, []string{"app_disabled", "credentials_replaced", "storage"},
			[]string{"alpha", "beta", "gamma"}, true},
	} {
		st := a.Status(tc.viewer)
		var codes, apps []string
		for _, w := range st.Warnings {
			codes = append(codes, w.Code)
		}
		for _, s := range st.Apps {
			apps = append(apps, s.App)
		}
		slices.Sort(codes)
		if !slices.Equal(codes, tc.codes) || !slices.Equal(apps, tc.apps) {
			t.Errorf("%s sees warnings %q of apps %q", tc.name, codes, apps)
		}
		text, err := json.Marshal(st)
		if err != nil {
			t.Fatal(err)
		}
		if has := strings.Contains(string(text), secretPath); has != tc.path {
			t.Errorf("%s reads the path: %v\n%s", tc.name, has, text)
		}
		for _, app := range []string{"alpha", "beta", "gamma"} {
			if has := strings.Contains(string(text), app); has != slices.Contains(tc.apps, app) {
				t.Errorf("%s reads of %s: %v\n%s", tc.name, app, has, text)
			}
		}
	}
}

// Watchers check their right again once another policy is in force.
func TestAdoptTellsOfAnotherPolicy(t *testing.T) {
	a := newStatus(t, nil, same)
	first := a.Policy()
	a.Adopt(Settings{Endpoint: statusEndpoint, Policy: first})
	select {
	case <-first.Replaced:
		t.Fatal("the policy is said to be replaced by itself")
	default:
	}
	a.Adopt(Settings{Endpoint: statusEndpoint, Policy: &server.Policy{Replaced: make(chan struct{})}})
	select {
	case <-first.Replaced:
	default:
		t.Error("nobody is told that the policy was replaced")
	}
}
