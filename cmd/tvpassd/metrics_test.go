package main

import (
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// Prometheus' own tool accepts the metrics of a device on which everything has
// happened once.
func TestMetricsAreAsPrometheusWantsThem(t *testing.T) {
	l := newLab(t)
	l.addApp("second", "")
	l.order(http.MethodPost, "/fault", `{"path":"token","kind":"429","count":1}`)
	l.up()
	l.token()
	l.tokenOf(nil, "second")
	l.curl("/v1/apps/second/token?wait=0s").expect(t, 200)
	metrics := l.curl("/v1/metrics")
	metrics.expect(t, 200)
	if r := l.exec(nil, metrics.stdout, promtool(t), "check", "metrics"); r.code != 0 || r.stdout+r.stderr != "" {
		t.Errorf("promtool: %d %s%s", r.code, r.stdout, r.stderr)
	}
	for _, line := range []string{
		`tvpassd_health{health="healthy"} 1`,
		`tvpassd_app_state{app="second",state="ready"} 1`,
		`tvpassd_registrations_total{app="ref30"} 1`,
		`tvpassd_upstream_requests_total{app="ref30",endpoint="register",outcome="success"} 1`,
		`tvpassd_upstream_request_duration_seconds_count{app="second",endpoint="register"} 1`,
		`outcome="throttled"} 1`,
		`tvpassd_token_requests_total{app="second",outcome="success"} 2`,
		`tvpassd_token_wait_seconds_bucket{app="ref30",le="+Inf"} 1`,
		"tvpassd_throttle_waits_total ",
		"tvpassd_storage_writes_total ",
	} {
		if !strings.Contains(metrics.stdout, line) {
			t.Errorf("there is no %s in\n%s", line, metrics.stdout)
		}
	}
}

// Whatever happens to one app, the other one's user reads the same numbers as
// before.
func TestMetricsDoNotTellOfOthers(t *testing.T) {
	needRoot(t)
	l := newLab(t)
	l.addApp("ref30", "allow_users = [61001]")
	l.addApp("hidden", "allow_groups = [61777]")
	l.up()
	l.tokenOf(player, "ref30")
	l.tokenOf(nil, "hidden")
	before := steady(l.curlAs(player, "/v1/metrics").stdout)

	for range 5 {
		l.curl("/v1/apps/hidden/token").expect(t, 200)
	}
	asked := len(l.requests("/token"))
	l.order(http.MethodPost, "/fault", `{"path":"token","kind":"status","status":503,"count":1}`)
	l.curl("/v1/apps/hidden/refresh", "-X", "POST").expect(t, 202)
	l.daemon.until("a refused refresh and a second one", func() bool { return len(l.requests("/token")) >= asked+2 })
	l.daemon.until("health", func() bool {
		return strings.Contains(l.run("status", "--json").stdout, `"health": "healthy"`)
	})

	if after := steady(l.curlAs(player, "/v1/metrics").stdout); after != before || strings.Contains(after, "hidden") {
		t.Errorf("it tells of the other app, before and after:\n%s\n%s", before, after)
	}
}

// steady is the part of the metrics that does not change by itself. Everybody
// may see whether the throttle is shut.
func steady(metrics string) string {
	var lines []string
	for line := range strings.Lines(metrics) {
		if !strings.HasPrefix(line, "tvpassd_token_expires_in_seconds{") &&
			!strings.HasPrefix(line, "tvpassd_throttle_open ") &&
			!strings.HasPrefix(line, "tvpassd_clock_skew_seconds ") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

// The page for operators describes every metric, and no other.
func TestOperatorsAreToldOfEveryMetric(t *testing.T) {
	page := readFile(t, "../../docs/operators.md")
	names := metricNames(t)
	for name := range names {
		bare := regexp.MustCompile("_(bucket|count|sum)$").ReplaceAllString(name, "")
		if strings.HasPrefix(name, "tvpassd_") && !strings.Contains(page, "`"+bare+"`") {
			t.Errorf("the page does not tell of %s", name)
		}
	}
	for _, name := range regexp.MustCompile(`tvpassd_[a-z_]+`).FindAllString(page, -1) {
		if !names[name] {
			t.Errorf("the page tells of %s, which there is not", name)
		}
	}
}

func promtool(t *testing.T) (path string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		t.Fatal("this test needs promtool: apt-get install prometheus")
	}
	return path
}
