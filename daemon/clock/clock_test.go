package clock

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func kernelBoot(t *testing.T) time.Duration {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		t.Fatal(err)
	}
	return time.Duration(now.Nano())
}

func TestNowIsTheKernels(t *testing.T) {
	clock := NewSystem()
	bootBefore, wallBefore := kernelBoot(t), time.Now()
	now := clock.Now()
	bootAfter, wallAfter := kernelBoot(t), time.Now()
	if now.Boot < bootBefore || now.Boot > bootAfter {
		t.Errorf("Boot is %v, want one of %v to %v", now.Boot, bootBefore, bootAfter)
	}
	const slack = time.Second // a time service may be at work
	if now.Wall.Before(wallBefore.Add(-slack)) || now.Wall.After(wallAfter.Add(slack)) {
		t.Errorf("Wall is %v, want one of %v to %v", now.Wall, wallBefore, wallAfter)
	}
	if now.Wall.Location() != time.UTC || now.Wall != now.Wall.Round(0) {
		t.Errorf("Wall is %v, want UTC, and no reading of Go's monotonic clock", now.Wall)
	}
}

func TestBootNeverGoesBack(t *testing.T) {
	clock := NewSystem()
	last := clock.Now()
	for range 10_000 {
		now := clock.Now()
		if now.Boot < last.Boot {
			t.Fatalf("%v came after %v", now.Boot, last.Boot)
		}
		last = now
	}
}

func TestBootIDIsTheKernels(t *testing.T) {
	raw, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Skipf("no boot id on this machine: %v", err)
	}
	if got := NewSystem().BootID(); got == "" || got+"\n" != string(raw) {
		t.Errorf("BootID is %q, want %q", got, strings.TrimSpace(string(raw)))
	}
}

// TestSynchronised asks the kernel in its other way: ntp_gettime's answer is adjtimex's return value.
func TestSynchronised(t *testing.T) {
	var kernel unix.Timex
	state, err := unix.ClockAdjtime(unix.CLOCK_REALTIME, &kernel)
	if err != nil {
		t.Skipf("the kernel does not tell: %v", err)
	}
	if got, want := NewSystem().Synchronised(), state != unix.TIME_ERROR; want != got {
		t.Errorf("Synchronised is %v, the kernel says %v", got, want)
	}
}

// patience is how long a ring may take on a machine that has much else to do.
const patience = 20 * time.Second

func newAlarm(t *testing.T) *Alarm {
	t.Helper()
	a, err := NewAlarm(NewSystem())
	if err != nil {
		t.Fatal(err)
	}
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

// expectSilence looks whether an alarm rang. Another alarm, which was never set, is the witness that nobody stepped the
// clock of this machine meanwhile.
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
		t.Skip("someone stepped the clock of this machine meanwhile")
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

func TestWhatIsPastRingsAtOnce(t *testing.T) {
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

func TestRingsThatNobodyTookAreOne(t *testing.T) {
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
		now := a.clock.Now().Boot
		const soon = 500 * time.Millisecond // long enough that the next lines come first
		a.Set(now + soon)
		a.Set(now + time.Hour)
		later.Set(now + soon + 50*time.Millisecond)
		expectRing(t, later)
		expectSilence(t, a, witness)
	})
	t.Run("by one that is too far to be written down", func(t *testing.T) {
		a := newAlarm(t)
		a.Set(1<<63 - 1)
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
		t.Error("its goroutine lives on")
	}
	a.Set(0) // late, and harmless
	if err := a.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a second Close gives %v", err)
	}
}

// step sets the wall clock to what it shows: a step by nothing, of which the kernel tells as of any other.
func step(t *testing.T) {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_REALTIME, &now); err != nil {
		t.Fatal(err)
	}
	if err := unix.ClockSettime(unix.CLOCK_REALTIME, &now); errors.Is(err, unix.EPERM) {
		t.Skip("only who may set the clock (CAP_SYS_TIME) can test that a step rings")
	} else if err != nil {
		t.Fatal(err)
	}
}

// It runs before the parallel tests resume: a step rings every alarm there is.
func TestAStepOfTheWallClockRings(t *testing.T) {
	a := newAlarm(t)
	for _, tc := range []struct {
		name string
		set  func()
	}{
		{"before it was ever set", func() {}},
		{"long before it is due", func() { a.Set(a.clock.Now().Boot + time.Hour) }},
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
