package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// expectBucket expects no more requests than the device's bucket allows: 10 at
// once, and one a second. A busy machine delivers some late, and then they come
// closer together than they left.
func expectBucket(t *testing.T, seen []arrival) {
	t.Helper()
	const capacity, late = 10, 4
	for i, first := range seen {
		for j, last := range seen[i:] {
			if most := capacity + late + last.at.Sub(first.at).Seconds(); float64(j+1) > most {
				t.Fatalf("%d requests came within %v", j+1, last.at.Sub(first.at))
			}
		}
	}
}

// flood makes calls of an app as fast as the daemon answers, until ctx ends.
func (l *apiLab) flood(ctx context.Context, app string) {
	for i := 0; ctx.Err() == nil; i++ {
		r, err := l.try(ctx, "GET", fmt.Sprintf("/v1/apps/%s/api/v2/%s/profiles/%d", app, app, i), "", "Prefer", "wait=5")
		switch {
		case err != nil: // the daemon is not there
			pause(ctx, 100*time.Millisecond)
		case r.StatusCode != 200: // by its Retry-After it would be a second or more
			pause(ctx, 50*time.Millisecond)
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// Five apps flood while the daemon is killed again and again: the daemon's
// calls and the players' together never exceed the bucket.
func TestGatewayBucketThroughKills(t *testing.T) {
	l := newAPILab(t, nil)
	apps := []string{"ref30", "two", "three", "four", "five"}
	for _, app := range apps[1:] {
		l.addApp(app, "")
	}
	ctx, stop := context.WithCancel(t.Context())
	var floods sync.WaitGroup
	for _, app := range apps {
		floods.Go(func() { l.flood(ctx, app) })
		floods.Go(func() { l.flood(ctx, app) })
	}
	for range 8 {
		l.up()
		before := len(l.requests())
		l.until("two requests", func() bool { return len(l.requests()) >= before+2 })
		l.daemon.kill()
	}
	l.up()
	before := len(l.calls())
	l.until("calls of the last daemon", func() bool { return len(l.calls()) >= before+5 })
	stop()
	floods.Wait()
	expectBucket(t, l.requests())
}

// callsBetween waits for a certain request, and returns how many players' calls came
// before it and after so many requests.
func (l *apiLab) callsBetween(after int, is func(arrival) bool) (n int) {
	l.until("the request", func() bool {
		n = 0
		for _, c := range l.requests()[after:] {
			if is(c) {
				return true
			}
			if c.api {
				n++
			}
		}
		return false
	})
	return n
}

// While five apps flood, a token call of the daemon's own leaves before all of
// them, and an app that polls has its turn.
func TestGatewayIsFair(t *testing.T) {
	l := newAPILab(t, nil)
	apps := []string{"a", "b", "c", "d", "e"}
	for _, app := range apps {
		l.addApp(app, "")
	}
	l.up()
	l.token()
	ctx, stop := context.WithCancel(t.Context())
	var floods sync.WaitGroup
	for _, app := range apps {
		for range 8 {
			floods.Go(func() { l.flood(ctx, app) })
		}
	}
	l.until("full queues", func() bool { return l.status().Throttle.Waiting >= 16 })

	for range 2 { // more would be one a second, as admins may have
		tokens := len(l.issued())
		l.run("refresh", "--app", "ref30").expect(t, 0)
		asked := len(l.requests())
		n := 0
		if len(l.issued()) == tokens {
			n = l.callsBetween(asked, func(c arrival) bool { return !c.api })
		}
		if n > 8 { // of 16 that wait; a busy machine takes a while to place it
			t.Errorf("%d calls of players left before a due call of the daemon's own", n)
		}
		l.until("a token", func() bool { return len(l.issued()) > tokens })
	}
	for i := range 3 {
		if n := l.pollAmongFloods(apps, i); n > 2 { // one, and one that was on its way; in turn it would be five
			t.Errorf("poll %d: %d calls of others left before it", i, n)
		}
	}
	stop()
	floods.Wait()
	expectBucket(t, l.requests())
}

// pollAmongFloods has ref30 poll, as it does after a pause, while calls of other apps
// wait, and returns how many of those came before. A poll that leaves before
// anybody sees it wait is made again.
func (l *apiLab) pollAmongFloods(floods []string, i int) (before int) {
	l.t.Helper()
	l.until("a poll that waits", func() bool {
		pause(l.t.Context(), 1200*time.Millisecond)
		path := fmt.Sprintf("/api/v2/POLL/profiles/code/%d-%d", i, len(l.requests()))
		answer := make(chan reply, 1)
		go func() {
			r, err := l.try(l.t.Context(), "GET", "/v1/apps/ref30"+path, "", "Prefer", "wait=60")
			if err != nil {
				l.t.Error(err)
			}
			answer <- r
		}()
		waits, asked := false, 0
		var r reply
		for r.Response == nil {
			if !waits {
				waits = l.allWait(append(floods, "ref30"))
				asked = len(l.requests())
			}
			select {
			case r = <-answer:
			case <-time.After(10 * time.Millisecond):
			}
		}
		r.expect(l.t, 200, "received-status=200")
		before = 0
		for _, c := range l.requests()[asked:] {
			if c.uri == path {
				break
			}
			if c.api {
				before++
			}
		}
		return waits
	})
	return before
}

// allWait reports whether each of these apps has a call that waits for its turn.
func (l *apiLab) allWait(apps []string) bool {
	for _, a := range l.status().Apps {
		if slices.Contains(apps, a.App) && a.Gateway.Waiting == 0 {
			return false
		}
	}
	return true
}
