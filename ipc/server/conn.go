package server

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// writeTimeout is the longest time for one write: a caller who does not read
// must not hold a connection forever.
const writeTimeout = 10 * time.Second

// conn is a connection of a known caller, as net/http sees it. Every write has a
// deadline, net/http's own writes too.
type conn struct {
	net.Conn
	peer    Peer
	admin   bool // when it was accepted
	door    *door
	account *account
	writeBy time.Time // the deadline in force; net/http writes one thing at a time
	serving bool      // a request has reached the server: what is written is its answer

	deadline readDeadline
	raw      syscall.RawConn // of Conn; nil if it has none
	reading  reading         // for Read, too

	// The door's mutex guards these.
	state  state
	since  uint64      // when it was accepted or last became idle, in events of the door
	timer  *time.Timer // runs while the connection has to wait
	cancel func()      // ends the requests that are answered

	// What follows is for Read. Reads never overlap.
	line  []byte // the request's first line as far as it was read, at most maxLine bytes
	begun bool   // that is all of it
	whole bool   // and so was the rest of its header
	body  int64  // bytes of the request's body still to come; [untilTheEnd] if it is chunked
	held  []byte // what came together with a header, and follows it
	match int    // how much of hostName the line of the header begins with, or otherLine
	lines int    // of the header, so far
}

// maxLines is how many lines a header may have. net/http makes much more of
// each than it has bytes.
const maxLines = 128

var errTooManyLines = errors.New("the header has too many lines")

const (
	hostName    = "host:"
	otherLine   = -1
	untilTheEnd = -1
	maxLine     = 128 // a path of the gateway begins before
)

// Read replaces each byte of the header Host by an x. Some clients send a path
// there, such as that of the socket, and net/http refuses what is not a host
// name; nobody here asks for the value. Bodies pass untouched: a Read that
// returns the end of a header returns nothing of what follows it, so that the
// server has called [conn.expect] before the body is read.
//
// While a request is answered net/http reads a byte, to learn that its caller
// has left. Such a Read leaves the next request where it is: net/http would
// look no further.
func (c *conn) Read(b []byte) (int, error) {
	if len(b) == 1 && c.whole && c.body == 0 && c.raw != nil {
		return c.read(nil, true)
	}
	room := b
	if c.body > 0 {
		room = b[:min(c.body, int64(len(b)))]
	}
	held := c.held
	n := copy(room, held)
	if n == 0 {
		var err error
		if n, err = c.read(room, len(b) == 1); err != nil {
			return n, err
		}
	}
	switch {
	case c.body > 0:
		c.body -= int64(n)
	case c.body == 0:
		if !c.begun {
			var line []byte
			line, _, c.begun = bytes.Cut(b[:n], []byte("\n"))
			c.line = append(c.line, line[:min(len(line), maxLine-len(c.line))]...)
		}
		end := c.hideHost(b[:n])
		if c.lines > maxLines {
			return 0, errTooManyLines
		}
		if end < n {
			if len(held) == 0 {
				held = bytes.Clone(b[:n])
			}
			n = end
		}
	}
	if c.held = held[min(n, len(held)):]; len(c.held) == 0 {
		c.held = nil
	}
	return n, nil
}

// expect notes that the header just read belongs to a request that the server
// answers. The request has a body of size bytes, or a chunked one if size is
// negative.
func (c *conn) expect(size int64) {
	c.serving = true
	if size != 0 {
		c.body = max(size, untilTheEnd)
	}
}

// answered notes that a request has been answered and its body read. Bytes that
// come together with the end of a chunked body pass Read as a part of that
// body. So a client that pipelines a request behind a chunked body must send a
// proper Host in it.
func (c *conn) answered() {
	c.yield()
	c.become(idle)
	c.serving, c.begun, c.whole, c.line = false, false, false, c.line[:0]
	c.body, c.match, c.lines = 0, otherLine, 0 // a request begins with a line that is not Host
}

