package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

const monitoring = "../../scripts/monitoring/"

// collectors are the metrics that the textfile collector adds.
func collectors() []string { return []string{"tvpassd_up", "node_textfile_mtime_seconds"} }

// metricNames returns the metrics that the daemon has.
func metricNames(t *testing.T) map[string]bool {
	l := newLab(t)
	l.up()
	l.token()
	names := map[string]bool{}
	for line := range strings.Lines(l.curl("/v1/metrics").stdout) {
		if name, isType := strings.CutPrefix(line, "# TYPE "); isType {
			name, kind, _ := strings.Cut(strings.TrimSpace(name), " ")
			names[name] = true
			if kind == "histogram" {
				names[name+"_bucket"], names[name+"_count"], names[name+"_sum"] = true, true, true
			}
		}
	}
	for _, name := range collectors() {
		names[name] = true
	}
	return names
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// Every alert fires when it should, and has all that an operator needs at night.
func TestAlerts(t *testing.T) {
	rules, tests := readFile(t, monitoring+"alerts.yml"), readFile(t, monitoring+"alerts_test.yml")
	page := readFile(t, "../../docs/operators.md")
	alerts := strings.Split(rules, "      - alert: ")[1:]
	for _, alert := range alerts {
		name, rest, _ := strings.Cut(alert, "\n")
		for _, part := range []string{"labels: {severity: ", "summary: ", "description: |\n", "runbook_url: https://"} {
			if !strings.Contains(rest, part) {
				t.Errorf("%s has no %s", name, part)
			}
		}
		if !strings.Contains(rest, "docs/operators.md#"+strings.ToLower(name)+"\n") ||
			!strings.Contains(page, "\n### "+name+"\n") {
			t.Errorf("the page says nothing of %s", name)
		}
		if !strings.Contains(tests, `ALERTS{alertname="`+name+`", alertstate="firing",`) {
			t.Errorf("no test has %s fire", name)
		}
		if n := strings.Count(tests, `expr: 'ALERTS{alertname="`+name+`", `); n != 2 {
			t.Errorf("%d tests of %s, want one in which it fires and one in which it does not", n, name)
		}
	}
	names := metricNames(t)
	for _, name := range regexp.MustCompile(`(tvpassd_|node_textfile_)[a-z_]+`).FindAllString(rules, -1) {
		if !names[name] {
			t.Errorf("no metric is called %s", name)
		}
	}
	l := &lab{t: t}
	l.exec(nil, "", promtool(t), "check", "rules", monitoring+"alerts.yml").
		expect(t, 0, fmt.Sprint(len(alerts), " rules found"))
	l.exec(nil, "", promtool(t), "test", "rules", monitoring+"alerts_test.yml").expect(t, 0, "SUCCESS")
}

// freeAddress returns an address that a server may take.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// prometheus starts a real one that has the recorded day, and returns its address.
func prometheus(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	record := exec.Command("go", "run", "../../scripts/monitoring/record")
	recorded, err := os.Create(filepath.Join(dir, "recorded"))
	if err != nil {
		t.Fatal(err)
	}
	defer recorded.Close()
	record.Stdout = recorded
	if err := record.Run(); err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, dir: dir}
	blocks := l.path("blocks")
	if out, err := exec.Command(promtool(t), "tsdb", "create-blocks-from", "openmetrics", recorded.Name(), blocks).
		CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	l.write("prometheus.yml", "")
	for range 5 { // somebody else may take the port
		address := freeAddress(t)
		p := l.start("prometheus", "--config.file="+l.path("prometheus.yml"), "--storage.tsdb.path="+blocks,
			"--storage.tsdb.retention.time=100y", "--web.listen-address="+address)
		t.Cleanup(p.kill)
		for ready := false; !ready; {
			resp, err := http.Get("http://" + address + "/-/ready")
			if ready = err == nil && resp.StatusCode == http.StatusOK; err == nil {
				resp.Body.Close()
			}
			select {
			case <-p.done:
				ready, address = true, ""
			case <-time.After(50 * time.Millisecond):
			}
		}
		if address != "" {
			return "http://" + address
		}
	}
	t.Fatal("prometheus does not start")
	return ""
}

