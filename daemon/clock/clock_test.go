package clock

import (
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
		t.Skipf("this machine has no boot id: %v", err)
	}
	if got := NewSystem().BootID(); got == "" || got+"\n" != string(raw) {
		t.Errorf("BootID is %q, want %q", got, strings.TrimSpace(string(raw)))
	}
}

// TestSynchronised asks the kernel in another way: the return value of
// clock_adjtime is the answer of ntp_gettime.
func TestSynchronised(t *testing.T) {
	var kernel unix.Timex
	state, err := unix.ClockAdjtime(unix.CLOCK_REALTIME, &kernel)
	if err != nil {
		t.Skipf("clock_adjtime: %v", err)
	}
	if got, want := NewSystem().Synchronised(), state != unix.TIME_ERROR; want != got {
		t.Errorf("Synchronised is %v, the kernel says %v", got, want)
	}
}
