package broker

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/tvpassd/tvpassd/daemon/dcr"
	"github.com/tvpassd/tvpassd/ipc"
	"github.com/tvpassd/tvpassd/storage"
)

// publishing makes a Broker publish what the engine does, as its loop would. It
// has no goroutine.
func (l *lab) publishing() *Broker {
	b := &Broker{
		engine: l.engine, clock: l.clock, changed: func() {}, logged: map[string][]string{}, brief: map[string]bool{},
		log: slog.New(slog.NewTextHandler(&l.logs, nil)),
	}
	b.published.Store(&publication{})
	l.look = func() { b.publish(l.clock.Now()) }
	return b
}

// living makes the server give tokens of a life.
func (l *lab) living(life time.Duration) {
	l.answer = func(r request) (any, error) {
		answer, err := l.healthy(r)
		if tok, ok := answer.(dcr.Token); ok {
			tok.ExpiresIn = life
			return tok, err
		}
		return answer, err
	}
}

// What tokens of a life cost in a day. The figures stand in docs/design.md.
func TestWhatADayCosts(t *testing.T) {
	for _, tc := range []struct {
		life  time.Duration
		calls int   // for tokens, at most
		bytes int64 // to flash, after the first hour
		lines int   // of the log, after the first hour
	}{
		{time.Second, 24 * 360, 0, 0},
		{10 * time.Second, 24 * 360, 0, 0},
		{60 * time.Second, 24 * 101, 0, 0},
		{10*time.Minute - time.Second, 241, 0, 0},
		{6 * time.Hour, 8, 6 * 16400, 0},
	} {
		t.Run(tc.life.String(), func(t *testing.T) {
			l := newLab(t)
			store, err := storage.Open(storage.Config{Dir: t.TempDir(), Now: func() time.Time { return l.clock.wall }})
			if err != nil {
				t.Fatal(err)
			}
			defer store.Close()
			l.engine.store = store
			l.living(tc.life)
			l.publishing()
			l.pass(time.Hour)
			before := store.Written()
			l.logs.Reset()
			l.pass(23 * time.Hour)
			written, lines := store.Written(), strings.Count(l.logs.String(), "\n")
			calls, bytes := l.count(callToken), written.Bytes-before.Bytes
			t.Logf("tokens that live %v: %d calls a day; %d bytes to flash and %d lines of the log after the first hour",
				tc.life, calls, bytes, lines)
			if calls > tc.calls || bytes > tc.bytes || lines > tc.lines {
				t.Errorf("want %d calls, %d bytes and %d lines at most\n%.500s", tc.calls, tc.bytes, tc.lines, l.logs.String())
			}
		})
	}
}

func TestShortLivesAreRefreshedInTime(t *testing.T) {
	for _, life := range []time.Duration{45 * time.Second, time.Minute, 5 * time.Minute, 10 * time.Minute} {
		l := newLab(t)
		l.living(life)
		l.pass(10 * time.Second)
		for range 3600 {
			l.pass(time.Second)
			if l.state() != ipc.StateReady {
				t.Fatalf("with tokens that live %v the app is %s", life, l.state())
			}
		}
		for _, gap := range l.gaps(1) {
			if gap < refreshGap {
				t.Errorf("with tokens that live %v two calls are %v apart", life, gap)
			}
		}
	}
}

// Tokens that live for seconds are fetched when players want them.
func TestAPlayerWhoWaitsGetsAShortToken(t *testing.T) {
	l := newLab(t)
	l.living(2 * time.Second)
	l.pass(5 * time.Second)
	for range 20 {
		if l.served() != "" {
			t.Fatal("a token that lives 2 s is served after 3 s")
		}
		l.machine().awaited(l.engine.at(l.clock.Now()))
		l.pass(time.Second)
		if l.served() == "" {
			t.Fatal("a player waits in vain")
		}
		l.pass(2500 * time.Millisecond)
	}
	if !fitsBucket(l.requests, 3) {
		t.Error("requests exceed a burst of 3 at 1 a second")
	}

	// A waiting player does not shorten the wait after a failure.
	l.answer = func(request) (any, error) { return nil, errOffline }
	l.pass(time.Minute)
	l.requests = nil
	for range 600 {
		l.machine().awaited(l.engine.at(l.clock.Now()))
		l.pass(time.Second)
	}
	if n := len(l.requests); n > 15 {
		t.Errorf("%d calls in ten minutes with a player who waits", n)
	}
}

func TestATokenThatLivesShortIsNotKept(t *testing.T) {
	l := newLab(t)
	l.pass(10 * time.Second)
	l.living(storeLife - time.Second)
	l.engine.refresh(l.machine(), l.clock.Now())
	l.pass(10 * time.Second)
	if tok := l.store.apps[labEndpoint+"ref30"].Token; tok != nil {
		t.Errorf("stored is %v", tok)
	}
	l.start()
	if l.served() != "" {
		t.Error("an earlier token is served")
	}
	l.pass(time.Second)
	l.expectState(ipc.StateReady)
}

// The coming and going of short tokens is logged once, and a failure is still
// logged.
func TestShortLivesAreLoggedOnce(t *testing.T) {
	l := newLab(t)
	l.living(5 * time.Second)
	l.publishing()
	l.pass(time.Hour)
	log := l.logs.String()
	hand, expired := strings.Count(log, "token at hand"), strings.Count(log, "has expired")
	if hand != 1 || expired != 1 {
		t.Errorf("logged %d and %d times:\n%s", hand, expired, l.logs.String())
	}
	l.logs.Reset()
	l.answer = func(request) (any, error) { return nil, errOffline }
	l.pass(time.Hour)
	if n := strings.Count(l.logs.String(), "no new token"); n != 1 {
		t.Errorf("a failure is logged %d times", n)
	}
	l.answer = l.healthy
	l.pass(time.Hour)
	if n := strings.Count(l.logs.String(), "token at hand"); n != 1 {
		t.Errorf("a token that lives is logged %d times", n)
	}
}
