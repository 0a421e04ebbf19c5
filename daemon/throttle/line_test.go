package throttle

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// newTestLine returns a line whose boot clock is the bubble's.
func newTestLine() (*Line, *Gate) {
	began := time.Now()
	now := func() time.Duration { return start + time.Since(began) }
	g := New("b", now(), empty())
	return NewLine(g, now, func(d time.Duration, f func()) Timer { return time.AfterFunc(d, f) }), g
}

func TestCallersWaitForTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := newTestLine()
		began := time.Now()
		var calls sync.WaitGroup
		for _, app := range []string{"a", "b"} {
			for range 10 {
				calls.Go(func() {
					turn, err := l.Enter(t.Context(), app, time.Minute)
					if err != nil {
						return // there is room for 8
					}
					defer turn.Done()
					time.Sleep(100 * time.Millisecond)
					turn.Answered()
				})
			}
		}
		calls.Wait()
		if took := time.Since(began); took < 6*time.Second || took > 12*time.Second {
			t.Errorf("the calls took %v", took)
		}
		if got := l.Total(); got != (Load{}) {
			t.Errorf("the load is %v", got)
		}
	})
}

func TestACallerThatLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, g := newTestLine()
		g.Throttled(start, 30*time.Second, start)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() {
			_, err := l.Enter(ctx, "a", time.Minute)
			ended <- err
		}()
		synctest.Wait()
		if got := l.Load("a"); got != (Load{Waiting: 1}) {
			t.Errorf("the load is %v", got)
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("it ends with %v", err)
		}
		if got := l.Load("a"); got != (Load{}) {
			t.Errorf("the load is %v", got)
		}
		if _, err := l.Enter(ctx, "a", time.Minute); !errors.Is(err, context.Canceled) {
			t.Errorf("a caller that has left: %v", err)
		}
	})
}

func TestAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, g := newTestLine()
		turn, err := l.Enter(t.Context(), "a", 0)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := turn.Again(t.Context(), 5*time.Second, 10*time.Second); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(began); waited != 6*time.Second { // one token is the daemon's
			t.Errorf("it waited %v", waited)
		}
		select {
		case <-g.Shuts():
		default:
			t.Error("the broker hears nothing of it")
		}
		err = turn.Again(t.Context(), time.Minute, 10*time.Second)
		if shut, ok := errors.AsType[*ShutError](err); !ok || shut.RetryAfter != 61*time.Second {
			t.Errorf("a long Retry-After: %v", err)
		}
		turn.Done()
		if got := l.Total(); got != (Load{}) {
			t.Errorf("the load is %v", got)
		}
	})
}

// A call that does not leave after all gives its token back: the next ones leave at
// once.
func TestAnUnusedTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := newTestLine()
		began := time.Now()
		for i := range 3 * capacity {
			turn, err := l.Enter(t.Context(), "a", time.Minute)
			if err != nil {
				t.Fatalf("call %d: %v", i, err)
			}
			turn.Unused()
		}
		if took := time.Since(began); took != 0 || l.Total() != (Load{}) {
			t.Errorf("the calls waited for %v; the load is %v", took, l.Total())
		}
	})
}

func TestAWaitOnTheLineEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, g := newTestLine()
		g.Throttled(start, 10*time.Second, start)
		began := time.Now()
		_, err := l.Enter(t.Context(), "a", 10*time.Second)
		if _, ok := errors.AsType[*ShutError](err); !ok || time.Since(began) != 10*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

// A gate that opens earlier than expected lets waiting calls leave.
func TestALineNoticesWhatIsFreed(t *testing.T) {
	for name, tc := range map[string]struct{ hold, free func(*Gate) }{
		"a claim":         {func(g *Gate) { g.all = bucket(start); g.Claim(3) }, func(g *Gate) { g.Claim(0) }},
		"an earlier boot": {func(g *Gate) { g.ShutUntil(start + time.Hour) }, func(g *Gate) { g.OpenFrom(start) }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, g := newTestLine()
				tc.hold(g)
				began := time.Now()
				left := make(chan error)
				go func() {
					_, err := l.Enter(t.Context(), "a", 2*time.Hour)
					left <- err
				}()
				time.Sleep(2500 * time.Millisecond)
				tc.free(g)
				if err := <-left; err != nil || time.Since(began) > 3*time.Second {
					t.Errorf("%v after %v", err, time.Since(began))
				}
			})
		})
	}
}
