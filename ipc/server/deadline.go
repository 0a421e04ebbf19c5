package server

import (
	"errors"
	"io"
	"os"
	"sync"
	"time"
)

// readDeadline is the deadline of a connection's reads. net/http sets it six
// times for each request, mostly while no read is under way, and setting it
// costs as much as looking up a token. Here the poller gets a deadline only
// while a read is under way, and a later one only once the one in force has
// passed.
type readDeadline struct {
	mu      sync.Mutex // guards what follows
	wanted  time.Time  // as net/http has set it
	inForce time.Time  // not later than wanted while a read is under way
	passed  bool       // inForce has ended a read
	reading bool
}

// SetReadDeadline sets when a read fails, also one that is under way.
func (c *conn) SetReadDeadline(t time.Time) error {
	d := &c.deadline
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wanted = t
	if d.reading && sooner(t, d.inForce) {
		return c.enforce()
	}
	return nil
}

// enforce puts the deadline that is wanted in force.
func (c *conn) enforce() error {
	d := &c.deadline
	d.inForce, d.passed = d.wanted, false
	return c.Conn.SetReadDeadline(d.wanted)
}

// sooner reports whether a deadline is before another one. The zero one never
// comes.
func sooner(a, b time.Time) bool { return !a.IsZero() && (b.IsZero() || a.Before(b)) }

// read reads until the wanted deadline. watching says that the caller waits for
// nothing but the end of the connection; b may be empty then.
func (c *conn) read(b []byte, watching bool) (int, error) {
	for {
		if err := c.begin(); err != nil {
			return 0, err
		}
		n, err := 0, io.EOF
		if len(b) > 0 {
			n, err = c.readSocket(b)
		}
		if err == io.EOF && watching {
			err = c.gone()
		}
		if !c.end(err) {
			return n, err
		}
	}
}

// begin prepares a read.
func (c *conn) begin() error {
	d := &c.deadline
	d.mu.Lock()
	defer d.mu.Unlock()
	d.reading = true
	if d.passed || sooner(d.wanted, d.inForce) {
		return c.enforce()
	}
	return nil
}

// end takes note of the outcome of a read, and reports whether to read again: the
// deadline that was in force has passed, but a later one is wanted.
func (c *conn) end(err error) (again bool) {
	d := &c.deadline
	d.mu.Lock()
	defer d.mu.Unlock()
	d.reading = false
	if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	d.passed = true
	return !d.wanted.Equal(d.inForce)
}
