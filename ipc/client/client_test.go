package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tvpassd/tvpassd/ipc"
	"github.com/tvpassd/tvpassd/ipc/server"
)

// fakeDaemon answers each request with the request.
type fakeDaemon struct {
	policy *server.Policy

	mu    sync.Mutex // guards what follows
	state string
	snap  server.Snapshot
	asked []string
}

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newDaemon(apps ...string) *fakeDaemon {
	d := &fakeDaemon{state: ipc.StateReady, policy: &server.Policy{Owner: uint32(os.Getuid()),
		Apps: map[string]server.Allow{}}}
	for _, app := range apps {
		d.policy.Apps[app] = server.Allow{Everyone: true}
	}
	return d
}

func (d *fakeDaemon) note(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = append(d.asked, fmt.Sprintf(format, args...))
}

func (d *fakeDaemon) Policy() *server.Policy { return d.policy }

func (d *fakeDaemon) token(app string, q ipc.Query) ipc.Token {
	return ipc.Token{App: app, AccessToken: fmt.Sprint(q.Wait, " ", q.MinTTL), TokenType: "bearer", IssuedAt: start,
		ExpiresAt: start.Add(time.Hour), ExpiresIn: 3600}
}

func (d *fakeDaemon) Token(ctx context.Context, app string, q ipc.Query) (ipc.Token, error) {
	if q.Wait == time.Minute {
		<-ctx.Done()
		return ipc.Token{}, ctx.Err()
	}
	return d.token(app, q), nil
}

func (d *fakeDaemon) Headers(_ context.Context, app string, q ipc.Query) (ipc.Headers, error) {
	return ipc.Headers{App: app, ExpiresIn: 1, Headers: map[string]string{"Authorization": "Bearer " + d.token(app,
		q).AccessToken}}, nil
}

func (d *fakeDaemon) Report(_ context.Context, app string, r ipc.Report) (string, error) {
	d.note("report %s %+v", app, r)
	return ipc.ActionRegister, nil
}

func (d *fakeDaemon) Watch(string) (server.Snapshot, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.snap, nil
}

func (d *fakeDaemon) Device(bool) ipc.Device {
	return ipc.Device{Info: json.RawMessage(`{"model":"x"}`), Sources: map[string]string{"model": "dt"}, Header: "e30"}
}

func (d *fakeDaemon) Status(server.Viewer) ipc.Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	return ipc.Status{Version: "7", Apps: []ipc.AppStatus{{App: "one", State: d.state, TokenExpiresIn: new(int64(5))}},
		Device: d.Device(false)}
}

func (d *fakeDaemon) WriteMetrics(io.Writer, server.Viewer) error { return nil }
func (d *fakeDaemon) Refresh(_ context.Context, app string) error {
	d.note("refresh %s", app)
	return nil
}
func (d *fakeDaemon) Reset(_ context.Context, app string) error { d.note("reset %s", app); return nil }
func (d *fakeDaemon) Configuration() ipc.Configuration {
	return ipc.Configuration{File: "config.toml", Holders: map[string]ipc.Holder{"one": {File: "one.toml", UID: 5}}}
}

func (d *fakeDaemon) Reload(_ context.Context, accept string) error {
	d.note("%s", strings.TrimSpace("reload "+accept))
	return &ipc.Problem{Code: ipc.CodeRejected, ServerCode: "invalid_software_statement", Detail: "why",
		RetryAfterMS: 1500}
}

// backend is a daemon without its socket.
type backend interface {
	Policy() *server.Policy
	server.Tokens
	server.Views
	server.Orders
}

