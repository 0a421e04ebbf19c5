package device

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// watchApart moves the test's thread into a network namespace of its own, so that
// the test neither hears nor changes this device's network, and watches it there.
func watchApart(t *testing.T, changed func()) (done chan error, cancel func()) {
	t.Helper()
	runtime.LockOSThread() // never unlocked: the thread ends with the test, and the namespace with it
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("needs the right to make a network namespace (root): %v", err)
	}
	namespace, err := os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
	if err != nil {
		t.Skip("needs /proc: ", err)
	}
	t.Cleanup(func() { namespace.Close() })
	ctx, cancel := context.WithCancel(t.Context())
	done = make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- Watch(ctx, changed)
	}()
	return done, cancel
}

func TestWatch(t *testing.T) {
	changes := make(chan struct{}, 100)
	done, cancel := watchApart(t, func() { changes <- struct{}{} })

	// The watch begins at an unknown moment: change something until it notices.
	heard := false
	for range 50 {
		flipLoopback(t)
		select {
		case <-changes:
			heard = true
		case err := <-done:
			t.Fatalf("the watch ended: %v", err)
		case <-time.After(2 * burst):
		}
		if heard {
			break
		}
	}
	if !heard {
		t.Fatal("changes are not noticed")
	}

	// A burst is one call, or two if a slow machine draws it out.
	for range 20 {
		flipLoopback(t)
	}
	<-changes
	select {
	case <-changes:
		t.Log("the burst took two calls")
	case <-time.After(2 * burst): // as long as anything is gathered, and as much again
	}
	if n := len(changes); n > 0 {
		t.Errorf("one burst of changes made %d calls", n+2)
	}

	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("after its context ended the watch returned %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the watch does not end with its context")
	}
}

// flipLoopback sets the loopback interface of the thread's namespace up and down
// again.
func flipLoopback(t *testing.T) {
	t.Helper()
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(socket)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	for _, flags := range []uint16{unix.IFF_UP, 0} {
		request.SetUint16(flags)
		if err := unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWatchEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var calls atomic.Int32
	if err := Watch(ctx, func() { calls.Add(1) }); err != nil {
		t.Error(err)
	}
	if calls.Load() != 0 {
		t.Error("it reports a change after the end")
	}
}
