package daemon

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tvpassd/tvpassd/daemon/clock"
	"github.com/tvpassd/tvpassd/ipc"
	"github.com/tvpassd/tvpassd/ipc/server"
)

// What an operator reads after a day: the whole daemon runs through it on a
// clock that goes from one alarm to the next, with real calls to a server of
// the test's.

// fakeTime is the clock and the alarm of a daemon.
type fakeTime struct {
	rings chan struct{}

	mu    sync.Mutex
	now   clock.Reading
	alarm time.Duration
}

func (f *fakeTime) BootID() string      { return "boot" }
func (f *fakeTime) Synchronised() bool  { return true }
func (f *fakeTime) C() <-chan struct{}  { return f.rings }
func (f *fakeTime) Set(d time.Duration) { f.mu.Lock(); f.alarm = d; f.mu.Unlock() }
func (f *fakeTime) Now() clock.Reading  { f.mu.Lock(); defer f.mu.Unlock(); return f.now }

// next goes to the next alarm, or to the end where that comes first.
func (f *fakeTime) next(end time.Duration) (rings bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	at := max(min(f.alarm, end), f.now.Boot)
	f.now.Wall = f.now.Wall.Add(at - f.now.Boot)
	f.now.Boot = at
	return f.alarm <= at
}

// day is a daemon that is driven through its life.
type day struct {
	*Daemon
	t    *testing.T
	time *fakeTime
	logs *bytes.Buffer // the daemon's end makes it safe to read
	stop func()
}

// newDay starts a daemon with two apps, whose server answers as handler does.
func newDay(t *testing.T, handler http.HandlerFunc) *day {
	upstream := httptest.NewServer(handler)
	t.Cleanup(upstream.Close)
	cfg := onBench(t, "")
	text := fmt.Sprintf("endpoint = %q\nstate_dir = \"state\"\naccept_volatile_state = true\n"+
		"[socket]\npath = \"sock\"\ngroup = \"\"\n"+
		"[device]\nmodel = \"Box\"\nversion = \"1\"\nconnectionType = \"LAN\"\n", upstream.URL)
	for _, app := range []string{"one", "two"} {
		text += fmt.Sprintf("[[app]]\nid = %q\nsoftware_statement = \"eyJhbGciOiJub25lIn0.e30.c2ln\"\n", app)
	}
	cfg.RuntimeDir = filepath.Dir(cfg.ConfigFile)
	const identifier = `{"source":"dmi-product-uuid","raw":"ODU1NjY0YWItYTE1Ny00Y2I2"}`
	for name, content := range map[string]string{
		cfg.ConfigFile: text, filepath.Join(cfg.RuntimeDir, "identifier"): identifier,
	} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	start := clock.Reading{Boot: time.Minute, Wall: cfg.BuildDate.AddDate(0, 6, 0)}
	d := &day{t: t, logs: &bytes.Buffer{}, time: &fakeTime{rings: make(chan struct{}), now: start}}
	cfg.Clock, cfg.Alarm = d.time, d.time
	cfg.Log = slog.New(slog.NewTextHandler(d.logs, &slog.HandlerOptions{Level: cfg.Level}))
	var err error
	if d.Daemon, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- d.Run(ctx) }()
	d.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	return d
}

// pass advances the clock.
func (d *day) pass(t time.Duration) {
	d.t.Helper()
	for end := d.time.Now().Boot + t; ; {
		d.settle()
		rings := d.time.next(end)
		if !rings {
			return
		}
		d.time.rings <- struct{}{}
	}
}

// settle waits until the broker has nothing to do before the next alarm.
func (d *day) settle() {
	d.t.Helper()
	for _, app := range []string{"one", "two"} {
		for {
			if err := d.broker.Ping(d.t.Context()); err != nil {
				d.t.Fatal(err)
			}
			v, err := d.broker.View(app)
			if err != nil {
				d.t.Fatal(err)
			}
			if _, idle := v.NextCall(d.time.Now()); idle {
				break
			}
			<-v.Changed()
		}
	}
}

// expectState wants both apps in a state.
func (d *day) expectState(want string) {
	d.t.Helper()
	for _, app := range d.api.Status(server.Viewer{Admin: true}).Apps {
		if app.State != want {
			d.t.Errorf("%s is %s, want %s", app.App, app.State, want)
		}
	}
}

