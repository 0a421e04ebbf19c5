package server

import (
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tvpassd/tvpassd/ipc"
)

// openFiles returns how many files this process may have open.
func openFiles() uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return math.MaxUint64 // it can't fail
	}
	return limit.Cur // which Go has raised as far as it may
}

// totalFor returns how many connections all users together may have if so many
// files may be open. The rest is for admins, calls to the server and the state.
func totalFor(files uint64) int {
	return int(min(max(files/2, 16), 512))
}

const (
	entitled = 4   // as long as a user has fewer connections, there is room for another
	atOnce   = 256 // connections taken in before others have their turn
)

// door is a listener that knows who comes in, and keeps one user from taking
// what others need. It accepts connections without a pause, so that nobody
// waits behind a flood in the kernel's queue, and identifies the caller before
// it spends anything else on a connection. Those of a flood are served later,
// through another listener: see [late].
type door struct {
	socket   *Socket
	callers  *patient
	late     *late
	identify func(fd int) (Peer, error)
	admin    func(Peer) bool
	limits   limits
	log      *slog.Logger

	// Accept, which is not called concurrently, alone uses these.
	leaving  leaving
	accepted int

	inside  atomic.Int32   // system calls that a caller may delay
	closers sync.WaitGroup // goroutines that close what was accepted
	closing atomic.Int32   // connections that wait for these goroutines

	mu     sync.Mutex // guards what follows, and all accounts
	users  map[uint32]*account
	sweep  int                  // look for users who can be forgotten when there are so many
	others int                  // connections of all who are not admins
	bodies int64                // bytes of all bodies in memory
	told   map[notice]time.Time // what was logged, and when
	events uint64               // counts what happens to connections: a clock that orders them
}

// limits are how many connections may be open.
type limits struct {
	user  int // of one user
	admin int // of one admin
	total int // of all users who are not admins
}

// enoughFiles are enough to have most of a flood wait: see [leaving].
const enoughFiles = 1024

// newDoor returns a door in front of a socket.
func newDoor(l *Socket, callers *patient, s *Server) *door {
	files := openFiles()
	if files < enoughFiles {
		s.cfg.Log.Warn("a flood of connections delays players: let the daemon open 4096 files (ulimit -n)",
			"code", "few_files", "total", files)
	}
	d := &door{
		socket: l, callers: callers, late: newLate(), identify: s.identify,
		admin:  func(peer Peer) bool { return s.cfg.Policy().Admin(peer) },
		limits: limits{s.cfg.PerUID, max(s.cfg.PerUID, adminConns), s.cfg.Total},
		log:    s.cfg.Log, leaving: leaving{most: leavingFor(files, s.cfg.Total)},
		users: make(map[uint32]*account), told: make(map[notice]time.Time),
	}
	d.leaving.close = func(fd int) {
		d.closeInside(func() error { return unix.Close(fd) })
	}
	return d
}

// Accept waits for a caller who is known and within the limits. It closes the
// connections of all others.
func (d *door) Accept() (net.Conn, error) {
	for {
		d.letClose()
		fd, err := d.next()
		if err != nil {
			d.leaving.refuse(len(d.leaving.fds))
			return nil, err
		}
		if d.accepted++; d.accepted%atOnce == 0 {
			runtime.Gosched()
		}
		peer, err := d.identify(fd)
		if err != nil {
			if d.news(notice{what: "unknown"}, time.Now()) {
				d.log.Warn("connections are closed", "code", ipc.CodeInternal, "err", fmt.Errorf("identify the caller: %w", err))
			}
			d.leaving.close(fd)
			continue
		}
		if in := d.enter(fd, peer, time.Now()); in != nil {
			return in, nil
		}
	}
}

