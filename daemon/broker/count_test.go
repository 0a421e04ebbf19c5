package broker

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tvpassd/tvpassd/daemon/dcr"
)

func TestDurationsAreCountedUpToTheirBound(t *testing.T) {
	var d Durations
	const tenth, second = 100 * time.Millisecond, time.Second
	for _, took := range []time.Duration{0, tenth, tenth + 1, second, 10 * second, time.Hour} {
		d.Add(took)
	}
	want := Durations{Buckets: [6]int64{2, 1, 1, 0, 1, 1}, Sum: time.Hour + 11*time.Second + 200*time.Millisecond + 1}
	if diff := cmp.Diff(want, d); diff != "" {
		t.Error(diff)
	}
}

func TestCallsAreCountedByOutcomeAndDuration(t *testing.T) {
	l := newLab(t)
	l.latency = 200 * time.Millisecond
	l.pass(5 * time.Second)
	before := l.machine().calls
	l.answer = func(request) (any, error) { return nil, l.refuse(dcr.Throttled, "") }
	l.latency = 2 * time.Second
	l.pass(4*time.Hour + time.Minute)
	register, token := before[0], before[1]
	if once := [5]int64{1}; register.Ended != once || token.Ended != once {
		t.Errorf("%+v and %+v after one of each", register, token)
	}
	throttled := int64(l.count(callToken) - 1)
	calls := l.machine().calls
	if want := ([5]int64{1, 0, throttled}); calls[0] != register || calls[1].Ended != want || throttled == 0 {
		t.Errorf("%+v, want %v token requests: %v", calls, want, l.requests)
	}
	took := calls[1].Took
	sum := 200*time.Millisecond + time.Duration(throttled)*2*time.Second
	if want := ([6]int64{0, 1, 0, throttled, 0, 0}); took.Buckets != want || took.Sum != sum {
		t.Errorf("durations %+v, want %v", took, want)
	}
}

// Six apps share a burst of 3 and 1 request a second.
func TestWaitsForTheGateAreCounted(t *testing.T) {
	l := newLab(t, "a", "b", "c", "d", "e", "f")
	l.pass(time.Minute) // 12 calls, of which 3 leave at once
	waits := l.engine.waits.ended
	if waits.Count == 0 || waits.Count > 12 || waits.Sum < 8*time.Second || waits.Sum > 9*time.Second {
		t.Errorf("%+v", waits)
	}
	l.pass(time.Hour)
	if again := l.engine.waits.ended; again != waits {
		t.Errorf("%+v, though nothing was due after %+v", again, waits)
	}
}
