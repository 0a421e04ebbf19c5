package server

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tvpassd/tvpassd/ipc"
)

// The people of these tests.
const (
	root     = 0
	owner    = 900  // the daemon's own user
	alice    = 1000 // may use app "one"
	bob      = 1001 // may use "one" and, by a group, "two"
	carol    = 1002 // an admin by admin_group
	stranger = 1003 // may use nothing
)

const (
	groupTwo    = 2000
	groupAdmins = 2001
)

func person(uid uint32) Peer {
	p := Peer{UID: uid, GID: uid, PID: 1}
	switch uid {
	case bob:
		p.Groups = []uint32{5, groupTwo}
	case carol:
		p.GID = groupAdmins
	}
	return p
}

func labPolicy() *Policy {
	return &Policy{Owner: owner, AdminGroup: new(uint32(groupAdmins)), Replaced: make(chan struct{}),
		Apps: map[string]Allow{
			"one": {Users: []uint32{alice, bob}},
			"two": {Groups: []uint32{groupTwo}},
		}}
}

const secretToken = "s3cret-t0ken"

var labTime = time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.FixedZone("CET", 3600))

func labToken(app string) ipc.Token {
	return ipc.Token{
		App: app, AccessToken: secretToken, TokenType: "bearer", ID: "id-1",
		IssuedAt: labTime, ExpiresAt: labTime.Add(time.Hour), ExpiresIn: 3600,
	}
}

// fakeBackend answers as a test wants, and records what it was asked.
type fakeBackend struct {
	policy atomic.Pointer[Policy]

	mu      sync.Mutex // guards what follows
	err     error      // of every call but Device, Status and Watch
	asked   []string
	query   ipc.Query
	states  map[string]string // by app; ready where there is none
	snaps   map[string]Snapshot
	changed map[string]chan struct{}
	block   chan struct{} // Token waits for it, or the context
	waiting int           // in Token
}

func newBackend() *fakeBackend {
	b := &fakeBackend{states: map[string]string{}, snaps: map[string]Snapshot{}, changed: map[string]chan struct{}{}}
	b.policy.Store(labPolicy())
	return b
}

// follow puts a policy in the place of the one in force.
func (b *fakeBackend) follow(p *Policy) { close(b.policy.Swap(p).Replaced) }

func (b *fakeBackend) note(what string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked = append(b.asked, what)
	return b.err
}

// fails makes calls fail from now on.
func (b *fakeBackend) fails(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
}

// blocks makes Token wait for a channel from now on.
func (b *fakeBackend) blocks(until chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.block = until
}

func (b *fakeBackend) waiters() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.waiting
}

func (b *fakeBackend) noted() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.asked
}

func (b *fakeBackend) Policy() *Policy { return b.policy.Load() }

func (b *fakeBackend) Token(ctx context.Context, app string, q ipc.Query) (ipc.Token, error) {
	b.mu.Lock()
	b.query = q
	err, block := b.err, b.block
	b.waiting++
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.waiting--
	}()
	if block != nil {
		select {
		case <-block:
		case <-ctx.Done():
			return ipc.Token{}, ctx.Err()
		}
	}
	return labToken(app), err
}

func (b *fakeBackend) Headers(ctx context.Context, app string, q ipc.Query) (ipc.Headers, error) {
	tok, err := b.Token(ctx, app, q)
	return ipc.Headers{App: app, ExpiresIn: tok.ExpiresIn,
		Headers: map[string]string{"Authorization": "Bearer " + tok.AccessToken}}, err
}

func (b *fakeBackend) Report(_ context.Context, app string, r ipc.Report) (string, error) {
	return ipc.ActionRefresh, b.note(fmt.Sprintf("report %s %+v", app, r))
}

// set changes what watchers of an app see.
func (b *fakeBackend) set(app string, state ipc.AppStatus, tok *ipc.Token) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if tok != nil {
		tok = new(*tok)
	}
	if c := b.changed[app]; c != nil {
		close(c)
	}
	c := make(chan struct{})
	b.changed[app] = c
	b.snaps[app] = Snapshot{State: state, Token: tok, Changed: c}
}

func (b *fakeBackend) Watch(app string) (Snapshot, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s, ok := b.snaps[app]; ok {
		return s, nil
	}
	return Snapshot{}, ipc.NewProblem(ipc.CodeNotReady, "nothing to watch")
}

func (b *fakeBackend) Device(identifier bool) ipc.Device {
	d := ipc.Device{Info: json.RawMessage(`{"model":"x"}`), Sources: map[string]string{"model": "dt"}, Header: "eyJ9"}
	if identifier {
		d.Identifier = &ipc.Identifier{Value: "v", Source: "stored", Header: "fingerprint x"}
	}
	return d
}

func (b *fakeBackend) Status(v Viewer) ipc.Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	st := ipc.Status{Version: "1", StartedAt: labTime, Health: ipc.Healthy,
		Device: ipc.Device{Info: json.RawMessage(`{}`), Identifier: &ipc.Identifier{Value: "v"}}}
	for _, app := range []string{"one", "two"} {
		if state, ok := b.states[app]; v.Sees(app) {
			if !ok {
				state = ipc.StateReady
			}
			st.Apps = append(st.Apps, ipc.AppStatus{App: app, State: state})
		}
	}
	return st
}

