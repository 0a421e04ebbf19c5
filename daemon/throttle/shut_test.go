package throttle

import (
	"testing"
	"time"
)

func TestShutsDoubleWhile429Follows429(t *testing.T) {
	g, now := New("b", start, empty()), start
	refused := func(retryAfter, want time.Duration) {
		t.Helper()
		now = g.Opens(now)
		g.Leave(now)
		sent := now
		now += 50 * time.Millisecond
		if got := g.Throttled(sent, retryAfter, now); got != want {
			t.Errorf("it is shut for %v, want %v", got, want)
		}
	}
	refused(0, time.Second)
	refused(0, 2*time.Second)
	refused(time.Minute, time.Minute)
	for range 3 {
		refused(0, 8*time.Second)
	}
	sent := now - time.Second
	g.Accepted(sent) // left before the last 429
	refused(0, 8*time.Second)
	now = g.Opens(now)
	g.Leave(now)
	g.Accepted(now)
	refused(0, time.Second)
}

func TestA429ForEachCallInFlightDoublesOnce(t *testing.T) {
	g := New("b", start, empty())
	for n := range 4 {
		if got := g.Throttled(start, 0, start+time.Duration(n+1)*time.Millisecond); got != time.Second {
			t.Errorf("answer %d shuts it for %v", n+1, got)
		}
	}
}

// A crash loop does not shorten what 429s in a row ask for.
func TestARestartKnowsOfEarlier429s(t *testing.T) {
	m := empty()
	now := start
	for n, want := range []time.Duration{1, 2, 4, 8, 8} {
		g := New("b", now, m)
		now = g.Opens(now)
		g.Leave(now)
		if got := g.Throttled(now, 0, now); got != want*time.Second {
			t.Errorf("answer %d shuts it for %v, want %v", n+1, got, want*time.Second)
		}
	}
	if g := New("c", now, m); g.Opens(now) != now || g.capacity(now) != capacity {
		t.Error("another boot remembers them too")
	}
}

func TestCapacityAfterA429(t *testing.T) {
	m := empty()
	New("b", start, m).Throttled(start, 0, start)
	for _, tc := range []struct {
		after time.Duration
		want  int
	}{
		{time.Minute, 3}, {time.Hour - time.Second, 3}, {time.Hour + time.Minute, 4},
		{time.Hour + 3*time.Minute, 6}, {time.Hour + 7*time.Minute, 10}, {24 * time.Hour, 10},
	} {
		now := start + tc.after
		g := New("b", now, m)
		sent := 0
		for g.leavePlayers(now) {
			sent++
		}
		if sent != tc.want-1 { // one is the daemon's
			t.Errorf("after %v %d calls of players leave at once, want %d", tc.after, sent, tc.want-1)
		}
	}
}

func TestReportsOfA429(t *testing.T) {
	m := empty()
	g := New("b", start, m)
	for _, tc := range []struct {
		after  time.Duration
		app    string
		counts bool
	}{
		{0, "a", true}, {time.Second, "b", false}, {5 * time.Second, "a", false}, {5 * time.Second, "b", true},
		{9 * time.Second, "a", false}, {10 * time.Second, "a", true}, {15 * time.Second, "b", true},
	} {
		now := start + tc.after
		if got := g.Reported(tc.app, now); got != tc.counts {
			t.Errorf("after %v a report of %s counts: %v", tc.after, tc.app, got)
		}
		if at := g.Opens(now); tc.counts != (at == now+time.Second) {
			t.Errorf("after %v it opens in %v", tc.after, at-now)
		}
	}
	if now := start + time.Minute; g.capacity(now) != capacity || m.state.Throttled != 0 || m.state.Row != 0 {
		t.Errorf("reports leave their mark: %+v", m.state)
	}
}

func TestSharedThrottle(t *testing.T) {
	for _, tc := range []struct {
		name  string
		every time.Duration
		burst int // of the calls that are answered 429
		want  bool
	}{
		{"others call", time.Minute, 1, true},
		{"seldom", 4 * time.Minute, 1, false},
		{"this device's own bursts", time.Minute, 3, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g, now := New("b", start, empty()), start
			for n := range 4 {
				if g.Shared(now) {
					t.Fatalf("the warning comes after %d answers", n)
				}
				now += tc.every
				for range tc.burst {
					g.Leave(now)
				}
				g.Throttled(now, 0, now)
			}
			if got := g.Shared(now); got != tc.want {
				t.Errorf("the warning: %v", got)
			}
			if g.Shared(now + sharedWithin) {
				t.Error("the warning stays")
			}
		})
	}
}
