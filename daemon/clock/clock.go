// Package clock reads the system clocks and provides an alarm that survives
// suspends and clock steps.
//
// It owns the one timer of the daemon, a timerfd. Whether a reading is plausible
// is the broker's decision.
package clock

import (
	"errors"
	"fmt"
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

// NewSystem reads the boot id. A machine that has none gets "", so that nothing is ever taken to be of the same boot.
func NewSystem() System {
	raw, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return System{}
	}
	return System{bootID: strings.TrimSpace(string(raw))}
}

// Now reads CLOCK_BOOTTIME and CLOCK_REALTIME.
func (System) Now() Reading {
	var boot, wall unix.Timespec
	// Neither clock can fail on a kernel that Go runs on: 2.6.39 has both.
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot)
	_ = unix.ClockGettime(unix.CLOCK_REALTIME, &wall)
	return Reading{Boot: time.Duration(boot.Nano()), Wall: time.Unix(wall.Unix()).UTC()}
}

// BootID is the kernel's name for this boot.
func (s System) BootID() string { return s.bootID }

// Synchronised tells whether the kernel says that a time service has set the clock. A service that restores the last
// known time at boot does not make it say so.
func (System) Synchronised() bool {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	return err == nil && state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0
}

// Alarm wakes its owner at a reading of the boot clock, when the wall clock is stepped, and when the box resumes from a
// suspend. Go's own timers do none of these: they stand still in a suspend.
type Alarm struct {
	clock System
	timer *os.File
	c     chan struct{}
	done  chan struct{}
}

// NewAlarm makes an alarm that rings at nothing but clock steps until it is set.
func NewAlarm(clock System) (*Alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make the timer: %w", err)
	}
	a := &Alarm{clock: clock, timer: os.NewFile(uintptr(fd), "timerfd"), c: make(chan struct{}, 1), done: make(chan struct{})}
	a.Set(far)
	go a.wait()
	return a, nil
}

// far is the longest the timer is armed for: short enough that a 32-bit kernel can still write the date down.
const far = 7 * 24 * time.Hour

// Set moves the alarm to a reading of the boot clock; one that is past rings at once, one beyond a week in a week. A step of
// the wall clock moves the timer away from that reading, but also rings it, and its owner sets it anew. A step that comes
// while Set is at work is not missed either: the kernel then says ECANCELED.
func (a *Alarm) Set(at time.Duration) {
	now := a.clock.Now()
	wait := min(max(at-now.Boot, time.Millisecond), far) // zero would disarm the timer
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(now.Wall.Add(wait).UnixNano())}
	conn, err := a.timer.SyscallConn()
	if err != nil {
		return // closed
	}
	var setErr error
	err = conn.Control(func(fd uintptr) {
		setErr = unix.TimerfdSettime(int(fd), unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &spec, nil)
	})
	if err == nil && errors.Is(setErr, unix.ECANCELED) { // stepped since the last look; the timer is armed all the same
		a.ring()
	}
}

// C receives when the alarm rings.
func (a *Alarm) C() <-chan struct{} { return a.c }

// Close stops the alarm and waits for its goroutine.
func (a *Alarm) Close() error {
	err := a.timer.Close()
	<-a.done
	return err
}

// wait turns each expiry, and each clock step, into a ring.
func (a *Alarm) wait() {
	defer close(a.done)
	var count [8]byte
	for {
		_, err := a.timer.Read(count[:])
		if errors.Is(err, os.ErrClosed) {
			return
		}
		// ECANCELED is a step or a resume; any other error rings too, and the owner looks what is due.
		a.ring()
		if err != nil && !errors.Is(err, unix.ECANCELED) {
			return
		}
	}
}

func (a *Alarm) ring() {
	select {
	case a.c <- struct{}{}:
	default: // it rings already
	}
}
