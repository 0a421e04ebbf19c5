package localapi

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/tvpassd/tvpassd/daemon/broker"
	"github.com/tvpassd/tvpassd/daemon/clock"
	"github.com/tvpassd/tvpassd/daemon/throttle"
	"github.com/tvpassd/tvpassd/device"
	"github.com/tvpassd/tvpassd/ipc"
	"github.com/tvpassd/tvpassd/ipc/server"
	"github.com/tvpassd/tvpassd/storage"
)

// stopped is a clock that stands still, and an alarm that never rings.
type stopped struct{ now clock.Reading }

func (s stopped) Now() clock.Reading { return s.now }
func (stopped) BootID() string       { return "boot" }
func (stopped) Synchronised() bool   { return true }
func (stopped) Set(time.Duration)    {}
func (stopped) C() <-chan struct{}   { return nil }

// plainDevice is a device with an identifier and nothing to complain about.
type plainDevice struct{}

func (plainDevice) Identifier() device.Identifier {
	return device.Identifier{Value: "00ff", Source: "mac"}
}
func (plainDevice) Info(string) device.Info       { return device.Info{} }
func (plainDevice) Describe() (ipc.Device, error) { return ipc.Device{Info: []byte("{}")}, nil }
func (plainDevice) Warnings() []device.Warning    { return nil }

// newAPI returns an API over a broker that never runs. Its one app has a valid
// token.
func newAPI(t *testing.T) *API {
	t.Helper()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	at := stopped{clock.Reading{Boot: time.Hour, Wall: now}}
	store, err := storage.Open(storage.Config{Dir: t.TempDir(), Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	err = store.SaveApp("http://127.0.0.1:1", "ref30", storage.App{
		Credentials: &storage.Credentials{ClientID: "client", ClientSecret: "secret", RegisteredAt: now},
		History:     storage.History{Registrations: 1},
		Token: &storage.Token{
			AccessToken: "token", Life: time.Hour, RefreshAfter: 40 * time.Minute, ServerSent: now,
			Sent: storage.Stamp{BootID: "boot", Boot: at.now.Boot, Wall: now},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	b, err := broker.New(broker.Config{
		Clock: at, Alarm: at, Store: store, Random: rand.New(rand.NewPCG(1, 2)), Log: slog.New(slog.DiscardHandler),
		Gate: throttle.New("boot", at.now.Boot, &throttle.File{Path: t.TempDir() + "/gate"}),
	}, broker.Setup{Endpoint: "http://127.0.0.1:1", Apps: []broker.App{{ID: "ref30", SoftwareStatement: "a.b.c"}}})
	if err != nil {
		t.Fatal(err)
	}
	a := New(Config{
		Broker: b, Hardware: plainDevice{}, Store: store, Line: emptyLine{},
		Log: slog.New(slog.DiscardHandler), Version: "1.2.3",
		Socket: func() error { return nil }, Volatile: func() string { return "" }, Changed: func() string { return "" },
	})
	a.Adopt(Settings{Endpoint: "http://127.0.0.1:1", Policy: &server.Policy{Replaced: make(chan struct{})}})
	return a
}

// emptyLine is a line in which nobody waits.
type emptyLine struct{}

func (emptyLine) Load(string) throttle.Load { return throttle.Load{} }

// Lines of the metrics: those of the app's users, of everybody and of admins.
const owners = `tvpassd_token_usable{app="ref30"} 1
tvpassd_registrations_total{app="ref30"} 1
tvpassd_app_state{app="ref30",state="ready"} 1
tvpassd_app_state{app="ref30",state="rejected"} 0
tvpassd_token_requests_total{app="ref30",outcome="gone"} 1
tvpassd_token_requests_total{app="ref30",outcome="offline"} 1
tvpassd_token_requests_total{app="ref30",outcome="success"} 3
tvpassd_token_wait_seconds_bucket{app="ref30",le="0.1"} 0
tvpassd_token_wait_seconds_bucket{app="ref30",le="3"} 1
tvpassd_token_wait_seconds_bucket{app="ref30",le="10"} 1
tvpassd_token_wait_seconds_bucket{app="ref30",le="+Inf"} 2
tvpassd_token_wait_seconds_sum{app="ref30"} 62
tvpassd_token_wait_seconds_count{app="ref30"} 2
`
const everybodys = `tvpassd_build_info{version="1.2.3"} 1
tvpassd_clock_set 1
tvpassd_storage_ok 1
tvpassd_throttle_open 1
`
const admins = `tvpassd_throttle_waits_total 0
tvpassd_throttle_wait_seconds_total 0
tvpassd_storage_writes_total 
tvpassd_storage_written_bytes_total 
`

// Nothing is called here, and a player of another app waits for nothing.
func TestMetricsAreOfTheAppsInSight(t *testing.T) {
	a := newAPI(t)
	for range 3 {
		if _, err := a.Token(t.Context(), "ref30", ipc.Query{}); err != nil {
			t.Fatal(err)
		}
	}
	a.Waited("ref30", 2*time.Second)
	a.Waited("ref30", time.Minute)
	a.counts.count("ref30", context.Canceled)
	a.counts.count("ref30", &broker.NoTokenError{Failure: broker.Failure{Code: ipc.CodeOffline}})

	for _, tc := range []struct {
		name   string
		viewer server.Viewer
		want   string
	}{
		{"a stranger", server.Viewer{}, everybodys},
		{"a player", server.Viewer{Apps: []string{"ref30"}}, everybodys + owners},
		{"an admin", server.Viewer{Admin: true}, everybodys + owners + admins},
	} {
		t.Run(tc.name, func(t *testing.T) {
			sees := tc.viewer.Sees("ref30")
			var text strings.Builder
			if err := a.WriteMetrics(&text, tc.viewer); err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(everybodys + owners + admins) {
				line = strings.TrimSuffix(line, "\n")
				if has, wants := strings.Contains(text.String(), "\n"+line), strings.Contains(tc.want, line); has != wants {
					t.Errorf("%q is there: %v, want %v\n%s", line, has, wants, &text)
				}
			}
			// All but 6 of the 9 outcomes of players' requests have happened.
			if n := strings.Count(text.String(), `app="ref30"`); sees && n != 53-6 {
				t.Errorf("%d series of one app, want %d", n, 53-6)
			}
			if !sees && strings.Contains(text.String(), "ref30") {
				t.Errorf("it names the app\n%s", &text)
			}
		})
	}
}

// However many requests there are, an app has as many series as before.
func TestSeriesAreBoundedByTheApps(t *testing.T) {
	s := counts{answers: map[answerKey]int64{}, waits: map[string]broker.Durations{}}
	codes := []string{ipc.CodeNotReady, ipc.CodeThrottled, ipc.CodeOffline, ipc.CodeServerError, ipc.CodeRejected,
		ipc.CodeClockUnset, ipc.CodeStorage}
	for n := range 1000 {
		s.count("one", nil)
		s.count("one", context.DeadlineExceeded)
		s.count("one", broker.ErrUnknownApp)
		s.count("one", &broker.NoTokenError{Failure: broker.Failure{Code: codes[n%len(codes)],
			ServerCode: strings.Repeat("x", n), Detail: "why"}})
		s.waited("one", time.Duration(n)*time.Second)
	}
	if len(s.answers) != len(codes)+2 || len(s.waits) != 1 {
		t.Errorf("%v, %v", s.answers, s.waits)
	}
}