// dashboard is what the test reads of Grafana's file.
type dashboard struct {
	Panels []struct {
		Title, Type, Description string
		Targets                  []struct{ Expr, LegendFormat string }
	}
}

// A real Prometheus answers each query of the dashboard, from metrics that the
// daemon has.
func TestDashboard(t *testing.T) {
	names := metricNames(t)
	var d dashboard
	if err := json.Unmarshal([]byte(readFile(t, monitoring+"dashboard.json")), &d); err != nil {
		t.Fatal(err)
	}
	server := prometheus(t)
	queries := 0
	for _, p := range d.Panels {
		if p.Title == "" || p.Description == "" || len(p.Targets) == 0 {
			t.Errorf("a panel that says nothing: %+v", p)
		}
		for _, target := range p.Targets {
			queries++
			for _, name := range regexp.MustCompile(`tvpassd_[a-z_]+`).FindAllString(target.Expr, -1) {
				if !names[name] {
					t.Errorf("%s: no metric is called %s", p.Title, name)
				}
			}
			query := strings.NewReplacer("$__rate_interval", "1h", "$instance", ".*", "$app", ".*").Replace(target.Expr)
			if series := ask(t, server, query); len(series) == 0 {
				t.Errorf("%s: nothing answers %s", p.Title, query)
			} else if label := strings.Trim(target.LegendFormat, "{}"); label != target.LegendFormat &&
				series[0].Metric[label] == "" {
				t.Errorf("%s: no label %s in %v", p.Title, label, series[0].Metric)
			}
		}
	}
	if queries < 15 {
		t.Errorf("only %d queries", queries)
	}
}

type answered struct{ Metric map[string]string }

// ask has Prometheus answer a query over the recorded day.
func ask(t *testing.T, server, query string) []answered {
	t.Helper()
	resp, err := http.Get(server + "/api/v1/query_range?" + url.Values{
		"query": {query}, "start": {"2026-11-25T00:00:00Z"}, "end": {"2026-11-25T23:50:00Z"}, "step": {"1200"},
	}.Encode())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Status, Error string
		Data          struct{ Result []answered }
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Status != "success" {
		t.Fatalf("%s: %v %s", query, err, answer.Error)
	}
	return answer.Data.Result
}

// The file for node_exporter is whole at any time, is what Prometheus takes, and
// says so if the daemon is gone.
func TestTextfile(t *testing.T) {
	l := newLab(t)
	l.up()
	l.token()
	l.must(os.Mkdir(l.path("collector"), 0o755))
	file := l.path("collector/tvpassd.prom")
	write := func() result {
		return l.exec(nil, "", "env", "TVPASSD_SOCKET="+l.path("sock"), "sh", monitoring+"textfile", l.path("collector"))
	}
	write().expect(t, 0)
	text := l.read("collector/tvpassd.prom")
	if !strings.Contains(text, "\ntvpassd_up 1\n") || !strings.Contains(text, `tvpassd_token_usable{app="ref30"} 1`) {
		t.Errorf("the file has\n%s", text)
	}
	l.exec(nil, text, promtool(t), "check", "metrics").expect(t, 0)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("the collector can't read it: %v %v", info, err)
	}

	l.daemon.kill()
	write().expect(t, 1)
	if text := l.read("collector/tvpassd.prom"); !strings.Contains(text, "\ntvpassd_up 0\n") ||
		strings.Contains(text, "tvpassd_token_usable") {
		t.Errorf("of a daemon that is gone the file has\n%s", text)
	}
	entries, err := os.ReadDir(l.path("collector"))
	l.must(err)
	if len(entries) != 1 {
		t.Errorf("it leaves %v", entries)
	}
}
