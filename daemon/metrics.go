package daemon

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/tvpassd/tvpassd/daemon/broker"
	"github.com/tvpassd/tvpassd/ipc"
)

// WriteMetrics is part of ipc.Backend: Prometheus' text format, by hand, for the client library would add 2.3 MB to the
// binary. There are as many series as apps and outcomes, never more.
func (d *Daemon) WriteMetrics(w io.Writer, sees func(app string) bool) error {
	m := &metrics{w: bufio.NewWriter(w)}
	d.boxMetrics(m, sees)
	d.appMetrics(m, sees)
	return m.w.Flush()
}

// boxMetrics are those of the daemon as a whole.
func (d *Daemon) boxMetrics(m *metrics, sees func(string) bool) {
	st := d.Status(sees, false)
	m.family("tvpassd_build_info", "gauge", "The running version.")
	m.sample(1, "version", st.Version)
	m.family("tvpassd_start_time_seconds", "gauge", "Start of the daemon since unix epoch in seconds, by the box's clock.")
	m.sample(float64(st.StartedAt.Unix()))
	m.family("tvpassd_health", "gauge", "1 for the health that tvpassd status shows.")
	for _, h := range []string{ipc.Healthy, ipc.Degraded, ipc.Failed} {
		m.sample(flag(st.Health == h), "health", h)
	}
	m.family("tvpassd_warnings", "gauge", "Things that are not as they should be, by the code that tvpassd status shows.")
	codes := map[string]int{}
	for _, warning := range st.Warnings {
		codes[warning.Code]++
	}
	for _, code := range slices.Sorted(maps.Keys(codes)) {
		m.sample(float64(codes[code]), "code", code)
	}
	m.family("tvpassd_clock_set", "gauge", "1 if the clock can be right.")
	m.sample(flag(st.Clock.Set))
	m.family("tvpassd_clock_skew_seconds", "gauge", "How far the server's clock is ahead of the box's; 0 where it is not known.")
	m.sample(float64(st.Clock.SkewMS) / 1000)
	m.family("tvpassd_throttle_open", "gauge", "1 if a request may leave for the server now.")
	m.sample(flag(st.Throttle.Open))
	m.family("tvpassd_storage_ok", "gauge", "1 if the last write of state succeeded.")
	m.sample(flag(st.Storage.OK))
}

// appMetrics are those of each app in sight.
func (d *Daemon) appMetrics(m *metrics, sees func(string) bool) {
	now := d.broker.Now()
	all := d.broker.Views()
	var views []*broker.AppView
	for _, id := range slices.Sorted(maps.Keys(all)) {
		if sees(id) {
			views = append(views, all[id])
		}
	}
	m.family("tvpassd_token_usable", "gauge", "1 if the app has a valid token.")
	for _, v := range views {
		_, ok := v.Token(now)
		m.sample(flag(ok), "app", v.App.ID)
	}
	m.family("tvpassd_token_expires_in_seconds", "gauge", "What is left of the life of the app's token; 0 without one.")
	for _, v := range views {
		tok, _ := v.Token(now)
		m.sample(tok.ExpiresIn.Seconds(), "app", v.App.ID)
	}
	m.family("tvpassd_registrations_total", "counter", "Registrations of the app on this device, in its whole life.")
	for _, v := range views {
		m.sample(float64(v.Registrations()), "app", v.App.ID)
	}
	m.family("tvpassd_upstream_requests_total", "counter", "Requests to the server since the start, by how they ended.")
	for _, v := range views {
		calls := v.Calls()
		outcomes := slices.Collect(maps.Keys(calls))
		sort.Slice(outcomes, func(i, j int) bool {
			a, b := outcomes[i], outcomes[j]
			return cmp.Or(strings.Compare(a.Call, b.Call), strings.Compare(a.Result, b.Result)) < 0
		})
		for _, o := range outcomes {
			m.sample(float64(calls[o]), "app", v.App.ID, "endpoint", o.Call, "outcome", o.Result)
		}
	}
	m.family("tvpassd_token_requests_total", "counter", "Requests of players for a token or headers since the start, by how they ended.")
	for _, c := range d.served.list(sees) {
		m.sample(float64(c.n), "app", c.app, "outcome", c.outcome)
	}
}

// metrics writes the text format. Errors of writing stay in the buffer until it is flushed.
type metrics struct {
	w    *bufio.Writer
	name string
}

func (m *metrics) family(name, kind, help string) {
	m.name = name
	fmt.Fprintf(m.w, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

// sample writes one value with its labels, name and value in turn.
func (m *metrics) sample(value float64, labels ...string) {
	m.w.WriteString(m.name)
	for i := 0; i < len(labels); i += 2 {
		fmt.Fprintf(m.w, "%c%s=%q", "{,"[min(i, 1)], labels[i], labels[i+1])
	}
	if len(labels) > 0 {
		m.w.WriteByte('}')
	}
	fmt.Fprintf(m.w, " %v\n", value)
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// served counts what players were answered.
type served struct {
	mu     sync.Mutex
	counts map[servedKey]int64
}

type servedKey struct{ app, outcome string }

type servedCount struct {
	servedKey
	n int64
}

func (s *served) count(app string, err error) {
	key := servedKey{app, "success"}
	none, ok := errors.AsType[*broker.NoTokenError](err)
	switch {
	case ok:
		key.outcome = none.Code
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		key.outcome = "gone" // the player did not wait for the answer
	case err != nil:
		return // no such app any longer, or the end
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[key]++
}

func (s *served) list(sees func(string) bool) []servedCount {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []servedCount
	for key, n := range s.counts {
		if sees(key.app) {
			list = append(list, servedCount{key, n})
		}
	}
	sort.Slice(list, func(i, j int) bool {
		a, b := list[i], list[j]
		return cmp.Or(strings.Compare(a.app, b.app), strings.Compare(a.outcome, b.outcome)) < 0
	})
	return list
}
