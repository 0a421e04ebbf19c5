package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tvpassd/tvpassd/daemon/dcr/dcrtest"
	"github.com/tvpassd/tvpassd/ipc"
)

const (
	labIdentifier = "fingerprint ZTNiMGM0NDI5OGZjMWMxNDlhZmJmNGM4OTk2ZmI5MjQyN2FlNDFlNDY0OWI5MzRjYTQ5NTk5MWI3ODUyYjg1NQ=="
	// labDevice has a model, a version, an osName, an osVersion and a connectionType.
	labDevice = "eyJtb2RlbCI6IkJveCIsInZlcnNpb24iOiIxIiwib3NOYW1lIjoiTGludXgiLCJvc1ZlcnNpb24iOiI2IiwiY29u" +
		"bmVjdGlvblR5cGUiOiJMQU4ifQ=="
)

// playerLab is a server, a daemon with a token of it, and a player of app "one"
// with a clock of its own.
type playerLab struct {
	*fakeDaemon
	t      *testing.T
	up     *dcrtest.Server
	server *httptest.Server
	player *Transport
	pair   url.Values // the client credentials

	clockMu sync.Mutex // guards what follows
	time    time.Time
	slept   []time.Duration

	tokenMu sync.Mutex // guards what follows
	access  string
	stuck   bool // no report brings another token
}

func newPlayerLab(t *testing.T) *playerLab {
	t.Helper()
	l := &playerLab{t: t, fakeDaemon: newDaemon("one"), time: start}
	l.up = dcrtest.New(dcrtest.Config{Now: l.now, NoThrottle: true})
	l.server = httptest.NewServer(l.up)
	t.Cleanup(l.server.Close)
	var cred struct {
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
	}
	l.post("register", "application/json", `{"software_statement":"`+dcrtest.Statement("one")+`"}`, &cred)
	l.pair = url.Values{"client_id": {cred.ID}, "client_secret": {cred.Secret}, "grant_type": {"client_credentials"}}
	l.fetch()
	l.up.ClearRequests()
	c, _ := run(t, l)
	l.player = &Transport{Client: c, clock: l}
	return l
}

