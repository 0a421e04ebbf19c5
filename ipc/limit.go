package ipc

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A writeTimeout is what one write may take: a caller who doesn't read must not hold a connection for ever.
const writeTimeout = 10 * time.Second

// openFiles is how many files this process may have open.
func openFiles() uint64 {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return math.MaxUint64 // it can't fail
	}
	return limit.Cur // which Go has raised as far as it may
}

// totalFor is how many connections all users may have, where so many files may be open: what admins, calls to the server and
// the state need is left to them.
func totalFor(files uint64) int {
	return int(min(max(files-min(files/4, 300), 16), 1024))
}

// door is a listener that knows who comes in, and keeps one user's connections from using up what others need.
type door struct {
	net.Listener
	identify      func(net.Conn) (Peer, error)
	admin         func(Peer) bool
	perUID, total int
	log           *slog.Logger
	full          []byte // the answer to a connection too many

	mu     sync.Mutex           // guards what follows
	open   map[uint32]int       // connections by user
	others int                  // connections of all who are no admins
	told   map[uint32]time.Time // when a user's turning away was logged
}

// newDoor puts a door before l.
func newDoor(l net.Listener, s *Server) *door {
	p := NewProblem(CodeTooManyRequests, "too many connections are open: close some, or keep one alive and use it again")
	p.RetryAfterMS = 1000
	body, _ := json.Marshal(p) // it holds nothing that could fail
	return &door{
		Listener: l, identify: s.identify, admin: func(peer Peer) bool { return s.cfg.Backend.Policy().Admin(peer) },
		perUID: s.cfg.PerUID, total: s.cfg.Total, log: s.cfg.Log,
		full: fmt.Appendf(nil, "HTTP/1.1 429 Too Many Requests\r\nCache-Control: no-store\r\nConnection: close\r\n"+
			"Content-Type: %s\r\nContent-Length: %d\r\nRetry-After: 1\r\n\r\n%s\n", problemType[0], len(body)+1, body),
		open: make(map[uint32]int), told: make(map[uint32]time.Time),
	}
}

// Accept waits for a caller who is known and within the limits; any other's connection is closed.
func (d *door) Accept() (net.Conn, error) {
	for {
		c, err := d.Listener.Accept()
		if err != nil {
			return nil, err
		}
		peer, err := d.identify(c)
		if err != nil {
			d.log.Warn("connection closed", "code", CodeInternal, "err", err)
			_ = c.Close() // nothing was written that could be lost
			continue
		}
		if release := d.admit(peer); release != nil {
			return &conn{Conn: c, peer: peer, release: sync.OnceFunc(release)}, nil
		}
		d.turnAway(c, peer)
	}
}

// admit counts a connection in and returns what counts it out, or nil if it is one too many. The total doesn't hold admins:
// they must get in to see what is going on.
func (d *door) admit(peer Peer) (release func()) {
	other := 1
	if d.admin(peer) {
		other = 0
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open[peer.UID] >= d.perUID || other > 0 && d.others >= d.total {
		return nil
	}
	d.open[peer.UID]++
	d.others += other
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.others -= other
		if d.open[peer.UID]--; d.open[peer.UID] == 0 {
			delete(d.open, peer.UID)
		}
	}
}

// turnAway closes a connection too many. The answer is a courtesy that fits the socket's buffer: nobody waits for it.
func (d *door) turnAway(c net.Conn, peer Peer) {
	if d.news(peer.UID, time.Now()) {
		d.log.Warn("too many connections", "code", CodeTooManyRequests, "uid", peer.UID, "pid", peer.PID, "per_user", d.perUID, "total", d.total)
	}
	_ = c.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = c.Write(d.full)
	_ = c.Close()
}

// news tells whether a user's turning away is worth another line in the log: once a minute.
func (d *door) news(uid uint32, now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	maps.DeleteFunc(d.told, func(_ uint32, at time.Time) bool { return now.Sub(at) >= time.Minute })
	if _, told := d.told[uid]; told {
		return false
	}
	d.told[uid] = now
	return true
}

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
