package broker

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/tvpassd/tvpassd/daemon/clock"
	"github.com/tvpassd/tvpassd/daemon/dcr"
	"github.com/tvpassd/tvpassd/daemon/throttle"
	"github.com/tvpassd/tvpassd/storage"
)

// The lab runs the real engine against a server, a disk and a clock of its own:
// no goroutine, no real time.

const (
	labEndpoint = "https://sp.example"
	labLife     = 6 * time.Hour
)

var (
	labBuild = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	labStart = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
)

type labClock struct {
	boot   time.Duration
	wall   time.Time
	bootID string
	synced bool
}

func (c *labClock) Now() clock.Reading { return clock.Reading{Boot: c.boot, Wall: c.wall} }
func (c *labClock) BootID() string     { return c.bootID }
func (c *labClock) Synchronised() bool { return c.synced }

// labStore is a disk that keeps what was saved, and fails when told to.
type labStore struct {
	apps  map[string]storage.App
	gate  storage.Gate
	fails error
	saves int
	shuts int // how often the gate was saved
}

func (s *labStore) App(endpoint, app string) (storage.App, error) { return s.apps[endpoint+app], nil }
func (s *labStore) Gate() (storage.Gate, error)                   { return s.gate, nil }
func (s *labStore) Flush() error                                  { return s.fails }
func (s *labStore) SaveGate(g storage.Gate) error                 { s.gate = g; s.shuts++; return s.fails }
func (s *labStore) SaveApp(endpoint, app string, a storage.App) error {
	if reflect.DeepEqual(s.apps[endpoint+app], a) {
		return nil // nothing is written
	}
	if s.fails == nil {
		s.apps[endpoint+app] = a
		s.saves++
	}
	return s.fails
}

// labMemory is the gate's memory: a file that does not survive a reboot.
type labMemory struct {
	state  *throttle.State
	fails  error
	spoilt bool
}

func (m *labMemory) Load() (throttle.State, error) {
	switch {
	case m.spoilt:
		return throttle.State{}, errors.New("it is damaged")
	case m.state == nil:
		return throttle.State{}, fs.ErrNotExist
	}
	return *m.state, nil
}

func (m *labMemory) Save(s throttle.State) error {
	m.spoilt = m.fails != nil
	if m.fails == nil {
		m.state = &s
	}
	return m.fails
}

// request is one call as the server saw it.
type request struct {
	kind   callKind
	app    string
	client string
	at     time.Time // by the server's clock, which is right
}

type pending struct {
	call   *call
	answer any
	err    error
	at     time.Duration
}

type lab struct {
	t      *testing.T
	clock  *labClock
	store  *labStore
	memory *labMemory
	random *rand.Rand
	logs   bytes.Buffer
	engine *engine
	setup  Setup

	world    time.Time     // the true time, which is the server's
	latency  time.Duration // of every answer
	answer   func(request) (any, error)
	requests []request
	inflight []pending
	issued   int
	look     func() // after everything that happened
}

func newLab(t *testing.T, apps ...string) *lab {
	l := &lab{
		t:     t,
		clock: &labClock{boot: 30 * time.Second, wall: labStart, bootID: "boot-1", synced: true},
		store: &labStore{apps: map[string]storage.App{}}, memory: &labMemory{},
		world: labStart, latency: 80 * time.Millisecond,
		random: rand.New(rand.NewPCG(1, 2)),
		setup:  Setup{Endpoint: labEndpoint, TLS: true},
	}
	if len(apps) == 0 {
		apps = []string{"ref30"}
	}
	for _, id := range apps {
		l.setup.Apps = append(l.setup.Apps, App{ID: id, SoftwareStatement: "statement-of-" + id})
	}
	l.answer = l.healthy
	l.start()
	return l
}

// start begins a run of the daemon on what is stored.
func (l *lab) start() {
	l.inflight = nil
	l.engine = newEngine(Config{
		Clock: l.clock, Store: l.store, Random: l.random, BuildDate: labBuild,
		Gate: throttle.New(l.clock.bootID, l.clock.boot, l.memory),
		Log:  slog.New(slog.NewTextHandler(&l.logs, nil)),
	})
	if err := l.engine.configure(l.setup, l.clock.Now()); err != nil {
		l.t.Fatal(err)
	}
}

