package server

import (
	"math"
	"testing"

	"golang.org/x/sys/unix"
)

// Connections too many are answered in their order, at the latest when there are
// too many of them.
func TestLeaving(t *testing.T) {
	l := leaving{most: 2, word: []byte("no"), close: func(fd int) { _ = unix.Close(fd) }}
	var callers []int
	answered := func() (n int) {
		for _, fd := range callers {
			b := make([]byte, 3)
			if got, err := unix.Read(fd, b); err == nil && string(b[:got]) == "no" {
				n++
			}
		}
		return n
	}
	for range 5 {
		ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(ends[1]) })
		callers = append(callers, ends[1])
		l.add(ends[0])
	}
	if n := answered(); n != 3 || len(l.fds) != 2 {
		t.Errorf("%d are answered, %d wait", n, len(l.fds))
	}
	l.refuse(fewLeave)
	if n := answered(); n != 2 || len(l.fds) != 0 {
		t.Errorf("%d are answered in the end, %d wait", n, len(l.fds))
	}
	for files, want := range map[uint64]int{0: 0, 256: 16, 512: 64, 1024: 160, 4096: 1024, math.MaxUint64: maxLeaving} {
		if got := leavingFor(files, totalFor(files)); got != want {
			t.Errorf("%d files: %d may wait, want %d", files, got, want)
		}
	}
}