func (l *playerLab) post(path, contentType, body string, v any) {
	req, err := http.NewRequest(http.MethodPost, l.server.URL+"/o/client/"+path, strings.NewReader(body))
	if err != nil {
		l.t.Error(err)
		return
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("X-Device-Info", labDevice)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		l.t.Error(err)
		return
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(v); err != nil {
		l.t.Error(err)
	}
}

// fetch gets the daemon another token.
func (l *playerLab) fetch() {
	var tok struct {
		Access string `json:"access_token"`
	}
	l.post("token", "application/x-www-form-urlencoded", l.pair.Encode(), &tok)
	l.tokenMu.Lock()
	defer l.tokenMu.Unlock()
	l.access = tok.Access
}

func (l *playerLab) Headers(_ context.Context, app string, _ ipc.Query) (ipc.Headers, error) {
	l.tokenMu.Lock()
	defer l.tokenMu.Unlock()
	return ipc.Headers{App: app, ExpiresIn: 60, Headers: map[string]string{
		"Authorization": "Bearer " + l.access, "AP-Device-Identifier": labIdentifier, "X-Device-Info": labDevice,
	}}, nil
}

// Report fetches another token if the current one was refused.
func (l *playerLab) Report(_ context.Context, app string, r ipc.Report) (string, error) {
	l.tokenMu.Lock()
	counts := r.AccessToken == l.access && r.Status == 401 && !l.stuck
	l.tokenMu.Unlock()
	l.note("report %s %d %s", app, r.Status, r.Code)
	if !counts {
		return ipc.ActionNone, nil
	}
	l.fetch()
	return ipc.ActionRefresh, nil
}

func (l *playerLab) now() time.Time {
	l.clockMu.Lock()
	defer l.clockMu.Unlock()
	return l.time
}

func (l *playerLab) sleep(ctx context.Context, d time.Duration) error {
	l.clockMu.Lock()
	defer l.clockMu.Unlock()
	l.time = l.time.Add(d)
	l.slept = append(l.slept, d)
	return ctx.Err()
}

// request is one of the kinds of body that there are.
func (l *playerLab) request(body io.Reader) *http.Request {
	l.t.Helper()
	method, path := http.MethodPost, "/api/v2/REF30/sessions"
	if body == nil {
		method, path = http.MethodGet, "/api/v2/REF30/configuration"
	}
	req, err := http.NewRequestWithContext(l.t.Context(), method, l.server.URL+path, body)
	if err != nil {
		l.t.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return req
}

// send has the player send a request, and returns the status of the answer and its body.
func (l *playerLab) send(req *http.Request) (int, string) {
	l.t.Helper()
	resp, err := (&http.Client{Transport: l.player}).Do(req)
	if err != nil {
		l.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		l.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// answered are the statuses that the server has answered players with.
func (l *playerLab) answered() (statuses []int) {
	for _, r := range l.up.Requests() {
		if strings.HasPrefix(r.Path, "/api/") {
			statuses = append(statuses, r.Status)
		}
	}
	return statuses
}

func (l *playerLab) fault(f dcrtest.Fault) {
	l.t.Helper()
	f.Path = "api"
	if err := l.up.SetFault(f); err != nil {
		l.t.Fatal(err)
	}
}

// form is the body of a request that makes a session.
const form = "domainName=example.com&redirectUrl=https%3A%2F%2Fexample.com"

// once is a body that can be read only once.
func once(text string) io.Reader { return io.LimitReader(strings.NewReader(text), 1000) }

func TestTransportAddsHeaders(t *testing.T) {
	l := newPlayerLab(t)
	for _, app := range []string{"", "one"} {
		l.player.App = app
		req := l.request(strings.NewReader(form))
		req.Header.Set("Authorization", "Bearer mine")
		before := req.Header.Clone()
		if status, _ := l.send(req); status != 200 {
			t.Errorf("app %q: HTTP %d", app, status)
		}
		if diff := cmp.Diff(before, req.Header); diff != "" {
			t.Errorf("the caller's request was changed: %s", diff)
		}
	}
	l.player.App = "another"
	_, err := l.player.RoundTrip(l.request(nil))
	if p, ok := errors.AsType[*ipc.Problem](err); !ok || p.Code != ipc.CodeUnknownApp {
		t.Errorf("got %v", err)
	}
}

func TestTransportRenews(t *testing.T) {
	for _, test := range []struct {
		name     string
		body     func() io.Reader
		stuck    bool
		answered []int
	}{
		{"no body", func() io.Reader { return nil }, false, []int{401, 200}},
		{"a body", func() io.Reader { return strings.NewReader(form) }, false, []int{401, 200}},
		{"a body that is gone", func() io.Reader { return once(form) }, false, []int{401}},
		{"no other token", func() io.Reader { return nil }, true, []int{401}},
	} {
		l := newPlayerLab(t)
		l.stuck = test.stuck
		l.up.RevokeTokens()
		status, body := l.send(l.request(test.body()))
		if diff := cmp.Diff(test.answered, l.answered()); diff != "" || status != test.answered[len(test.answered)-1] {
			t.Errorf("%s: HTTP %d, and the server answered %s", test.name, status, diff)
		}
		const code = "invalid_access_token_client_application"
		if status == 401 && (!strings.HasPrefix(body, "{") || !strings.HasSuffix(body, "}\n") ||
			!strings.Contains(body, code)) {
			t.Errorf("%s: the 401 lost its body: %q", test.name, body)
		}
		if diff := cmp.Diff([]string{"report one 401 " + code}, l.asked); diff != "" {
			t.Errorf("%s: %s", test.name, diff)
		}
		if status, _ := l.send(l.request(nil)); (status == 200) == test.stuck {
			t.Errorf("%s: then HTTP %d", test.name, status)
		}
	}
}

// A server that refuses every token is asked twice. Its refusals may hold anything.
func TestTransportGivesUp(t *testing.T) {
	l := newPlayerLab(t)
	var bodies []string
	strange := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		bodies = append(bodies, string(body))
		w.WriteHeader(http.StatusUnauthorized)
		io.WriteString(w, strings.Repeat("<p>", 10_000))
	}))
	defer strange.Close()
	req, err := http.NewRequest(http.MethodPut, strange.URL, strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	status, body := l.send(req)
	if status != 401 || len(body) != 30_000 || !slices.Equal(bodies, []string{"body", "body"}) {
		t.Errorf("HTTP %d with %d bytes after the requests %q", status, len(body), bodies)
	}
	if diff := cmp.Diff([]string{"report one 401 "}, l.asked); diff != "" {
		t.Error(diff)
	}
}

func TestTransportWaits(t *testing.T) {
	const s = time.Second
	for _, test := range []struct {
		name       string
		retryAfter string
		count      int // of 429s; 0 is all
		body       io.Reader
		slept      []time.Duration
		status     int
	}{
		{"once", "", 1, nil, []time.Duration{s}, 200},
		{"with a body", "", 2, strings.NewReader(form), []time.Duration{s, 2 * s}, 200},
		{"with a body that is gone", "", 1, once(form), nil, 429},
		{"without end", "", 0, nil, []time.Duration{s, 2 * s, 4 * s}, 429},
		{"less than a second", "0", 1, nil, []time.Duration{s}, 200},
		{"as long as the server asks", "60", 1, nil, []time.Duration{60 * s}, 200},
		{"until a date", "+7s", 1, nil, []time.Duration{7 * s}, 200},
		{"until a date that has passed", "+-7s", 1, nil, []time.Duration{s}, 200},
		{"for words", "soon", 1, nil, []time.Duration{s}, 200},
		{"for too long", "61", 1, nil, nil, 429},
		{"for ever", "99999999999999999999", 1, nil, nil, 429},
	} {
		l := newPlayerLab(t)
		l.up.SetClock(time.Hour)
		l.fetch()
		l.fault(dcrtest.Fault{Kind: dcrtest.Fault429, Count: test.count, RetryAfter: test.retryAfter})
		status, _ := l.send(l.request(test.body))
		if diff := cmp.Diff(test.slept, l.slept); diff != "" || status != test.status {
			t.Errorf("%s: HTTP %d, want %d; slept %s", test.name, status, test.status, diff)
		}
		if want := len(test.slept) + 1; len(l.answered()) != want {
			t.Errorf("%s: the server answered %v, want %d of them", test.name, l.answered(), want)
		}
	}
}

// The throttle counts all requests of a device together, so one 429 holds all
// of them back.
func TestTransportWaitsForOthers(t *testing.T) {
	l := newPlayerLab(t)
	l.fault(dcrtest.Fault{Kind: dcrtest.Fault429, Count: 1, RetryAfter: "3600"})
	if status, _ := l.send(l.request(nil)); status != 429 {
		t.Errorf("HTTP %d", status)
	}
	if status, _ := l.send(l.request(nil)); status != 200 || !slices.Equal(l.slept, []time.Duration{time.Minute}) {
		t.Errorf("HTTP %d after %v", status, l.slept)
	}
}

// Behind the documented throttle, every request of a busy player gets through.
func TestTransportBehindTheThrottle(t *testing.T) {
	l := newPlayerLab(t)
	l.up.SetThrottle(true)
	for range 30 {
		if status, _ := l.send(l.request(nil)); status != 200 {
			t.Errorf("HTTP %d", status)
		}
	}
	if got := l.now().Sub(start); got != 19*time.Second {
		t.Errorf("30 requests took %v, want the 19s beyond the burst of 11", got)
	}
}

func TestTransportWaitEndsWithTheContext(t *testing.T) {
	l := newPlayerLab(t)
	l.player.clock = nil
	l.fault(dcrtest.Fault{Kind: dcrtest.Fault429, RetryAfter: "60"})
	ctx, cancel := context.WithCancel(t.Context())
	l.player.Base = after(func() { cancel() })
	if _, err := l.player.RoundTrip(l.request(nil).WithContext(ctx)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if got := l.answered(); len(got) != 1 {
		t.Errorf("the server answered %v", got)
	}
}

// after sends a request and then does something.
type after func()

func (f after) RoundTrip(r *http.Request) (*http.Response, error) {
	defer f()
	return http.DefaultTransport.RoundTrip(r)
}

// The real clock waits at least as long as it is told.
func TestRealClock(t *testing.T) {
	var c realClock
	before := c.now()
	if err := c.sleep(t.Context(), 20*time.Millisecond); err != nil || c.now().Sub(before) < 20*time.Millisecond {
		t.Errorf("%v after %v", err, c.now().Sub(before))
	}
}

// A redirect to another host is followed without the headers, wherever it leads
// from there.
func TestTransportRedirects(t *testing.T) {
	l := newPlayerLab(t)
	var foreign []string
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, name := range []string{"Authorization", "AP-Device-Identifier", "X-Device-Info"} {
			if r.Header.Get(name) != "" {
				t.Errorf("%s leaks to another host", name)
			}
		}
		foreign = append(foreign, r.URL.Path)
		if r.URL.Path == "/first" {
			http.Redirect(w, r, "/second", http.StatusTemporaryRedirect)
		}
	}))
	defer other.Close()
	own := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/near":
			http.Redirect(w, r, "/api/v2/REF30/configuration", http.StatusTemporaryRedirect)
		case "/far":
			http.Redirect(w, r, other.URL+"/first", http.StatusTemporaryRedirect)
		default:
			l.up.ServeHTTP(w, r)
		}
	}))
	defer own.Close()
	for path, want := range map[string]int{"/near": 200, "/far": 200} {
		req, err := http.NewRequest(http.MethodGet, own.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if status, body := l.send(req); status != want {
			t.Errorf("%s: HTTP %d %s", path, status, body)
		}
	}
	if diff := cmp.Diff([]string{"/first", "/second"}, foreign); diff != "" {
		t.Error(diff)
	}
	if elsewhere(&http.Request{URL: &url.URL{Host: "x"}, Response: new(http.Response)}) != true {
		t.Error("a redirect of unknown origin is trusted")
	}
}

