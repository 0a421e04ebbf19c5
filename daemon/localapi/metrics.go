package localapi

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/tvpassd/tvpassd/daemon/broker"
	"github.com/tvpassd/tvpassd/ipc"
	"github.com/tvpassd/tvpassd/ipc/server"
)

// WriteMetrics is part of server.Views. It writes Prometheus' text format by
// hand: the client library would add 2.3 MB to the binary. The number of series
// is bounded by apps and outcomes. What can only be counted for all apps
// together is for admins: it would show a caller what the apps of others do.
func (a *API) WriteMetrics(w io.Writer, viewer server.Viewer) error {
	m := &metrics{w: bufio.NewWriter(w)}
	a.deviceMetrics(m, a.Status(viewer))
	if viewer.Admin {
		a.sumMetrics(m)
	}
	all := a.cfg.Broker.Views()
	var views []*broker.AppView
	for _, id := range slices.Sorted(maps.Keys(all)) {
		if viewer.Sees(id) {
			views = append(views, all[id])
		}
	}
	a.tokenMetrics(m, views)
	upstreamMetrics(m, views)
	a.counts.write(m, views)
	a.gateway.write(m, views, a.cfg.Line)
	return m.w.Flush()
}

// deviceMetrics are those of the daemon as a whole, as status shows them.
func (a *API) deviceMetrics(m *metrics, st ipc.Status) {
	m.family("tvpassd_build_info", "gauge", "The running version.")
	m.sample(1, "version", st.Version)
	m.family("tvpassd_start_time_seconds", "gauge",
		"Start of the daemon since unix epoch in seconds, by the device's clock.")
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
	m.family("tvpassd_clock_skew_seconds", "gauge",
		"How far the server's clock is ahead of the device's; 0 if that is not known.")
	m.sample(float64(st.Clock.SkewMS) / 1000)
	m.family("tvpassd_throttle_open", "gauge", "1 if a request may leave for the server now.")
	m.sample(flag(st.Throttle.Open))
	m.family("tvpassd_storage_ok", "gauge", "1 if the last write of state succeeded.")
	m.sample(flag(st.Storage.OK))
}

// sumMetrics count what all apps do together, since the start.
func (a *API) sumMetrics(m *metrics) {
	waits, written := a.cfg.Broker.Overview().GateWaits, a.cfg.Store.Written()
	m.family("tvpassd_throttle_waits_total", "counter",
		"Times that a due request had to wait, for the daemon's own limit or after a 429.")
	m.sample(float64(waits.Count))
	m.family("tvpassd_throttle_wait_seconds_total", "counter", "Time in which a due request had to wait.")
	m.sample(waits.Sum.Seconds())
	m.family("tvpassd_storage_writes_total", "counter", "Writes to the state directory.")
	m.sample(float64(written.Writes))
	m.family("tvpassd_storage_written_bytes_total", "counter",
		"Bytes written to the state directory, without the file system's own.")
	m.sample(float64(written.Bytes))
}

// tokenMetrics show the states of the apps and their tokens.
func (a *API) tokenMetrics(m *metrics, views []*broker.AppView) {
	now := a.cfg.Broker.Now()
	m.family("tvpassd_app_state", "gauge", "1 for the state of the app that tvpassd status shows.")
	for _, v := range views {
		state := v.State(now)
		for _, s := range ipc.States() {
			m.sample(flag(s == state), "app", v.App.ID, "state", s)
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
}

// upstreamMetrics count the calls to the server. A call that it answered with
// 429 has the outcome throttled.
func upstreamMetrics(m *metrics, views []*broker.AppView) {
	m.family("tvpassd_upstream_requests_total", "counter", "Requests to the server since the start, by how they ended.")
	for _, v := range views {
		for i, endpoint := range broker.Endpoints() {
			for j, result := range broker.Results() {
				m.sample(float64(v.Calls()[i].Ended[j]), "app", v.App.ID, "endpoint", endpoint, "outcome", result)
			}
		}
	}
	m.family("tvpassd_upstream_request_duration_seconds", "histogram",
		"How long requests to the server took, whatever came of them.")
	for _, v := range views {
		for i, endpoint := range broker.Endpoints() {
			m.histogram(v.Calls()[i].Took, "app", v.App.ID, "endpoint", endpoint)
		}
	}
}

// metrics writes the text format. Errors of writing stay in the buffer until it
// is flushed.
type metrics struct {
	w    *bufio.Writer
	name string
}

func (m *metrics) family(name, kind, help string) {
	m.name = name
	fmt.Fprintf(m.w, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

// sample writes one value with its labels, name and value in turn.
func (m *metrics) sample(value float64, labels ...string) { m.part("", value, labels...) }

// part is a sample whose name has a suffix.
func (m *metrics) part(suffix string, value float64, labels ...string) {
	m.w.WriteString(m.name + suffix)
	for i := 0; i < len(labels); i += 2 {
		fmt.Fprintf(m.w, "%c%s=%q", "{,"[min(i, 1)], labels[i], labels[i+1])
	}
	if len(labels) > 0 {
		m.w.WriteByte('}')
	}
	fmt.Fprintf(m.w, " %v\n", value)
}

func (m *metrics) histogram(d broker.Durations, labels ...string) {
	bounds, n := broker.DurationBounds(), int64(0)
	for i, count := range d.Buckets {
		le := "+Inf"
		if i < len(bounds) {
			le = fmt.Sprint(bounds[i].Seconds())
		}
		n += count
		m.part("_bucket", float64(n), append(labels, "le", le)...)
	}
	m.part("_sum", d.Sum.Seconds(), labels...)
	m.part("_count", float64(n), labels...)
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
