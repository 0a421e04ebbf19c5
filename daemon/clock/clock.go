// Package clock reads the system clocks and provides an alarm that survives
// suspends and clock steps.
//
// It owns the one timer of the daemon, a timerfd. Whether a reading is
// plausible is the broker's decision.
package clock

import (
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Reading is one look at both clocks of the device.
type Reading struct {
	Boot time.Duration // CLOCK_BOOTTIME: since boot, suspends included; nothing steps it
	Wall time.Time     // CLOCK_REALTIME: 1970 on a device without a battery that has just been plugged in
}

// Clock is where the daemon's time comes from. Go's own monotonic clock stops
// during a suspend and is not used.
type Clock interface {
	Now() Reading
	BootID() string     // "" if it is unknown: then nothing from before this start counts as the same boot
	Synchronised() bool // reports whether the kernel says that a time service has set the wall clock
}

// System is the clock of this device.
type System struct{ bootID string }

// NewSystem reads the boot id. A device without one gets "".
func NewSystem() System {
	raw, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return System{}
	}
	return System{bootID: strings.TrimSpace(string(raw))}
}

// Now reads CLOCK_BOOTTIME and CLOCK_REALTIME.
func (System) Now() Reading {
	var boot unix.Timespec
	// It can't fail on a kernel that Go runs on: 2.6.39 has this clock.
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot)
	// time.Now needs no system call. Its monotonic reading is dropped: that clock
	// stops during a suspend.
	return Reading{Boot: time.Duration(boot.Nano()), Wall: time.Now().UTC().Round(0)}
}

// BootID is the kernel's name for this boot.
func (s System) BootID() string { return s.bootID }

// Synchronised reports whether the kernel says that a time service has set the
// clock. A service that restores the last known time at boot does not make it
// say so.
func (System) Synchronised() bool {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	return err == nil && state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0
}
