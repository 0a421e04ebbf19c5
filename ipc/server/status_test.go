package server

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/tvpassd/tvpassd/ipc"
)

func TestEachSeesTheirOwn(t *testing.T) {
	l := startLab(t, nil)
	for uid, want := range map[uint32][]string{root: {"one", "two"}, carol: {"one", "two"}, alice: {"one"},
		bob: {"one", "two"}, stranger: {}} {
		for _, path := range []string{"/v1/status", "/v1/healthz"} {
			a := l.ask(uid, "GET", path, "")
			var st ipc.Status
			if err := json.Unmarshal([]byte(a.body), &st); err != nil {
				t.Fatal(err)
			}
			got := []string{}
			for _, app := range st.Apps {
				got = append(got, app.App)
			}
			if knows := st.Device.Identifier != nil; !slices.Equal(got, want) || knows != (uid != stranger) {
				t.Errorf("%s for %d: %q, identifier %v", path, uid, got, knows)
			}
		}
		var d ipc.Device
		if err := json.Unmarshal([]byte(l.ask(uid, "GET", "/v1/device", "").body), &d); err != nil {
			t.Fatal(err)
		}
		if knows := d.Identifier != nil; d.Sources["model"] != "dt" || knows != (uid != stranger) {
			t.Errorf("device for %d: %+v", uid, d)
		}
		m := l.ask(uid, "GET", "/v1/metrics", "")
		if strings.Count(m.body, "{app=") != len(want) || strings.Contains(m.body, "storage") != (uid == root ||
			uid == carol) || !strings.HasPrefix(m.Header.Get("Content-Type"), "text/plain; version=0.0.4") {
			t.Errorf("metrics for %d: %v %q", uid, m.Header, m.body)
		}
	}
}

// A script finds lists where there are lists, null where something is unknown,
// and whole seconds.
func TestStatusJSON(t *testing.T) {
	l := startLab(t, nil)
	a := l.ask(alice, "GET", "/v1/status", "")
	const want = `{"version":"1","started_at":"2026-03-01T11:00:00Z","uptime_s":0,"health":"healthy",` +
		`"warnings":[],"endpoint":"",` +
		`"device":{"info":{},"x_device_info":"","device_identifier":{"value":"v","source":"","header":""}},` +
		`"clock":{"set":false,"skew_ms":0},"throttle":{"open":false,"opens_in_ms":0,"waiting":0},` +
		`"storage":{"ok":false,"detail":""},"apps":[{"app":"one","state":"ready","client_id":"",` +
		`"registered_at":null,"registrations":0,"token_expires_at":null,` +
		`"token_expires_in":null,"next_refresh_in":null,"last_contact_at":null,"last_error":null,"transitions":[]}]}` +
		"\n"
	if a.body != want {
		t.Errorf("\n got %s\nwant %s", a.body, want)
	}
	text, err := json.Marshal(ipc.Status{
		Warnings: []ipc.Warning{{Since: labTime}},
		Apps: []ipc.AppStatus{{RegisteredAt: &labTime, LastError: &ipc.LastError{Code: ipc.CodeOffline,
			At: labTime}}},
	})
	if err != nil || strings.Contains(string(text), ".123") || strings.Contains(string(text), "+01:00") {
		t.Errorf("%s, %v", text, err)
	}
	const last = `"last_error":{"code":"offline","server_code":"","detail":"","at":"2026-03-01T11:00:00Z"}`
	if !strings.Contains(string(text), last) {
		t.Errorf("%s lacks %s", text, last)
	}
	if strings.Contains(l.ask(stranger, "GET", "/v1/status", "").body, `"apps":null`) {
		t.Error("no apps are null")
	}
}

func TestHealthz(t *testing.T) {
	l := startLab(t, nil)
	for _, test := range []struct {
		one, two string
		want     map[uint32]int
	}{
		{ipc.StateReady, ipc.StateReady, map[uint32]int{root: 200, alice: 200}},
		{ipc.StateStale, ipc.StateReady, map[uint32]int{root: 200, alice: 200}},
		{ipc.StateReady, ipc.StateWaiting, map[uint32]int{root: 503, alice: 200, bob: 503}},
		{ipc.StateRejected, ipc.StateReady, map[uint32]int{root: 503, alice: 503, stranger: 200}},
		{ipc.StateRegistering, ipc.StateReady, map[uint32]int{alice: 503}},
		{ipc.StateRefreshing, ipc.StateReady, map[uint32]int{alice: 503}},
	} {
		l.mu.Lock()
		l.states["one"], l.states["two"] = test.one, test.two
		l.mu.Unlock()
		for uid, want := range test.want {
			a := l.ask(uid, "GET", "/v1/healthz", "")
			if a.StatusCode != want || a.Header.Get("Content-Type") != "application/json" ||
				!strings.HasPrefix(a.body, `{"version"`) {
				t.Errorf("%+v for %d: %s %s", test, uid, a.Status, a.body)
			}
		}
	}
}