// run serves a daemon on a socket of its own until stop, or the end of the test.
func run(t *testing.T, d backend) (c *Client, stop func()) {
	t.Helper()
	c = &Client{Socket: filepath.Join(t.TempDir(), "s")}
	t.Cleanup(c.Close)
	l, err := server.Listen(server.SocketOptions{Path: c.Socket})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	s := server.New(server.Config{
		Policy: d.Policy, Tokens: d, Views: d, Orders: d, Log: slog.New(slog.DiscardHandler), Now: time.Now,
	})
	go func() { ended <- s.Run(ctx, l) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return c, stop
}

func TestTokenAndHeaders(t *testing.T) {
	c, _ := run(t, newDaemon("one"))
	for _, test := range []struct {
		app  string
		q    *ipc.Query
		want string
	}{
		{"one", nil, "10s 0s"},
		{"", nil, "10s 0s"},
		{"", &ipc.Query{}, "0s 0s"},
		{"one", &ipc.Query{Wait: 1500 * time.Millisecond, MinTTL: 90 * time.Second}, "1.5s 1m30s"},
	} {
		want := ipc.Token{App: "one", AccessToken: test.want, TokenType: "bearer", IssuedAt: start,
			ExpiresAt: start.Add(time.Hour), ExpiresIn: 3600}
		if got, err := c.Token(t.Context(), test.app, test.q); err != nil || got != want {
			t.Errorf("%+v: %+v, %v", test, got, err)
		}
		if got, err := c.Headers(t.Context(), test.app, test.q); err != nil ||
			got.Headers["Authorization"] != "Bearer "+test.want {
			t.Errorf("%+v: %+v, %v", test, got, err)
		}
	}
}

func TestTheRest(t *testing.T) {
	d := newDaemon("one")
	c, _ := run(t, d)
	if action, err := c.Report(t.Context(), "one", ipc.Report{AccessToken: "x", Status: 401, Code: "c"}); err != nil ||
		action != ipc.ActionRegister {
		t.Errorf("Report: %q, %v", action, err)
	}
	dev, err := c.Device(t.Context())
	if diff := cmp.Diff(d.Device(false), dev); err != nil || diff != "" {
		t.Errorf("Device: %v%s", err, diff)
	}
	want := d.Status(server.Viewer{})
	want.Device.Sources, want.Warnings = nil, []ipc.Warning{}
	for i := range want.Apps {
		want.Apps[i].Transitions = []ipc.Transition{}
	}
	st, err := c.Status(t.Context())
	if diff := cmp.Diff(want, st); err != nil || diff != "" {
		t.Errorf("Status: %v%s", err, diff)
	}
	for state, healthy := range map[string]bool{ipc.StateReady: true, ipc.StateWaiting: false} {
		d.mu.Lock()
		d.state = state
		d.mu.Unlock()
		got, st, err := c.Healthz(t.Context())
		if err != nil || got != healthy || len(st.Apps) != 1 || st.Apps[0].State != state {
			t.Errorf("Healthz: %v, %+v, %v", got, st, err)
		}
	}
	if err := errors.Join(c.Refresh(t.Context(), "one"), c.Reset(t.Context(), "one")); err != nil {
		t.Error(err)
	}
	_ = c.Reload(t.Context())
	_ = c.Accept(t.Context(), "one")
	if conf, err := c.Configuration(t.Context()); err != nil ||
		conf.Holders["one"] != (ipc.Holder{File: "one.toml", UID: 5}) {
		t.Errorf("Configuration: %+v, %v", conf, err)
	}
	if diff := cmp.Diff([]string{"report one {AccessToken:x Status:401 Code:c}", "refresh one", "reset one", "reload",
		"reload one"}, d.asked); diff != "" {
		t.Error(diff)
	}
}

func TestProblems(t *testing.T) {
	c, _ := run(t, newDaemon("one", "two"))
	report := func(app string) error {
		_, err := c.Report(t.Context(), app, ipc.Report{AccessToken: "x"})
		return err
	}
	token := func(app string, q *ipc.Query) error { _, err := c.Token(t.Context(), app, q); return err }
	for _, test := range []struct {
		err  error
		want string
	}{
		{token("", nil), ipc.CodeAmbiguousApp},
		{token("none", nil), ipc.CodeUnknownApp},
		{token("../one", nil), ipc.CodeNotFound},
		{token("one?wait=x", nil), ipc.CodeUnknownApp},
		{token("one", &ipc.Query{Wait: time.Hour}), ipc.CodeInvalidParameter},
		{report("none"), ipc.CodeUnknownApp},
		{report(""), ipc.CodeUnknownApp},
		{c.Refresh(t.Context(), "none"), ipc.CodeUnknownApp},
		{c.Watch(t.Context(), "none", nil), ipc.CodeUnknownApp},
		{c.Reload(t.Context()), ipc.CodeRejected},
	} {
		if p, ok := errors.AsType[*ipc.Problem](test.err); !ok || p.Code != test.want || p.Status == 0 {
			t.Errorf("got %v, want %s", test.err, test.want)
		}
	}
	p, _ := errors.AsType[*ipc.Problem](c.Reload(t.Context()))
	if p.RetryAfter() != 1500*time.Millisecond || p.Error() != "rejected (invalid_software_statement): why" {
		t.Errorf("%+v: %v", p, p)
	}
}

func TestNobodyThere(t *testing.T) {
	dir := t.TempDir()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dir + "/stale", Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	for _, name := range []string{"missing", "stale", "no/directory"} {
		c := &Client{Socket: filepath.Join(dir, name)}
		_, err := c.Status(t.Context())
		if !errors.Is(err, ErrNotRunning) || !strings.Contains(err.Error(), c.Socket) ||
			strings.Contains(err.Error(), "http:") {
			t.Errorf("%s: %v", name, err)
		}
		if err := c.Watch(t.Context(), "one", nil); !errors.Is(err, ErrNotRunning) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The zero value asks at the usual place.
func TestZeroClient(t *testing.T) {
	if _, err := os.Lstat(ipc.DefaultSocket); err == nil {
		t.Skip("a daemon is installed here")
	}
	_, clientErr := new(Client).Status(t.Context())
	_, transportErr := new(Transport).RoundTrip(httptest.NewRequest("GET", "http://127.0.0.1/", nil))
	_, sourceErr := new(TokenSource).Token()
	for _, err := range []error{clientErr, transportErr, sourceErr} {
		if !errors.Is(err, ErrNotRunning) || !strings.Contains(err.Error(), ipc.DefaultSocket) {
			t.Error(err)
		}
	}
}

// Without the right to open the socket, a user is told what to do. As root, this
// asks as somebody else.
func TestNoPermission(t *testing.T) {
	c, _ := run(t, newDaemon("one"))
	if err := os.Chmod(c.Socket, 0); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		unprivileged(t)
	}
	_, err := c.Token(t.Context(), "one", nil)
	if !errors.Is(err, ErrPermission) || errors.Is(err, ErrNotRunning) || !strings.Contains(err.Error(), "group") {
		t.Error(err)
	}
}

// unprivileged makes the file system see nobody in every thread until the test's end.
func unprivileged(t *testing.T) {
	const nobody = 65534
	if err := syscall.Setresuid(-1, nobody, -1); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		if err := syscall.Setresuid(-1, 0, -1); err != nil {
			t.Error(err)
		}
	})
}

