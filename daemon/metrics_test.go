package daemon

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/tvpassd/tvpassd/daemon/broker"
	"github.com/tvpassd/tvpassd/ipc"
	"github.com/tvpassd/tvpassd/ipc/server"
)

// A box with a valid token and no server: nothing is called, and a player of another app waits for nothing.
func TestMetricsAreOfTheAppsInSight(t *testing.T) {
	cfg := onBench(t, "eyJhbGciOiJub25lIn0.e30.c2ln")
	keepToken(t, cfg)
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.listener.Close(); d.store.Close() })
	for range 3 {
		if _, err := d.Token(t.Context(), "ref30", ipc.Query{}); err != nil {
			t.Fatal(err)
		}
	}
	d.served.waited("ref30", 2*time.Second)
	d.served.waited("ref30", time.Minute)
	d.served.count("ref30", context.Canceled)
	d.served.count("ref30", &broker.NoTokenError{Failure: broker.Failure{Code: broker.CodeOffline}})

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
tvpassd_throttle_open 0
`
	const admins = `tvpassd_throttle_waits_total 0
tvpassd_throttle_wait_seconds_total 0
tvpassd_storage_writes_total 
tvpassd_storage_written_bytes_total 
`
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
			if err := d.WriteMetrics(&text, tc.viewer); err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(everybodys + owners + admins) {
				line = strings.TrimSuffix(line, "\n")
				if has, wants := strings.Contains(text.String(), "\n"+line), strings.Contains(tc.want, line); has != wants {
					t.Errorf("%q is there: %v, want %v\n%s", line, has, wants, &text)
				}
			}
			// All but 6 of the 9 outcomes of players' requests have happened.
			if n := strings.Count(text.String(), `app="ref30"`); sees && n != 52-6 {
				t.Errorf("%d series of one app, want %d", n, 52-6)
			}
			if !sees && strings.Contains(text.String(), "ref30") {
				t.Errorf("it names the app\n%s", &text)
			}
		})
	}
}

// However many requests there are, an app has as many series as before.
func TestSeriesAreBoundedByTheApps(t *testing.T) {
	s := served{counts: map[servedKey]int64{}, waits: map[string]broker.Durations{}}
	codes := []string{broker.CodeNotReady, broker.CodeThrottled, broker.CodeOffline, broker.CodeServerError, broker.CodeRejected, broker.CodeClockUnset, broker.CodeStorage}
	for n := range 1000 {
		s.count("one", nil)
		s.count("one", context.DeadlineExceeded)
		s.count("one", broker.ErrUnknownApp)
		s.count("one", &broker.NoTokenError{Failure: broker.Failure{Code: codes[n%len(codes)], ServerCode: strings.Repeat("x", n), Detail: "why"}})
		s.waited("one", time.Duration(n)*time.Second)
	}
	if len(s.counts) != len(codes)+2 || len(s.waits) != 1 {
		t.Errorf("%v, %v", s.counts, s.waits)
	}
}
