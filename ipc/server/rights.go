package server

import (
	"io"
	"os"
	"runtime"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A caller may send descriptors along with bytes (SCM_RIGHTS). Nobody takes them
// here: the kernel closes them when the bytes are read, or when the connection is
// closed. That takes as long as the caller likes: a TCP socket with SO_LINGER
// waits for its peer. So the goroutine that accepts connections never closes
// one, no more than a few threads wait in the kernel, and none does at the end.

// refuseRights has the kernel refuse descriptors that come with bytes, for the
// connections of a listening socket. Kernels before 6.16 can't.
func refuseRights(listening int) {
	_ = unix.SetsockoptInt(listening, unix.SOL_SOCKET, unix.SO_PASSRIGHTS, 0)
}

const (
	maxInside   = 32  // system calls at once; the service may have 256 threads
	insideTries = 100 // to end one of them, a millisecond apart
)

// goInside counts a system call that reads from or closes a connection; the
// caller counts it out. If there are too many, it interrupts those that wait.
func (d *door) goInside() {
	for tries := 0; d.inside.Load() >= maxInside && tries < insideTries; tries++ {
		interrupt()
		time.Sleep(time.Millisecond)
	}
	d.inside.Add(1)
}

const (
	maxClosing = maxInside // connections that wait to be closed
	closeTurns = 16        // of other goroutines before the next caller is let in anyway
)

// closeLater closes a connection in a goroutine of the door's: see [door.letClose].
func (d *door) closeLater(shut func() error) {
	d.closing.Add(1)
	d.closers.Go(func() {
		_ = shut()
		d.closing.Add(-1)
	})
}

// closeInside closes a connection later that is not a [conn] yet.
func (d *door) closeInside(shut func() error) {
	d.closeLater(func() error {
		d.goInside()
		defer d.inside.Add(-1)
		return shut()
	})
}

// letClose gives the closing goroutines their turn while many connections wait
// for them: each holds a descriptor that the next caller may need. Callers may
// delay a close as long as they like, so the turns are limited.
func (d *door) letClose() {
	for turns := 0; d.closing.Load() >= maxClosing && turns < closeTurns; turns++ {
		runtime.Gosched()
	}
}

// hurry calls f, and interrupts what waits inside as long as f runs: f itself if
// inside is nil.
func hurry(inside *atomic.Int32, f func() error) error {
	done := make(chan struct{})
	defer close(done)
	go func() {
		for tick := time.Tick(10 * time.Millisecond); ; {
			select {
			case <-tick:
				if inside == nil || inside.Load() > 0 {
					interrupt()
				}
			case <-done:
				return
			}
		}
	}()
	return f()
}

// interrupt ends the waits of this process in the kernel, as far as a signal
// can end them. The runtime itself sends this signal to its threads.
func interrupt() {
	threads, _ := os.ReadDir("/proc/self/task") // as many as could be read
	for _, thread := range threads {
		number, _ := strconv.Atoi(thread.Name())
		_ = unix.Tgkill(os.Getpid(), number, unix.SIGURG) // it may have ended
	}
}

// readSocket is Conn.Read.
func (c *conn) readSocket(b []byte) (n int, err error) {
	if c.raw == nil {
		return c.Conn.Read(b)
	}
	r := &c.reading
	r.into = b
	err = c.raw.Read(r.once)
	r.into = nil
	switch {
	case err != nil: // the deadline has passed, or the connection was closed
		return 0, err
	case r.err != nil:
		return 0, r.err
	case r.n == 0:
		return 0, io.EOF
	}
	return r.n, nil
}

// reading is one read of a socket. It belongs to the connection, and so does its
// function: reads never overlap, and a request needs several.
type reading struct {
	once func(fd uintptr) (done bool)
	into []byte
	n    int
	err  error
}

// readBy prepares reads of a socket by a function that raw.Read takes.
func (c *conn) readBy(raw syscall.RawConn) {
	c.raw = raw
	r := &c.reading
	r.once = func(fd uintptr) bool {
		c.door.goInside()
		r.n, r.err = syscall.Read(int(fd), r.into)
		c.door.inside.Add(-1)
		return r.err != unix.EAGAIN
	}
}
