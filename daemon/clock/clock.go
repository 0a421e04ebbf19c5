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
type System struct {
	bootID  string
	started time.Time // stands in for the boot clock, if there is none
}

// NewSystem reads the boot id. A device without one gets "", and so does one
// whose kernel or sandbox has no CLOCK_BOOTTIME: its boot clock then begins at
// this start, and stops in a suspend.
func NewSystem() System {
	var boot unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot) != nil {
		return System{started: time.Now()}
	}
	raw, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return System{}
	}
	return System{bootID: strings.TrimSpace(string(raw))}
}

// Now reads CLOCK_BOOTTIME and CLOCK_REALTIME.
func (s System) Now() Reading {
	// time.Now needs no system call. Its monotonic reading is dropped: that clock
	// stops during a suspend.
	now := time.Now()
	r := Reading{Wall: now.UTC().Round(0)}
	var boot unix.Timespec
	if s.started.IsZero() {
		_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot) // NewSystem has seen it work
		r.Boot = time.Duration(boot.Nano())
	} else {
		r.Boot = now.Sub(s.started)
	}
	return r
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
