package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tvpassd/tvpassd/daemon/clock"
	"github.com/tvpassd/tvpassd/daemon/dcr"
	"github.com/tvpassd/tvpassd/daemon/throttle"
	"github.com/tvpassd/tvpassd/ipc"
	"github.com/tvpassd/tvpassd/storage"
)

// stillAlarm rings only when a test says so.
type stillAlarm struct{ c chan struct{} }

func (a stillAlarm) Set(time.Duration)  {}
func (a stillAlarm) C() <-chan struct{} { return a.c }

// gatedUpstream holds each call until a test lets it go.
type gatedUpstream struct {
	mu              sync.Mutex
	registers, toks int
	began           chan callKind
	release         chan error
}

func newGatedUpstream() *gatedUpstream {
	return &gatedUpstream{began: make(chan callKind, 100), release: make(chan error, 100)}
}

func (u *gatedUpstream) wait(ctx context.Context, kind callKind) error {
	u.mu.Lock()
	if kind == callRegister {
		u.registers++
	} else {
		u.toks++
	}
	u.mu.Unlock()
	u.began <- kind
	select {
	case err := <-u.release:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (u *gatedUpstream) Register(ctx context.Context, _ dcr.RegisterRequest) (dcr.Credentials, error) {
	return dcr.Credentials{ClientID: "client", ClientSecret: "secret"}, u.wait(ctx, callRegister)
}

func (u *gatedUpstream) Token(ctx context.Context, _ dcr.TokenRequest) (dcr.Token, error) {
	if err := u.wait(ctx, callToken); err != nil {
		return dcr.Token{}, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return dcr.Token{AccessToken: "token-" + string(rune('0'+u.toks)), ExpiresIn: labLife}, nil
}

// steppedClock moves only when a test says so.
type steppedClock struct {
	mu sync.Mutex
	labClock
}

func (c *steppedClock) Now() clock.Reading {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.labClock.Now()
}

func (c *steppedClock) step(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.boot += d
	c.wall = c.wall.Add(d)
}

type bench struct {
	*Broker
	clock *steppedClock
	alarm stillAlarm
	up    *gatedUpstream
	store Store
	stop  func()
}

// running starts a broker for one app that has never been registered.
func running(t testing.TB) *bench {
	clock := labClock{boot: time.Minute, wall: labStart, bootID: "b", synced: true}
	return runningOn(t, &labStore{apps: map[string]storage.App{}}, clock)
}

// runningOn starts a broker for one app on what is stored.
func runningOn(t testing.TB, store Store, clock labClock) *bench {
	b := &bench{
		clock: &steppedClock{labClock: clock},
		alarm: stillAlarm{make(chan struct{})}, up: newGatedUpstream(),
		store: store,
	}
	var err error
	b.Broker, err = New(Config{
		Clock: b.clock, Alarm: b.alarm, Store: b.store, Gate: throttle.New(clock.bootID, clock.boot, &labMemory{}),
		Random:    rand.New(rand.NewPCG(1, 1)),
		BuildDate: labBuild, Log: slog.New(slog.DiscardHandler),
	}, Setup{Endpoint: labEndpoint, TLS: true, Upstream: b.up, Apps: []App{{ID: "ref30", SoftwareStatement: "s"}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- b.Run(ctx) }()
	b.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(b.stop)
	return b
}

// tick advances the clock and wakes the broker.
func (b *bench) tick(d time.Duration) {
	b.clock.step(d)
	b.alarm.c <- struct{}{}
}

// ready brings the broker to its first token.
func (b *bench) ready() {
	for _, want := range []callKind{callRegister, callToken} {
		b.tick(2 * time.Second)
		if got := <-b.up.began; got != want {
			panic(got)
		}
		b.up.release <- nil
	}
	if _, err := b.Token(context.Background(), "ref30", time.Minute, 0); err != nil {
		panic(err)
	}
}

func TestTwoHundredPlayersCauseOneRegistrationAndOneTokenCall(t *testing.T) {
	b := running(t)
	var players sync.WaitGroup
	got := make(chan string, 200)
	for range 200 {
		players.Go(func() {
			tok, err := b.Token(context.Background(), "ref30", time.Minute, 0)
			if err != nil {
				t.Error(err)
			}
			got <- tok.AccessToken
		})
	}
	b.ready()
	players.Wait()
	close(got)
	for tok := range got {
		if tok != "token-1" {
			t.Fatalf("a player got %q", tok)
		}
	}
	if b.up.registers != 1 || b.up.toks != 1 {
		t.Errorf("%d registrations and %d token calls", b.up.registers, b.up.toks)
	}
}

func TestTokenWithoutWaitingSaysWhy(t *testing.T) {
	b := running(t)
	_, err := b.Token(context.Background(), "ref30", 0, 0)
	no, ok := errors.AsType[*NoTokenError](err)
	if !ok || no.Code != ipc.CodeNotReady {
		t.Fatalf("before anything failed: %v", err)
	}
	b.tick(2 * time.Second)
	<-b.up.began
	b.up.release <- &dcr.Error{Kind: dcr.Rejected, ServerCode: "unapproved_software_statement"}
	for v, err := b.View("ref30"); ; v, err = b.View("ref30") {
		if err != nil {
			t.Fatal(err)
		}
		if _, failed := v.Failure(); failed {
			break
		}
		<-v.Changed()
	}
	_, err = b.Token(context.Background(), "ref30", 0, 0)
	no, ok = errors.AsType[*NoTokenError](err)
	if !ok || no.Code != ipc.CodeRejected || no.ServerCode != "unapproved_software_statement" ||
		no.RetryAfter < 15*time.Minute {
		t.Errorf("after a refusal: %+v", no)
	}
	if _, err := b.Token(context.Background(), "other", 0, 0); !errors.Is(err, ErrUnknownApp) {
		t.Errorf("an unknown app: %v", err)
	}
}

func TestMinimumLifetime(t *testing.T) {
	b := running(t)
	b.ready()
	b.clock.step(labLife / 2)
	tok, err := b.Token(context.Background(), "ref30", 0, 100*time.Hour)
	if err != nil || tok.ExpiresIn < labLife/3 {
		t.Fatalf("a wish beyond a third of the life: %v, %v", tok.ExpiresIn, err)
	}
	b.tick(labLife/6 + time.Minute) // past every refresh instant: less than a third is left
	<-b.up.began
	_, err = b.Token(context.Background(), "ref30", 0, 100*time.Hour)
	if no, ok := errors.AsType[*NoTokenError](err); !ok || no.Code != ipc.CodeNotReady || no.RetryAfter != time.Second {
		t.Errorf("with a refresh under way: %+v", no)
	}
	if tok, err := b.Token(context.Background(), "ref30", 0, time.Hour); err != nil || tok.AccessToken != "token-1" {
		t.Errorf("a wish that the old token fulfils: %v", err)
	}
	b.up.release <- nil
	tok, err = b.Token(context.Background(), "ref30", time.Minute, 100*time.Hour)
	if err != nil || tok.AccessToken != "token-2" {
		t.Errorf("after the refresh: %v", err)
	}
}

func TestAMinimumLifetimeIsNotSpreadAfterAStart(t *testing.T) {
	b := running(t)
	b.ready()
	b.stop()
	b.clock.step(labLife * 3 / 4)
	b = runningOn(t, b.store, b.clock.labClock)
	b.up.toks = 1
	ctx := context.Background()
	if err := b.Ping(ctx); err != nil {
		t.Fatal(err)
	}
	before, _ := b.View("ref30")
	_, err := b.Token(ctx, "ref30", 0, labLife)
	if no, ok := errors.AsType[*NoTokenError](err); !ok || no.RetryAfter < 2*time.Second {
		t.Fatalf("who does not wait: %+v", no)
	}
	if err := b.Ping(ctx); err != nil {
		t.Fatal(err)
	}
	if v, _ := b.View("ref30"); v != before {
		t.Error("a player who does not wait moved the refresh")
	}
	got := make(chan string, 1)
	go func() {
		tok, err := b.Token(ctx, "ref30", 5*time.Second, labLife)
		got <- fmt.Sprint(tok.AccessToken, err)
	}()
	select {
	case <-before.Changed():
	case answer := <-got:
		t.Fatalf("the player waited for the spread in vain: %s", answer)
	}
	b.tick(10 * time.Millisecond)
	<-b.up.began
	b.up.release <- nil
	if answer := <-got; answer != "token-2<nil>" {
		t.Errorf("the player got %s", answer)
	}
}

func TestTokenWaitsForTheRefreshThatAReportStarted(t *testing.T) {
	b := running(t)
	b.ready()
	ctx := context.Background()
	for _, other := range []string{"", "token-0", "token-11"} {
		if action, err := b.Report(ctx, "ref30", other); err != nil || action != ipc.ActionNone {
			t.Fatalf("a report of %q: %q, %v", other, action, err)
		}
	}
	b.clock.step(5 * time.Second)
	if action, err := b.Report(ctx, "ref30", "token-1"); err != nil || action != ipc.ActionRefresh {
		t.Fatalf("the report: %q, %v", action, err)
	}
	<-b.up.began
	if tok, err := b.Token(ctx, "ref30", 0, 0); err != nil || tok.AccessToken != "token-1" {
		t.Errorf("who does not wait gets what there is: %v", err)
	}
	got := make(chan Token)
	go func() {
		tok, err := b.Token(ctx, "ref30", time.Minute, 0)
		if err != nil {
			t.Error(err)
		}
		got <- tok
	}()
	select {
	case tok := <-got:
		t.Fatalf("%q was served while its replacement is under way", tok.AccessToken)
	case <-time.After(20 * time.Millisecond):
	}
	b.up.release <- nil
	if tok := <-got; tok.AccessToken != "token-2" {
		t.Errorf("got %q", tok.AccessToken)
	}
}

func TestAStopLetsARegistrationFinish(t *testing.T) {
	b := running(t)
	b.tick(2 * time.Second)
	<-b.up.began
	time.AfterFunc(10*time.Millisecond, func() { b.up.release <- nil })
	b.stop()
	if a, err := b.store.App(labEndpoint, "ref30"); err != nil || a.Credentials == nil {
		t.Error("the credentials of a registration under way are lost at the stop")
	}
}

func TestACallGivenUpAtAStopIsNoFailure(t *testing.T) {
	for _, kind := range []callKind{callRegister, callToken} {
		t.Run(string(kind), func(t *testing.T) {
			l := newLab(t)
			if kind == callToken {
				l.pass(10 * time.Second)
			}
			l.engine.refresh(l.machine(), l.clock.Now())
			l.advance(2 * time.Second)
			calls, _ := l.engine.step(l.clock.Now())
			if len(calls) != 1 || calls[0].kind != kind {
				t.Fatal(calls)
			}
			before := l.store.apps[labEndpoint+"ref30"]
			ctx, giveUp := context.WithCancel(t.Context())
			giveUp()
			b := &Broker{engine: l.engine}
			b.exchange(ctx, newGatedUpstream(), calls[0])(l.clock.Now())
			if f := l.failure(); f != (Failure{}) {
				t.Errorf("the failure is %+v", f)
			}
			if err := l.engine.close(l.clock.Now()); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(before, l.store.apps[labEndpoint+"ref30"]); diff != "" {
				t.Errorf("what is stored changes (-before +after):\n%s", diff)
			}
		})
	}
}

// slowDisk holds up the writes of tokens.
type slowDisk struct {
	*labStore
	writes, release chan struct{}
}

func (s slowDisk) SaveApp(endpoint, app string, a storage.App) error {
	if a.Token != nil {
		s.writes <- struct{}{}
		<-s.release
	}
	return s.labStore.SaveApp(endpoint, app, a)
}

func BenchmarkCachedToken(b *testing.B) {
	broker := running(b)
	broker.ready()
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := broker.Token(ctx, "ref30", 10*time.Second, 0); err != nil {
			b.Fatal(err)
		}
	}
}
