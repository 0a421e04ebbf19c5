package broker

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tvpassd/tvpassd/daemon/clock"
	"github.com/tvpassd/tvpassd/daemon/dcr"
	"github.com/tvpassd/tvpassd/ipc"
	"github.com/tvpassd/tvpassd/storage"
)

// Between two attempts a token may expire. The engine must wake up for that, so
// that watchers and the log learn of it.
func TestTheEngineWakesUpAtAnExpiry(t *testing.T) {
	l := newLab(t)
	l.pass(10 * time.Second)
	expires := l.machine().live.expires
	l.answer = func(request) (any, error) { return nil, &dcr.Error{Kind: dcr.Throttled, RetryAfter: time.Hour} }
	l.advance(expires - 10*time.Minute - l.clock.boot)
	l.pass(time.Minute)
	if calls, wake := l.engine.step(l.clock.Now()); len(calls) > 0 || wake != expires {
		t.Errorf("the engine wakes up %v after the expiry", wake-expires)
	}
}

func TestAWatcherIsToldOfAnExpiry(t *testing.T) {
	b := running(t)
	b.ready()
	v, err := b.View("ref30")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := v.Token(b.clock.Now()); !ok {
		t.Fatal("no token")
	}
	b.tick(labLife)
	<-b.up.began
	select {
	case <-v.Changed():
	case <-time.After(time.Minute):
		t.Fatal("the watcher is told nothing")
	}
	if v, _ = b.View("ref30"); v.core.valid {
		t.Error("the new view has a valid token")
	}
	b.up.release <- errOffline
}

func TestWhoWaitsForAnAppThatGoesIsAnsweredAtOnce(t *testing.T) {
	b := running(t)
	<-b.up.began // nothing changes until it is released
	// It looks once more after the loop went round for it.
	ctx := &observed{Context: context.Background(), first: 2, looked: make(chan struct{})}
	answered := make(chan error)
	go func() {
		_, err := b.Token(ctx, "ref30", 24*time.Hour, 0)
		answered <- err
	}()
	<-ctx.looked // the player waits
	if err := b.Configure(context.Background(), Setup{Endpoint: labEndpoint, TLS: true, Upstream: b.up}); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-answered:
		if !errors.Is(err, ErrUnknownApp) {
			t.Errorf("the player is answered %v", err)
		}
	case <-time.After(time.Minute):
		t.Error("the player waits on")
	}
	b.up.release <- errOffline
}

// A report that comes while the token is being replaced is about the old one.
func TestAReportThatRacesWithARefresh(t *testing.T) {
	b := running(t)
	b.ready()
	var inside sync.WaitGroup
	inside.Add(1)
	release := make(chan struct{})
	go func() {
		err := b.do(context.Background(), func(clock.Reading) {
			inside.Done()
			<-release
			m := b.engine.machine("ref30")
			m.rec.Token = &storage.Token{
				AccessToken: "token-2", Life: labLife, Sent: m.rec.Token.Sent, RefreshAfter: labLife / 2,
			}
		})
		if err != nil {
			t.Error(err)
		}
	}()
	inside.Wait()
	ctx := &observed{Context: context.Background(), first: 1, looked: make(chan struct{})}
	answered := make(chan string)
	go func() {
		action, err := b.Report(ctx, "ref30", "token-1")
		if err != nil {
			t.Error(err)
		}
		answered <- action
	}()
	<-ctx.looked // it was the current token until now
	close(release)
	if action := <-answered; action != ipc.ActionNone {
		t.Errorf("the report leads to %q", action)
	}
}

// observed is a context that signals each time that somebody waits for its end.
type observed struct {
	context.Context
	first  int32
	asked  atomic.Int32
	looked chan struct{}
}

func (c *observed) Done() <-chan struct{} {
	if c.asked.Add(1) == c.first {
		close(c.looked)
	}
	return c.Context.Done()
}