// reboot ends this boot. The clock comes back as given.
func (l *lab) reboot(off time.Duration, wall time.Time, synced bool) {
	l.world = l.world.Add(off)
	l.clock.boot, l.clock.wall, l.clock.synced = 20*time.Second, wall, synced
	l.clock.bootID += "+"
	*l.memory = labMemory{fails: l.memory.fails}
	l.start()
}

// healthy is a server that grants everything.
func (l *lab) healthy(r request) (any, error) {
	l.issued++
	if r.kind == callRegister {
		return dcr.Credentials{ClientID: fmt.Sprint("client-", l.issued), ClientSecret: "secret", Date: l.date()}, nil
	}
	return dcr.Token{AccessToken: fmt.Sprint("token-", l.issued), ExpiresIn: labLife, Date: l.date()}, nil
}

func (l *lab) date() time.Time { return l.world.Truncate(time.Second) }

func (l *lab) refuse(kind dcr.Kind, code string) error {
	return &dcr.Error{Kind: kind, ServerCode: code, Detail: code, Date: l.date()}
}

var errOffline = &dcr.Error{Kind: dcr.Offline, Detail: "no route to the server"}

// pass advances the clock, with everything that happens meanwhile.
func (l *lab) pass(d time.Duration) {
	for end := l.clock.boot + d; ; {
		calls, wake := l.engine.step(l.clock.Now())
		for _, c := range calls {
			l.send(c)
		}
		next := min(end, wake)
		for _, p := range l.inflight {
			next = min(next, p.at)
		}
		l.advance(next - l.clock.boot)
		l.deliver()
		if l.look != nil {
			l.look()
		}
		if l.clock.boot >= end && len(calls) == 0 {
			return
		}
	}
}

func (l *lab) advance(d time.Duration) {
	d = max(d, 0)
	l.clock.boot += d
	l.clock.wall = l.clock.wall.Add(d)
	l.world = l.world.Add(d)
}

func (l *lab) send(c *call) {
	r := request{kind: c.kind, app: c.machine.app.ID, client: c.token.ClientID, at: l.world}
	l.requests = append(l.requests, r)
	answer, err := l.answer(r)
	l.inflight = append(l.inflight, pending{c, answer, err, l.clock.boot + l.latency})
}

func (l *lab) deliver() {
	var later []pending
	for _, p := range l.inflight {
		if p.at > l.clock.boot {
			later = append(later, p)
			continue
		}
		l.engine.finish(p.call, p.answer, p.err, l.clock.Now())
	}
	l.inflight = later
}

func (l *lab) count(kind callKind) int {
	n := 0
	for _, r := range l.requests {
		if r.kind == kind {
			n++
		}
	}
	return n
}

func (l *lab) machine() *machine { return l.engine.machine(l.setup.Apps[0].ID) }

// served is the access token that a player of the first app gets now, "" for
// none.
func (l *lab) served() string {
	tok, _ := l.view().Token(l.clock.Now())
	return tok.AccessToken
}

// view returns the only app's present view.
func (l *lab) view() *AppView { return new(l.engine.view(l.machine(), l.clock.Now())) }

// report makes a player report the only app's token.
func (l *lab) report() { l.engine.report(l.machine(), l.clock.Now()) }

func (l *lab) state() string {
	return l.view().State(l.clock.Now())
}

func (l *lab) failure() Failure {
	f, _ := l.view().Failure()
	return f
}

func (l *lab) expectCounts(registrations, tokens int) {
	l.t.Helper()
	if r, k := l.count(callRegister), l.count(callToken); r != registrations || k != tokens {
		l.t.Fatalf("%d registrations and %d token requests, want %d and %d\n%v", r, k, registrations, tokens, l.requests)
	}
}

func (l *lab) expectState(want string) {
	l.t.Helper()
	if got := l.state(); got != want {
		l.t.Fatalf("state %q, want %q", got, want)
	}
}

// gaps are the times between the requests from the nth on.
func (l *lab) gaps(from int) []time.Duration {
	var gaps []time.Duration
	for i := from + 1; i < len(l.requests); i++ {
		gaps = append(gaps, l.requests[i].at.Sub(l.requests[i-1].at))
	}
	return gaps
}

var errDisk = errors.New("no space left on device")