// hideHost rewrites what is a header, and returns where it ends.
func (c *conn) hideHost(b []byte) int {
	for i := 0; i < len(b); i++ {
		switch char := b[i]; {
		case char == '\n' && c.match == 0:
			c.whole = true
			return i + 1
		case char == '\n':
			c.match = 0
			c.lines++
		case char == '\r':
		case c.match == otherLine:
			end := bytes.IndexByte(b[i:], '\n')
			if end < 0 {
				return len(b)
			}
			i += end - 1
		case c.match == len(hostName):
			b[i] = 'x'
		case char == hostName[c.match], char >= 'A' && char|0x20 == hostName[c.match]: // lower or upper case
			c.match++
		default:
			c.match = otherLine
		}
	}
	return len(b)
}

// gone waits until the caller leaves, and then returns io.EOF. One who has shut
// its writing side (shutdown(SHUT_WR), as `nc -N` does) is still there.
func (c *conn) gone() error {
	if c.raw == nil {
		return io.EOF
	}
	err := c.raw.Read(func(fd uintptr) bool {
		gone, err := ended(fd)
		return gone || err != nil && err != unix.EINTR
	})
	return cmp.Or(err, io.EOF)
}

// hungUp reports whether the caller has closed the connection.
func (c *conn) hungUp() (is bool) {
	if c.raw == nil {
		return false
	}
	err := c.raw.Control(func(fd uintptr) { is, _ = ended(fd) })
	return err == nil && is
}

// ended reports whether the other end of a socket is closed.
func ended(fd uintptr) (bool, error) {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd)}}, 0)
	return n > 0, err
}

// Write sends an answer, and a problem in place of what net/http itself answers
// to a request that it refuses.
func (c *conn) Write(b []byte) (int, error) {
	if !c.serving {
		c.serving = true // an answer in several pieces is replaced as one
		if c.lines > maxLines {
			b = []byte("HTTP/1.1 431 ") // net/http takes the error of Read for a bad request
		}
		_, err := c.write(refusal(b, bytes.Contains(c.line, []byte("/"+gatewayName))))
		return len(b), err
	}
	return c.write(b)
}

// write may take at least half of writeTimeout and at most all of it: setting
// the deadline each time would cost a tenth of a request.
func (c *conn) write(b []byte) (int, error) {
	if now := time.Now(); c.writeBy.Sub(now) < writeTimeout/2 {
		c.writeBy = now.Add(writeTimeout)
		if err := c.Conn.SetWriteDeadline(c.writeBy); err != nil {
			return 0, err
		}
	}
	return c.Conn.Write(b)
}

// SetWriteDeadline does nothing: after each request net/http would remove the
// deadline that Write needs.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

// CloseWrite lets net/http send its last words to a caller whose request it has
// not read whole: a bare close would discard them.
func (c *conn) CloseWrite() error {
	if u, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return u.CloseWrite()
	}
	return nil
}

// delayed calls f after a while, unless the connection is closed before.
func (c *conn) delayed(wait time.Duration, f func()) {
	c.door.mu.Lock()
	defer c.door.mu.Unlock()
	c.timer = time.AfterFunc(wait, f)
}

// until returns a context that ends with the connection. net/http's own ends when
// the caller has left, but not while there is more to read than the request.
func (c *conn) until(ctx context.Context) context.Context {
	if c.door == nil {
		return ctx
	}
	ctx, cancel := context.WithCancel(ctx)
	c.door.mu.Lock()
	defer c.door.mu.Unlock()
	c.cancel = cancel
	return ctx
}

// Close may be called several times.
func (c *conn) Close() error {
	if c.door != nil {
		c.door.mu.Lock()
		c.door.remove(c)
		if c.timer != nil {
			c.timer.Stop()
		}
		if c.cancel != nil {
			c.cancel()
		}
		c.door.mu.Unlock()
	}
	if c.raw != nil {
		c.door.goInside()
		defer c.door.inside.Add(-1)
	}
	return c.Conn.Close()
}