// read ends the daemon, and returns its log's lines without time. Each that
// warns has a code to look for, each that tells of an app has the app.
func (d *day) read(atMost int) []string {
	d.t.Helper()
	d.stop()
	var lines []string
	for line := range strings.Lines(d.logs.String()) {
		_, line, _ = strings.Cut(strings.TrimSpace(line), " ")
		lines = append(lines, line)
		if !strings.HasPrefix(line, "level=INFO") && !strings.Contains(line, " code=") {
			d.t.Errorf("no code: %s", line)
		}
		if strings.Contains(line, "token") && !strings.Contains(line, " app=") {
			d.t.Errorf("no app: %s", line)
		}
		if strings.Contains(line, "SECRET") {
			d.t.Errorf("a secret: %s", line)
		}
	}
	d.t.Logf("%d lines\n%s", len(lines), strings.Join(lines, "\n"))
	if len(lines) >= atMost {
		d.t.Errorf("%d lines, want less than %d", len(lines), atMost)
	}
	return lines
}

// grant answers like the server on a good day.
func grant(w http.ResponseWriter, r *http.Request, life time.Duration) {
	w.WriteHeader(http.StatusCreated)
	if strings.HasSuffix(r.URL.Path, "/register") {
		fmt.Fprint(w, `{"client_id":"id","client_secret":"SECRET"}`)
		return
	}
	fmt.Fprintf(w, `{"access_token":"SECRET","expires_in":%d}`, int(life.Seconds()))
}

// silent is no answer at all.
func silent(w http.ResponseWriter) {
	if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
		conn.Close()
	}
}

func TestAHealthyDayIsUnderTwentyLines(t *testing.T) {
	for _, life := range []time.Duration{time.Hour, 6 * time.Hour, 24 * time.Hour} {
		t.Run(life.String(), func(t *testing.T) {
			var calls atomic.Int64
			d := newDay(t, func(w http.ResponseWriter, r *http.Request) { calls.Add(1); grant(w, r, life) })
			d.pass(24 * time.Hour)
			d.expectState(ipc.StateReady)
			d.read(20)
			if want := 2 + 2*int64(24*time.Hour/life); calls.Load() < want {
				t.Errorf("%d calls, want %d at least: this was no day", calls.Load(), want)
			}
		})
	}
}

// outage is a server that answers well or not at all, and counts the calls.
type outage struct {
	mu    sync.Mutex // guards what follows
	down  func(w http.ResponseWriter, calls int)
	up    bool
	calls int
}

func (o *outage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.calls++
	if o.up {
		grant(w, r, 6*time.Hour)
	} else {
		o.down(w, o.calls)
	}
}

// set ends or begins the outage, and returns how many calls came since.
func (o *outage) set(up bool) (calls int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	calls, o.calls, o.up = o.calls, 0, up
	return calls
}

// A device whose server can't be reached for a day has few lines, whatever keeps
// it from the server.
func TestADayOfflineIsUnderSixtyLines(t *testing.T) {
	for name, down := range map[string]func(w http.ResponseWriter, calls int){
		"no answer": func(w http.ResponseWriter, _ int) { silent(w) },
		"a new trouble with every call": func(w http.ResponseWriter, calls int) {
			switch calls % 4 {
			case 0:
				silent(w)
			case 1:
				http.Error(w, "<html>", http.StatusServiceUnavailable)
			case 2:
				http.Error(w, "<html>", http.StatusTooManyRequests)
			case 3:
				http.Error(w, `{"error":"unauthorized_client"}`, http.StatusBadRequest)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := &outage{down: down, up: true}
			d := newDay(t, o.ServeHTTP)
			d.pass(time.Hour)
			o.set(false)
			d.pass(24 * time.Hour)
			for _, app := range d.api.Status(server.Viewer{Admin: true}).Apps {
				if app.State != ipc.StateWaiting && app.State != ipc.StateRejected {
					t.Errorf("%s is %s after a day without the server", app.App, app.State)
				}
			}
			if n := o.set(true); n < 20 {
				t.Errorf("%d calls: this was no day", n)
			}
			d.pass(7 * time.Hour)
			d.expectState(ipc.StateReady)
			lines := d.read(60)
			for _, app := range []string{"app=one", "app=two"} {
				expectOutage(t, app, lines)
			}
		})
	}
}

// expectOutage wants an app's lines to begin and end with a token, and to say in
// between that there is none.
func expectOutage(t *testing.T, app string, lines []string) {
	t.Helper()
	of := slices.DeleteFunc(slices.Clone(lines), func(line string) bool { return !strings.Contains(line, app) })
	for i, want := range map[int]string{0: "token at hand", 1: "no new token", len(of) - 1: "token at hand"} {
		if !strings.Contains(of[i], want) {
			t.Errorf("line %d of %s is %s, want %s", i+1, app, of[i], want)
		}
	}
	if !strings.Contains(strings.Join(of, "\n"), "the token has expired") {
		t.Errorf("no line says that the token of %s has expired", app)
	}
}
