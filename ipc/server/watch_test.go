package server

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tvpassd/tvpassd/ipc"
)

// watching is one watcher's connection.
type watching struct {
	t     testing.TB
	conn  net.Conn
	lines *bufio.Scanner
}

func (l *lab) watch(uid uint32, app string) *watching {
	l.t.Helper()
	c := l.dial(uid)
	fmt.Fprintf(c, "GET /v1/apps/%s/watch HTTP/1.1\r\nHost: x\r\n\r\n", app)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		l.t.Fatal(err)
	}
	if kind := resp.Header.Get("Content-Type"); resp.StatusCode != 200 || kind != "text/event-stream" ||
		resp.Header.Get("Cache-Control") != "no-store" {
		l.t.Fatalf("%s %v", resp.Status, resp.Header)
	}
	w := &watching{l.t, c, bufio.NewScanner(resp.Body)}
	w.lines.Buffer(nil, 1<<20)
	return w
}

// next is the next event, its name and its data with a space between; "" at the
// end.
func (w *watching) next() string {
	w.t.Helper()
	var event []string
	for w.lines.Scan() {
		if w.lines.Text() == "" {
			if len(event) != 2 || !strings.HasPrefix(event[0], "event: ") || !strings.HasPrefix(event[1], "data: ") {
				w.t.Fatalf("not an event: %q", event)
			}
			return event[0][7:] + " " + event[1][6:]
		}
		event = append(event, w.lines.Text())
	}
	if err := w.lines.Err(); err != nil {
		w.t.Fatalf("read events: %v", err)
	}
	return ""
}

func (w *watching) expect(what string, want ...string) {
	w.t.Helper()
	for _, want := range want {
		if got := w.next(); !strings.HasPrefix(got, want) {
			w.t.Fatalf("%s:\n got %s\nwant %s…", what, got, want)
		}
	}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	l := startLab(t, nil)
	tok := labToken("one")
	state := ipc.AppStatus{App: "one", State: ipc.StateRegistering, TokenExpiresIn: new(int64(100)),
		NextRefreshIn: new(int64(50))}
	l.set("one", state, nil)
	w := l.watch(alice, "one")
	w.expect("at once", `state {"app":"one","state":"registering","client_id":"",`)

	state.State = ipc.StateReady
	l.set("one", state, &tok)
	w.expect("a first token", `state {"app":"one","state":"ready"`, `token {"app":"one","access_token":"s3cret-t0ken"`)

	// The passing of time causes no event: the next event is the change below.
	later, laterToken := state, tok
	later.TokenExpiresIn, later.NextRefreshIn = new(int64(99)), new(int64(49))
	laterToken.ExpiresIn--
	laterToken.ExpiresAt = tok.ExpiresAt.Add(time.Second)
	l.set("one", later, &laterToken)

	state.State = ipc.StateStale
	state.LastError = &ipc.LastError{Code: ipc.CodeOffline, At: labTime}
	l.set("one", state, &tok)
	w.expect("a state only", `state {"app":"one","state":"stale"`)

	state.LastError = &ipc.LastError{Code: ipc.CodeServerError, At: labTime}
	l.set("one", state, &tok)
	w.expect("another error", `state {"app":"one","state":"stale"`)

	tok.AccessToken = "next"
	l.set("one", state, &tok)
	w.expect("a token only", `token {"app":"one","access_token":"next"`)

	state.State, state.NextRefreshIn = ipc.StateReady, new(int64(5000))
	tok.AccessToken, tok.ExpiresIn = "last", 9000
	l.set("one", state, &tok)
	w.expect("both", `state {`, `token {"app":"one","access_token":"last"`)

	tok.ExpiresAt = tok.ExpiresAt.Add(-time.Hour)
	l.set("one", state, &tok)
	w.expect("the clock was stepped", `token {"app":"one","access_token":"last"`)

	state.State = ipc.StateWaiting
	l.set("one", state, nil)
	w.expect("it expired", `state {"app":"one","state":"waiting"`)
	l.set("one", state, &tok)
	w.expect("it came back", `token {`)
	if got := w.lines.Err(); got != nil {
		t.Error(got)
	}
}

func TestWatchRefuses(t *testing.T) {
	t.Parallel()
	l := startLab(t, nil)
	if a := l.ask(alice, "GET", "/v1/apps/one/watch", ""); a.code() != ipc.CodeNotReady {
		t.Errorf("the backend's problem: %s %s", a.Status, a.body)
	}
}

// A caller who may no longer use an app gets no more events, and neither does
// anybody for an app that is gone.
func TestWatchEndsWithTheRight(t *testing.T) {
	t.Parallel()
	l := startLab(t, nil)
	for _, app := range []string{"one", "two"} {
		l.set(app, ipc.AppStatus{App: app}, nil)
	}
	one, two, admin := l.watch(bob, "one"), l.watch(bob, "two"), l.watch(root, "two")
	for _, w := range []*watching{one, two, admin} {
		w.expect("at once", "state {")
	}
	p := labPolicy()
	p.Apps["two"] = Allow{}
	l.follow(p)
	if got := two.next(); got != "" {
		t.Errorf("no longer bob's, but he hears %s", got)
	}
	for _, app := range []string{"one", "two"} {
		l.set(app, ipc.AppStatus{App: app, State: "after"}, new(labToken(app)))
	}
	one.expect("still bob's", "state {", "token {")
	admin.expect("an admin's", "state {", "token {")

	l.follow(&Policy{})
	if got := one.next(); got != "" {
		t.Errorf("the app is gone, but bob hears %s", got)
	}
}

// A watcher who does not read for a while finds a few old events, then the
// newest, not a backlog.
func TestASlowWatcherGetsTheNewest(t *testing.T) {
	t.Parallel()
	l := startLab(t, nil)
	l.set("one", ipc.AppStatus{App: "one", State: "0"}, nil)
	w := l.watch(alice, "one")
	const changes = 2000
	for n := range changes {
		l.set("one", ipc.AppStatus{App: "one", State: fmt.Sprint(n + 1), ClientID: strings.Repeat("x", 500)}, nil)
		if n%10 == 0 {
			time.Sleep(time.Millisecond) // let the server write what it will
		}
	}
	var seen int
	for newest := fmt.Sprintf(`state {"app":"one","state":"%d"`, changes); !strings.HasPrefix(w.next(),
		newest); seen++ {
		if seen > changes {
			t.Fatal("the newest never comes")
		}
	}
	if seen > 50 {
		t.Errorf("%d old events before the newest", seen)
	}
}

func TestAWatcherWhoLeavesIsForgotten(t *testing.T) {
	t.Parallel()
	l := startLab(t, func(cfg *Config) { cfg.PerUID = 1 })
	l.set("one", ipc.AppStatus{App: "one"}, nil)
	w := l.watch(alice, "one")
	w.expect("at once", "state {")
	w.conn.Close()
	l.enter(alice)
}
