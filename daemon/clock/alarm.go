package clock

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// far is the longest that the timerfd is armed for.
	far = 7 * 24 * time.Hour
	// lookEvery is how often the alarm rings while the timerfd fails.
	lookEvery = 5 * time.Second
	// lastSecond is the last one that the kernel's timer takes: in January 2038 on
	// a 32-bit device.
	lastSecond = 1<<(8*unsafe.Sizeof(unix.Timespec{}.Sec)-1) - 1
)

// Alarm wakes its owner at a reading of the boot clock, when the wall clock is
// stepped, and when the device resumes from a suspend. A timerfd does all
// three. Go's own timers do none of them: they stand still in a suspend.
//
// An Alarm never goes silent. While the kernel refuses to set or read the
// timerfd, a timer of Go stands in for it, and rings at least every 5 s, so
// that the owner notices a step or a resume and sets the timerfd again.
type Alarm struct {
	clock   System
	log     *slog.Logger
	timer   *os.File    // the timerfd; nil if there is none
	standIn *time.Timer // rings while the timerfd fails
	c       chan struct{}
	deaf    atomic.Bool // the timerfd could not be read
	warned  sync.Once   // of a failure of the timerfd
	shut    sync.Once   // guards closing of closed
	closed  chan struct{}
	done    chan struct{} // closed when wait has returned
}

// NewAlarm makes an alarm that rings only at clock steps until it is set.
func NewAlarm(clock System, log *slog.Logger) *Alarm {
	a := &Alarm{
		clock: clock, log: log, c: make(chan struct{}, 1), closed: make(chan struct{}), done: make(chan struct{}),
	}
	a.standIn = time.AfterFunc(math.MaxInt64, a.ring)
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		a.warn(fmt.Errorf("create: %w", err))
		close(a.done)
	} else {
		a.timer = os.NewFile(uintptr(fd), "timerfd")
		go a.wait()
	}
	a.Set(math.MaxInt64)
	return a
}

// Set moves the alarm to a reading of the boot clock. A reading in the past
// rings at once, one that is more than a week ahead rings in a week. A step of
// the wall clock moves the timerfd away from that reading, but also rings, and
// the owner sets the alarm again.
func (a *Alarm) Set(at time.Duration) {
	now := a.clock.Now()
	wait := min(max(at-now.Boot, time.Millisecond), far) // zero would disarm the timer
	err := a.arm(deadline(now.Wall, wait, lastSecond))
	if errors.Is(err, unix.ECANCELED) { // the clock was stepped since the last look; the timerfd is armed all the same
		a.ring()
		err = nil
	}
	switch {
	case errors.Is(err, os.ErrClosed):
	case err != nil:
		a.warn(fmt.Errorf("set: %w", err))
		fallthrough
	case a.deaf.Load():
		a.standIn.Reset(min(wait, lookEvery))
	default:
		a.standIn.Stop()
	}
}

// deadline is what the wall clock shows after wait, or the last second while
// that is still ahead.
func deadline(wall time.Time, wait time.Duration, last int64) time.Time {
	at := wall.Add(wait)
	if at.Unix() > last && wall.Unix() < last {
		return time.Unix(last, 0)
	}
	return at
}

// arm sets the timerfd to ring when the wall clock shows a time, or is stepped.
func (a *Alarm) arm(at time.Time) error {
	if a.timer == nil {
		return errors.ErrUnsupported
	}
	value, err := unix.TimeToTimespec(at)
	if err != nil {
		return err
	}
	conn, err := a.timer.SyscallConn()
	if err != nil {
		return os.ErrClosed
	}
	if closed := conn.Control(func(fd uintptr) {
		err = unix.TimerfdSettime(int(fd), unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET,
			&unix.ItimerSpec{Value: value}, nil)
	}); closed != nil {
		return os.ErrClosed
	}
	return err
}

// C receives when the alarm rings.
func (a *Alarm) C() <-chan struct{} { return a.c }

// Close stops the alarm and waits for its goroutine.
func (a *Alarm) Close() error {
	var err error
	if a.timer != nil {
		err = a.timer.Close()
	}
	a.shut.Do(func() { close(a.closed) })
	a.standIn.Stop()
	<-a.done
	return err
}

// wait turns each expiry and each clock step into a ring.
func (a *Alarm) wait() {
	defer close(a.done)
	var count [8]byte
	for {
		_, err := a.timer.Read(count[:])
		if errors.Is(err, os.ErrClosed) {
			return
		}
		failed := err != nil && !errors.Is(err, unix.ECANCELED) // which is a step or a resume
		a.deaf.Store(failed)
		a.ring()
		if !failed {
			continue
		}
		a.warn(err)
		select {
		case <-time.After(lookEvery):
		case <-a.closed:
			return
		}
	}
}

// ring wakes the owner. If a ring waits for it already, this one is dropped.
func (a *Alarm) ring() {
	select {
	case a.c <- struct{}{}:
	default:
	}
}

// warn logs the first failure of the timerfd.
func (a *Alarm) warn(err error) {
	a.warned.Do(func() {
		a.log.Warn("the kernel's timer fails: the daemon wakes up every 5s instead", "code", "timer_fails", "err", err)
	})
}
