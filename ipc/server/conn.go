package server

import (
	"cmp"
	"io"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A writeTimeout is what one write may take: a caller who doesn't read must not hold a connection for ever.
const writeTimeout = 10 * time.Second

// conn is a connection of a known caller. Every write has a deadline, those of net/http's own too.
type conn struct {
	net.Conn
	peer    Peer
	release func()
	inLine  int       // how much of hostName the line under way has begun with; otherLine where it is another
	writeBy time.Time // the deadline as it is set; net/http writes one thing at a time
}

const (
	hostName  = "host:"
	otherLine = -1
)

// Read has net/http take any Host. It refuses what is no name, such as the path of the socket that some clients send, and
// nobody here asks what it was: so each byte of it becomes an x. What comes in is looked at line by line, wherever reads
// cut it and whether it is a header or a body: no JSON has a line that begins with Host.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err == io.EOF && len(b) == 1 {
		err = c.gone()
	}
	for i, char := range b[:n] {
		switch {
		case char == '\n':
			c.inLine = 0
		case c.inLine == otherLine || char == '\r':
		case c.inLine == len(hostName):
			b[i] = 'x'
		case char|0x20 == hostName[c.inLine]: // in capitals or not
			c.inLine++
		default:
			c.inLine = otherLine
		}
	}
	return n, err
}

// gone waits until the caller has left, where nothing more comes from it, and then says io.EOF. While a request is answered
// net/http looks, a byte at a time, for its caller's leaving, and would take for that what is none: some say that they have
// said all (shutdown), as `nc -N` does, and wait for the answer.
func (c *conn) gone() error {
	sc, ok := c.Conn.(syscall.Conn)
	if !ok {
		return io.EOF
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return err
	}
	err = raw.Read(func(fd uintptr) bool {
		ends := []unix.PollFd{{Fd: int32(fd)}}
		n, err := unix.Poll(ends, 0)
		return n > 0 || err != nil && err != unix.EINTR
	})
	return cmp.Or(err, io.EOF)
}

// Write has between a half and the whole of writeTimeout: to set the deadline anew each time would cost a tenth of a request.
func (c *conn) Write(b []byte) (int, error) {
	if now := time.Now(); c.writeBy.Sub(now) < writeTimeout/2 {
		c.writeBy = now.Add(writeTimeout)
		if err := c.Conn.SetWriteDeadline(c.writeBy); err != nil {
			return 0, err
		}
	}
	return c.Conn.Write(b)
}

// SetWriteDeadline does nothing: net/http would take back after each request what Write needs.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

// CloseWrite lets net/http say its last words to a caller whose request it hasn't read whole: a bare close would cut them.
func (c *conn) CloseWrite() error {
	if u, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return u.CloseWrite()
	}
	return nil
}

func (c *conn) Close() error {
	defer c.release()
	return c.Conn.Close()
}
