// Record prints a day of a small fleet as OpenMetrics, for `promtool tsdb
// create-blocks-from openmetrics`. The dashboard's queries are tested on that
// day and its picture is drawn from it. Each run prints the same day.
//
// Eight devices with two apps each are well, with five exceptions: the server
// is away from 6:00 to 9:30, tv3 is throttled from 12:00 to 13:00, the
// statement of kids is revoked at 15:00 on tv5, tv6 is off from 18:00 to 20:00,
// and tv7 loses its state at 21:00.
package main

import (
	"bufio"
	"fmt"
	"math"
	"os"
	"strings"
	"time"
)

const (
	step    = 20 * time.Minute
	devices = 8
)

func main() {
	out := bufio.NewWriter(os.Stdout)
	day := time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)
	fleet := make([]*device, devices)
	for i := range fleet {
		fleet[i] = &device{number: i, counts: map[string]float64{}}
	}
	for after := time.Duration(0); after < 24*time.Hour; after += step {
		for _, d := range fleet {
			d.tick(after)
			d.print(out, day.Add(after).Unix())
		}
	}
	fmt.Fprintln(out, "# EOF")
	if err := out.Flush(); err != nil {
		fmt.Fprintln(os.Stderr, "record:", err)
		os.Exit(1)
	}
}

// device is what one device has counted, and the values of the moment.
type device struct {
	number int
	counts map[string]float64 // by series; they only grow
	values map[string]float64
}

func apps() []string { return []string{"kids", "news"} }

// add counts.
func (d *device) add(n float64, name string, labels ...string) {
	d.counts[series(name, labels...)] += n
}

func (d *device) set(value float64, name string, labels ...string) {
	d.values[series(name, labels...)] = value
}

func series(name string, labels ...string) string {
	text := name
	for i := 0; i < len(labels); i += 2 {
		text += fmt.Sprintf(",%s=%q", labels[i], labels[i+1])
	}
	return text
}

// spread adds observations around a number of seconds to a histogram.
func (d *device) spread(name string, n, seconds float64, bounds []float64, labels ...string) {
	for _, bound := range bounds {
		d.add(n*(1-math.Exp(-bound/seconds)), name+"_bucket", append(labels, "le", fmt.Sprint(bound))...)
	}
	d.add(n, name+"_bucket", append(labels, "le", "+Inf")...)
	d.add(n, name+"_count", labels...)
	d.add(n*seconds, name+"_sum", labels...)
}

// tick is what happens in a step.
func (d *device) tick(at time.Duration) {
	hour := at.Hours()
	d.values = map[string]float64{}
	if d.number == 6 && hour >= 18 && hour < 20 { // off
		return
	}
	away := hour >= 6 && hour < 9.5
	d.set(1, "tvpassd_up")
	d.set(float64(1764028800+int(at.Seconds())), "node_textfile_mtime_seconds",
		"file", "/var/lib/prometheus/node-exporter/tvpassd.prom")
	version := "1.0.0"
	if hour > 3+float64(d.number) {
		version = "1.1.0"
	}
	d.set(1, "tvpassd_build_info", "version", version)
	d.set(1764000000, "tvpassd_start_time_seconds")
	d.set(1, "tvpassd_clock_set")
	d.set(0.2*float64(d.number)+math.Sin(hour+float64(d.number))/10, "tvpassd_clock_skew_seconds")
	d.set(1, "tvpassd_storage_ok")
	d.add(30, "tvpassd_storage_writes_total")
	d.add(250*float64(1+d.number%3), "tvpassd_storage_written_bytes_total")
	health := "healthy"
	for i, app := range apps() {
		if state := d.app(app, i, hour, away); state == "stale" && health == "healthy" {
			health = "degraded"
		} else if state == "waiting" || state == "rejected" {
			health = "failed"
		}
	}
	if d.number == 7 && hour >= 21 {
		d.set(1, "tvpassd_warnings", "code", "state_volatile")
		health = "degraded"
	}
	throttled := d.number == 3 && hour >= 12 && hour < 13
	open := 1.0
	if throttled {
		open = 0
	}
	d.set(open, "tvpassd_throttle_open")
	for _, h := range []string{"healthy", "degraded", "failed"} {
		d.set(is(h == health), "tvpassd_health", "health", h)
	}
	d.set(is(throttled), "tvpassd_gateway_in_flight")
}

// app is what an app does in a step. It returns its state.
func (d *device) app(app string, i int, hour float64, away bool) string {
	bounds := []float64{0.1, 0.3, 1, 3, 10}
	state, outcome := "ready", "success"
	switch {
	case d.number == 5 && app == "kids" && hour >= 15:
		state, outcome = "rejected", "rejected"
	case d.number == 3 && hour >= 12 && hour < 13:
		state, outcome = "stale", "throttled"
	case away && hour > 7+float64((d.number*3+i)%8)/3: // the old token has ended
		state, outcome = "waiting", "offline"
	case away:
		state, outcome = "stale", "offline"
	}
	for _, s := range []string{"ready", "refreshing", "registering", "rejected", "stale", "waiting"} {
		d.set(is(s == state), "tvpassd_app_state", "app", app, "state", s)
	}
	usable := is(state == "ready" || state == "stale")
	d.set(usable, "tvpassd_token_usable", "app", app)
	left := math.Mod(21600-hour*3600-float64(d.number)*1700, 14400)
	d.set(usable*(21600+left-14400), "tvpassd_token_expires_in_seconds", "app", app)
	registrations := 1.0
	if d.number == 7 && hour >= 21 {
		registrations = 2
	}
	d.set(registrations, "tvpassd_registrations_total", "app", app)
	calls := 1.0 / 48
	if outcome != "success" {
		calls = 0.4
	}
	d.add(calls, "tvpassd_upstream_requests_total", "app", app, "endpoint", "token", "outcome", outcome)
	d.spread("tvpassd_upstream_request_duration_seconds", calls, 0.2+is(away)*4, bounds, "app", app, "endpoint", "token")
	players := 2 + math.Sin(hour/4)
	answer := "success"
	if usable == 0 {
		answer = map[string]string{"waiting": "offline", "rejected": "rejected"}[state]
	}
	d.add(players, "tvpassd_token_requests_total", "app", app, "outcome", answer)
	d.spread("tvpassd_token_wait_seconds", 0.05+is(usable == 0), 0.5+is(away)*8, bounds, "app", app)
	result := "2xx"
	if usable == 0 {
		result = "no_token"
	} else if away {
		result = "offline"
	}
	d.add(3*players, "tvpassd_gateway_requests_total", "app", app, "operation", "authorize", "result", result)
	d.add(0.02*players, "tvpassd_gateway_requests_total", "app", app, "operation", "sessions", "result", "5xx")
	d.spread("tvpassd_gateway_request_duration_seconds", 3*players, 0.25+is(away), bounds, "app", app)
	d.spread("tvpassd_gateway_wait_seconds", 3*players, 0.05+is(away)*2, bounds, "app", app)
	d.set(math.Round(is(away)*2*players), "tvpassd_gateway_waiting", "app", app)
	return state
}

func is(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// print writes what a scrape would find; nothing of a device that is off.
func (d *device) print(out *bufio.Writer, at int64) {
	if len(d.values) == 0 {
		return
	}
	for _, all := range []map[string]float64{d.values, d.counts} {
		for name, value := range all {
			bare, labels, labelled := strings.Cut(name, ",")
			if labelled {
				labels = "," + labels
			}
			fmt.Fprintf(out, "%s{instance=\"tv%d\"%s} %g %d\n", bare, d.number, labels, value, at)
		}
	}
}