// A user who connects in a loop fills the daemon's queue for moments.
func TestAFullQueue(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), path)
	defer file.Close()
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	l, err := net.FileListener(file)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	first, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if _, err := net.Dial("unix", path); !errors.Is(err, syscall.EAGAIN) {
		t.Fatalf("the queue is not full: %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := connect(gone, path); err == nil {
		t.Error("it waits for a caller who is gone")
	}
	time.AfterFunc(50*time.Millisecond, func() {
		if c, err := l.Accept(); err == nil {
			c.Close()
		}
	})
	c, err := connect(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestContext(t *testing.T) {
	c, _ := run(t, newDaemon("one"))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Token(ctx, "one", &ipc.Query{Wait: time.Minute}); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

// Many players in one process use one client; the daemon may restart between
// two requests.
func TestConcurrentUseAcrossARestart(t *testing.T) {
	d := newDaemon("one")
	c, stop := run(t, d)
	ask := func() {
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if _, err := c.Token(t.Context(), "one", nil); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
	ask()
	stop()
	again, _ := run(t, d)
	if err := os.Symlink(again.Socket, c.Socket); err != nil {
		t.Fatal(err)
	}
	ask()
}

func TestWatch(t *testing.T) {
	d := newDaemon("one")
	changed := make(chan struct{})
	tok := d.token("one", ipc.Query{})
	d.snap = server.Snapshot{State: ipc.AppStatus{App: "one", State: ipc.StateRegistering}, Changed: changed}
	c, stop := run(t, d)
	var seen []string
	err := c.Watch(t.Context(), "one", func(e ipc.Event) error {
		switch {
		case e.State != nil:
			seen = append(seen, e.State.State)
		case e.Token != nil:
			seen = append(seen, e.Token.AccessToken)
		}
		switch len(seen) {
		case 1:
			d.mu.Lock()
			d.snap = server.Snapshot{State: ipc.AppStatus{App: "one", State: ipc.StateReady}, Token: &tok,
				Changed: make(chan struct{})}
			d.mu.Unlock()
			close(changed)
		case 3:
			go stop()
		}
		return nil
	})
	if diff := cmp.Diff([]string{"registering", "ready", "0s 0s"}, seen); err != io.EOF || diff != "" {
		t.Errorf("%v%s", err, diff)
	}
}

func TestWatchEndsAsTheCallerLikes(t *testing.T) {
	d := newDaemon("one")
	d.snap = server.Snapshot{State: ipc.AppStatus{App: "one"}, Changed: make(chan struct{})}
	c, _ := run(t, d)
	enough := errors.New("enough")
	if err := c.Watch(t.Context(), "one", func(ipc.Event) error { return enough }); err != enough {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := c.Watch(ctx, "one", func(ipc.Event) error { cancel(); return nil }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// Something else may listen on the socket, or a newer daemon.
func TestStrangeAnswers(t *testing.T) {
	for answer, want := range map[string]string{
		"HTTP/1.1 302 Found\r\nLocation: /v1/status\r\n":                           "302 Found",
		"HTTP/1.1 500 Oops\r\nContent-Type: text/html\r\n":                         "500 Oops",
		"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n":                    "read the answer",
		"HTTP/1.1 503 Later\r\nContent-Type: application/problem+json\r\nX: y\r\n": "read the answer",
		"SSH-2.0-OpenSSH\r\n": "ask tvpassd",
		"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{\"x\":1}":         "read the answer",
		"HTTP/1.1 503 Later\r\nContent-Type: application/problem+json\r\n\r\n{\"code\":\"new\",\"x\":{}}": "new",
	} {
		c := &Client{Socket: filepath.Join(t.TempDir(), "s")}
		l, err := net.Listen("unix", c.Socket)
		if err != nil {
			t.Fatal(err)
		}
		var served sync.WaitGroup
		served.Go(func() {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			if _, err := conn.Read(make([]byte, 4096)); err != nil {
				t.Error(err)
			}
			if !strings.Contains(answer, "\r\n\r\n") {
				answer += "\r\n"
			}
			if _, err := io.WriteString(conn, answer); err != nil {
				t.Error(err)
			}
		})
		if _, err := c.Status(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q:\n got %v\nwant %s", answer, err, want)
		}
		l.Close()
		served.Wait()
	}
}
