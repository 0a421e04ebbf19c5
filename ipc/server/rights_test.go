package server

import (
	"errors"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// flooded is a door that lets nobody in, and a flood of callers in front of it.
// It returns the most connections that waited to be closed when the next caller
// was accepted, and how many callers were.
func flooded(t *testing.T, callers int, prepare func(*door)) (most, accepted int) {
	d := newDoor(nil, nil, New(Config{Log: discard(), Policy: func() *Policy { return new(Policy) }}))
	d.limits, d.leaving.most = limits{}, 0
	d.identify = func(int) (Peer, error) { return person(stranger), nil }
	d.callers = &patient{log: discard(), accept: func() (int, error) {
		if most = max(most, int(d.closing.Load())); accepted == callers {
			return -1, os.ErrClosed
		}
		accepted++
		ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Error(err)
			return -1, os.ErrClosed
		}
		_ = unix.Close(ends[1])
		return ends[0], nil
	}}
	prepare(d)
	if c, err := d.Accept(); c != nil || !errors.Is(err, os.ErrClosed) {
		t.Errorf("%v, %v", c, err)
	}
	return most, accepted
}

// A flood does not pile up connections that wait to be closed, even if there is
// one processor: each holds a descriptor.
func TestAFloodIsClosedAsItComes(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	const callers = 1000
	most, accepted := flooded(t, callers, func(d *door) { t.Cleanup(d.closers.Wait) })
	if most > maxClosing || accepted != callers {
		t.Errorf("%d were accepted, %d waited to be closed", accepted, most)
	}
}

// Connections that can't be closed for long keep nobody out.
func TestALongCloseKeepsNobodyOut(t *testing.T) {
	const callers = 100
	end := make(chan struct{})
	most, accepted := flooded(t, callers, func(d *door) {
		for range maxClosing {
			d.closeLater(func() error { <-end; return nil })
		}
		t.Cleanup(func() {
			close(end)
			d.closers.Wait()
		})
	})
	if most < maxClosing || accepted != callers {
		t.Errorf("%d were accepted, %d waited to be closed", accepted, most)
	}
}

// The goroutine that accepts connections closes none, not even one whose caller is
// unknown, or one that can't be served.
func TestFailuresAreClosedLater(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for name, identify := range map[string]func(int) (Peer, error){
		"unknown": func(int) (Peer, error) { return Peer{}, unix.EINVAL },
		"unserved": func(fd int) (Peer, error) {
			null, err := os.Open(os.DevNull) // net.FileConn fails for it
			if err == nil {
				err = errors.Join(unix.Dup3(int(null.Fd()), fd, unix.O_CLOEXEC), null.Close())
			}
			return person(stranger), err
		},
	} {
		const callers = 100
		var log safeBuffer
		most, accepted := flooded(t, callers, func(d *door) {
			d.limits, d.identify = limits{1, 1, 1}, identify
			d.log = slog.New(slog.NewTextHandler(&log, nil))
			t.Cleanup(d.closers.Wait)
		})
		if most == 0 || accepted != callers {
			t.Errorf("%s: %d were accepted, %d waited to be closed", name, accepted, most)
		}
		if want := map[string]string{"unknown": "identify", "unserved": "take the connection in"}[name]; !strings.Contains(
			log.String(), want) {
			t.Errorf("%s: the log: %s", name, &log)
		}
	}
}