// enter takes a caller in, and returns the connection if it may be served now.
func (d *door) enter(fd int, peer Peer, now time.Time) net.Conn {
	d.dropDead(peer.UID, now)
	in, out, wait := d.admit(peer, now)
	if out != nil {
		d.makeRoom(out, peer, now)
	}
	if in == nil {
		d.turnAway(fd, peer, now)
		return nil
	}
	var err error
	if in.Conn, err = d.connOf(fd); err != nil {
		if d.news(notice{what: "unserved"}, now) {
			d.log.Warn("connection closed", "code", ipc.CodeInternal, "err", fmt.Errorf("take the connection in: %w", err))
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		d.remove(in)
		return nil
	}
	if sc, ok := in.Conn.(syscall.Conn); ok {
		raw, _ := sc.SyscallConn() // it can't fail
		in.readBy(raw)
	}
	if wait > 0 {
		d.late.after(wait, in)
		return nil
	}
	return in
}

// admit counts a connection in, or returns nil if it is one too many. If all
// users together have too many, a user with few gets the place of out. Admins
// are not counted there: they must get in to see what is going on.
func (d *door) admit(peer Peer, now time.Time) (in, out *conn, wait time.Duration) {
	admin := d.admin(peer)
	d.mu.Lock()
	defer d.mu.Unlock()
	u := d.account(peer.UID, now)
	limit := d.limits.user
	if admin {
		limit = d.limits.admin
	}
	if len(u.conns) >= limit {
		return nil, nil, 0
	}
	if !admin && d.others >= d.limits.total {
		if len(u.conns) >= entitled {
			return nil, nil, 0
		}
		if out = d.dispensable(); out == nil {
			return nil, nil, 0
		}
		d.remove(out)
	}
	in = &conn{peer: peer, admin: admin, door: d, account: u}
	d.events++
	in.since = d.events
	u.conns = append(u.conns, in)
	if admin {
		return in, out, 0
	}
	d.others++
	return in, out, u.arrivals.ReserveN(now, 1).DelayFrom(now)
}

// dispensable returns the connection to close when room is needed. It is one of
// the user who has most: the one that has been idle longest, else the oldest
// stream, else the oldest.
func (d *door) dispensable() *conn {
	var worst *account
	for _, u := range d.users {
		if worst == nil || u.others() > worst.others() {
			worst = u
		}
	}
	var found *conn
	for _, c := range worst.conns {
		if !c.admin && (found == nil || c.state < found.state || c.state == found.state && c.since < found.since) {
			found = c
		}
	}
	return found
}

// remove counts a connection out, once.
func (d *door) remove(c *conn) {
	if !c.account.remove(c) {
		return
	}
	if !c.admin {
		d.others--
	}
}

// makeRoom closes a connection, and names its user in the log.
func (d *door) makeRoom(out *conn, comer Peer, now time.Time) {
	d.closeLater(out.Close) // whoever is answered there is cut off
	if d.news(notice{out.peer.UID, "room"}, now) {
		d.log.Warn("a connection was closed to make room, of the user with most", "code", ipc.CodeTooManyRequests,
			"uid", out.peer.UID, "pid", out.peer.PID, "for", comer.UID, "total", d.limits.total)
	}
}

// turnAway refuses one connection too many.
func (d *door) turnAway(fd int, peer Peer, now time.Time) {
	if d.news(notice{peer.UID, "full"}, now) {
		d.log.Warn("too many connections", "code", ipc.CodeTooManyRequests, "uid", peer.UID, "pid", peer.PID,
			"per_user", d.limits.user, "total", d.limits.total)
	}
	d.leaving.add(fd)
}

// notice is something about a user that is worth a line in the log.
type notice struct {
	uid  uint32
	what string
}

// news reports whether a notice is worth another line: once a minute, and for a
// limited number of users.
func (d *door) news(n notice, now time.Time) bool {
	const most = 100
	d.mu.Lock()
	defer d.mu.Unlock()
	maps.DeleteFunc(d.told, func(_ notice, at time.Time) bool { return now.Sub(at) >= time.Minute })
	if _, told := d.told[n]; told || len(d.told) >= most {
		return false
	}
	d.told[n] = now
	return true
}

// late is a listener that returns connections that had to wait.
type late struct {
	ready chan net.Conn
	done  chan struct{}
	close func()
}

func newLate() *late {
	done := make(chan struct{})
	return &late{make(chan net.Conn), done, sync.OnceFunc(func() { close(done) })}
}

// after has Accept return c after a while, unless c is closed before.
func (l *late) after(wait time.Duration, c *conn) {
	c.delayed(wait, func() {
		select {
		case l.ready <- c:
		case <-l.done:
			_ = c.Close()
		}
	})
}

func (l *late) Accept() (net.Conn, error) {
	select {
	case c := <-l.ready:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *late) Addr() net.Addr { return nil } // nobody asks
func (d *door) Addr() net.Addr { return nil }

// Close stops listening.
func (d *door) Close() error { return d.socket.Close() }

func (l *late) Close() error {
	l.close()
	return nil
}