// closing notes that it was closed.
type closing struct {
	io.Reader
	closed bool
}

func (c *closing) Close() error { c.closed = true; return nil }

func TestTransportWithoutDaemon(t *testing.T) {
	l := newPlayerLab(t)
	l.player = &Transport{Client: &Client{Socket: t.TempDir() + "/s"}}
	body := &closing{Reader: strings.NewReader("body")}
	if _, err := l.player.RoundTrip(l.request(body)); !errors.Is(err, ErrNotRunning) || !body.closed {
		t.Errorf("%v, and the body is closed: %v", err, body.closed)
	}
	if got := l.answered(); got != nil {
		t.Errorf("the server answered %v", got)
	}
}

// Many requests at once, all of whose tokens are refused.
func TestTransportConcurrently(t *testing.T) {
	l := newPlayerLab(t)
	l.up.RevokeTokens()
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			resp, err := l.player.RoundTrip(l.request(nil))
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			if resp.StatusCode != 200 {
				t.Errorf("HTTP %d", resp.StatusCode)
			}
		})
	}
	all.Wait()
}

func TestTokenSource(t *testing.T) {
	c, _ := run(t, newDaemon("one"))
	for _, app := range []string{"", "one"} {
		got, err := (&TokenSource{Client: c, App: app}).Token()
		if want := (Token{"10s 0s", "bearer", start.Add(time.Hour)}); err != nil || got != want {
			t.Errorf("app %q: %+v, %v", app, got, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for want, s := range map[error]*TokenSource{
		context.Canceled: {Client: c, Context: ctx},
		ErrNotRunning:    {Client: &Client{Socket: t.TempDir() + "/s"}},
	} {
		if got, err := s.Token(); !errors.Is(err, want) || got != (Token{}) {
			t.Errorf("%+v, %v", got, err)
		}
	}
}
