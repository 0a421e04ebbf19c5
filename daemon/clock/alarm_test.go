package clock

import (
	"errors"
	"log/slog"
	"math"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long a ring may take on a busy machine.
const patience = 5 * time.Minute

func newAlarm(t *testing.T) *Alarm {
	t.Helper()
	a := NewAlarm(NewSystem(), slog.New(slog.DiscardHandler))
	t.Cleanup(func() {
		if err := a.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
	})
	return a
}

func expectRing(t *testing.T, a *Alarm) {
	t.Helper()
	select {
	case <-a.C():
	case <-time.After(patience):
		t.Fatal("the alarm does not ring")
	}
}

// expectSilence fails if an alarm rang. The witness is another alarm that was
// never set: if it rang too, somebody has stepped the clock of this machine.
func expectSilence(t *testing.T, a, witness *Alarm) {
	t.Helper()
	skipIfStepped(t, witness)
	select {
	case <-a.C():
		t.Fatal("the alarm rings")
	default:
	}
}

func skipIfStepped(t *testing.T, witness *Alarm) {
	t.Helper()
	select {
	case <-witness.C():
		t.Skip("somebody stepped the clock of this machine meanwhile: run the test again")
	default:
	}
}

func TestTheAlarmRingsAtTheReading(t *testing.T) {
	t.Parallel()
	a, witness := newAlarm(t), newAlarm(t)
	for _, wait := range []time.Duration{50 * time.Millisecond, 2 * time.Millisecond, 20 * time.Millisecond} {
		at := a.clock.Now().Boot + wait
		a.Set(at)
		expectRing(t, a)
		if now := a.clock.Now().Boot; now < at {
			skipIfStepped(t, witness)
			t.Errorf("it rang %v too early", at-now)
		}
	}
}

func TestAReadingInThePastRingsAtOnce(t *testing.T) {
	t.Parallel()
	a := newAlarm(t)
	for _, at := range []time.Duration{0, -time.Hour, a.clock.Now().Boot - 1, a.clock.Now().Boot} {
		a.Set(at)
		expectRing(t, a)
	}
}

func TestTheAlarmRingsOnce(t *testing.T) {
	t.Parallel()
	a, later, witness := newAlarm(t), newAlarm(t), newAlarm(t)
	a.Set(0)
	expectRing(t, a)
	later.Set(later.clock.Now().Boot + 100*time.Millisecond)
	expectRing(t, later)
	expectSilence(t, a, witness)
}

func TestRingsThatNobodyTakesAreOne(t *testing.T) {
	t.Parallel()
	a, witness := newAlarm(t), newAlarm(t)
	a.ring()
	a.ring()
	expectRing(t, a)
	expectSilence(t, a, witness)
}

func TestSetReplacesTheFormerReading(t *testing.T) {
	t.Parallel()
	t.Run("by an earlier one", func(t *testing.T) {
		a := newAlarm(t)
		now := a.clock.Now().Boot
		a.Set(now + time.Hour)
		a.Set(now + 10*time.Millisecond)
		expectRing(t, a)
	})
	t.Run("by a later one", func(t *testing.T) {
		a, later, witness := newAlarm(t), newAlarm(t), newAlarm(t)
		const soon = 500 * time.Millisecond
		now := a.clock.Now().Boot
		for set := false; !set; set = a.clock.Now().Boot < now+soon { // unless it rang before it was replaced
			a.Set(math.MaxInt64)
			select {
			case <-a.C():
			default:
			}
			now = a.clock.Now().Boot
			a.Set(now + soon)
			a.Set(now + time.Hour)
		}
		later.Set(now + soon + 50*time.Millisecond)
		expectRing(t, later)
		expectSilence(t, a, witness)
	})
	t.Run("by one that no clock can show", func(t *testing.T) {
		a := newAlarm(t)
		a.Set(math.MaxInt64)
		a.Set(a.clock.Now().Boot + 10*time.Millisecond)
		expectRing(t, a)
	})
}

func TestCloseEndsTheAlarm(t *testing.T) {
	t.Parallel()
	a := newAlarm(t)
	closed := make(chan error)
	go func() { closed <- a.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Errorf("Close: %v", err)
		}
	case <-time.After(patience):
		t.Fatal("Close does not return")
	}
	select {
	case <-a.done:
	default:
		t.Error("its goroutine still runs")
	}
	a.Set(0) // too late, and harmless
	if err := a.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a second Close gives %v", err)
	}
}

// step sets the wall clock to the time it shows. The kernel reports that as a
// step.
func step(t *testing.T) {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_REALTIME, &now); err != nil {
		t.Fatal(err)
	}
	if err := unix.ClockSettime(unix.CLOCK_REALTIME, &now); errors.Is(err, unix.EPERM) {
		t.Skip("setting the clock takes CAP_SYS_TIME: run this test as root")
	} else if err != nil {
		t.Fatal(err)
	}
}

// This test runs before the parallel ones resume, because a step rings every
// alarm there is.
func TestAStepOfTheWallClockRings(t *testing.T) {
	a := newAlarm(t)
	for _, tc := range []struct {
		name string
		set  func()
	}{
		{"before it was ever set", func() {}},
		{"long before it is due", func() { a.Set(a.clock.Now().Boot + time.Hour) }},
		{"while it is set to never", func() { a.Set(math.MaxInt64) }},
		{"and once more without being set", func() {}},
		{"and after it rang", func() { a.Set(0); expectRing(t, a) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.set()
			step(t)
			expectRing(t, a)
		})
	}
}

func TestDeadline(t *testing.T) {
	const last = math.MaxInt32
	end := time.Unix(last, 0)
	for name, tc := range map[string]struct {
		wall time.Time
		wait time.Duration
		want time.Time
	}{
		"far from the end":            {end.Add(-far - time.Hour), far, end.Add(-time.Hour)},
		"beyond the end":              {end.Add(-far + time.Hour), far, end},
		"just before the end":         {end.Add(-time.Second - 1), far, end},
		"a clock that stands past it": {end.Add(time.Hour), far, end.Add(time.Hour + far)},
		"a clock that has wrapped":    {time.Unix(math.MinInt32, 0), far, time.Unix(math.MinInt32, 0).Add(far)},
		"a clock that was never set":  {time.Unix(0, 0), time.Millisecond, time.Unix(0, 1e6)},
	} {
		if got := deadline(tc.wall, tc.wait, last); !got.Equal(tc.want) {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
	if got, want := deadline(end, far, math.MaxInt64), end.Add(far); !got.Equal(want) {
		t.Errorf("with 64 bits: %v, want %v", got, want)
	}
}