func (b *fakeBackend) WriteMetrics(w io.Writer, v Viewer) error {
	for _, app := range []string{"one", "two"} {
		if v.Sees(app) {
			fmt.Fprintf(w, "tvpassd_token_valid{app=%q} 1\n", app)
		}
	}
	if v.Admin {
		fmt.Fprintln(w, "tvpassd_storage_writes_total 1")
	}
	return b.note("metrics")
}

func (b *fakeBackend) Refresh(_ context.Context, app string) error { return b.note("refresh " + app) }
func (b *fakeBackend) Reset(_ context.Context, app string) error   { return b.note("reset " + app) }
func (b *fakeBackend) Reload(_ context.Context, accept string) error {
	return b.note(strings.TrimSpace("reload " + accept))
}

func (b *fakeBackend) Configuration() ipc.Configuration {
	return ipc.Configuration{File: "config.toml", Holders: map[string]ipc.Holder{"one": {File: "one.toml", UID: 5}}}
}

// patience is how long a failing test waits on a busy machine.
const patience = 5 * time.Minute

// lab is a server on a socket of its own. The address that a caller connects
// from says who it is.
type lab struct {
	*fakeBackend
	t      testing.TB
	server *Server
	path   string
	log    *safeBuffer
	stop   func() // ends the server, and waits for that
}

var callers atomic.Int64

// byAddress identifies callers by that address.
func byAddress(fd int) (Peer, error) {
	address, err := unix.Getpeername(fd)
	if err != nil {
		return Peer{}, err
	}
	parts := strings.Split(address.(*unix.SockaddrUnix).Name, "/")
	if len(parts) != 3 {
		return Peer{}, errors.New("who is that?")
	}
	uid, err := strconv.ParseUint(parts[1], 10, 32)
	return person(uint32(uid)), err
}

// configFor is a server's configuration in which one backend answers
// everything.
func configFor(b *fakeBackend) Config {
	return Config{Policy: b.Policy, Tokens: b, Views: b, Orders: b, Log: discard(), Now: time.Now,
		HeaderTimeout: patience}
}

func startLab(t testing.TB, change func(*Config)) *lab {
	l := &lab{fakeBackend: newBackend(), t: t, log: new(safeBuffer), path: filepath.Join(t.TempDir(), "s.sock")}
	cfg := configFor(l.fakeBackend)
	cfg.Log = slog.New(slog.NewTextHandler(l.log, nil))
	if change != nil {
		change(&cfg)
	}
	l.server = New(cfg)
	l.server.identify = byAddress
	l.run()
	return l
}

func (l *lab) run() {
	listener, err := Listen(SocketOptions{Path: l.path, Mode: 0o600})
	if err != nil {
		l.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.server.Run(ctx, listener) }()
	l.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			l.t.Errorf("Run: %v", err)
		}
	})
	l.t.Cleanup(l.stop)
}

// dial connects as somebody.
func (l *lab) dial(uid uint32) net.Conn {
	l.t.Helper()
	from := fmt.Sprintf("@tvpassd-%p-%d/%d/", l, callers.Add(1), uid)
	c, err := net.DialUnix("unix", &net.UnixAddr{Name: from, Net: "unix"}, &net.UnixAddr{Name: l.path, Net: "unix"})
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { c.Close() })
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		l.t.Fatal(err)
	}
	return c
}

// answer is what came back.
type answer struct {
	*http.Response
	body string
}

func (a answer) problem(t testing.TB) *ipc.Problem {
	t.Helper()
	p := new(ipc.Problem)
	if err := json.Unmarshal([]byte(a.body), p); err != nil ||
		a.Header.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("%s, %s, %q: no problem: %v", a.Status, a.Header.Get("Content-Type"), a.body, err)
	}
	return p
}

// code is a problem's, or the status of any other answer.
func (a answer) code() string {
	var p ipc.Problem
	if a.StatusCode < 400 || json.Unmarshal([]byte(a.body), &p) != nil || p.Code == "" {
		return strconv.Itoa(a.StatusCode)
	}
	return p.Code
}

// ask makes one request on a connection of its own.
func (l *lab) ask(uid uint32, method, path, body string) answer {
	l.t.Helper()
	c := l.dial(uid)
	defer c.Close()
	return l.askOn(c, method, path, body)
}

func (l *lab) askOn(c net.Conn, method, path, body string) answer {
	l.t.Helper()
	fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: any.thing\r\nContent-Length: %d\r\n\r\n%s", method, path, len(body), body)
	return l.read(c, method)
}

func (l *lab) read(c io.Reader, method string) answer {
	l.t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		l.t.Fatalf("read the answer: %v", err)
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		l.t.Fatalf("read the answer's body: %v", err)
	}
	return answer{resp, string(text)}
}

// safeBuffer is a log that many write to.
type safeBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }
