package server

import (
	"log/slog"
	"maps"
	"math"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tvpassd/tvpassd/ipc"
)

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
	p := ipc.NewProblem(ipc.CodeTooManyRequests, "too many connections are open: close some, or keep one alive and use it again")
	p.RetryAfterMS = 1000
	return &door{
		Listener: l, identify: s.identify, admin: func(peer Peer) bool { return s.cfg.Policy().Admin(peer) },
		perUID: s.cfg.PerUID, total: s.cfg.Total, log: s.cfg.Log,
		full: lastWord(p), open: make(map[uint32]int), told: make(map[uint32]time.Time),
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
			d.log.Warn("connection closed", "code", ipc.CodeInternal, "err", err)
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
		d.log.Warn("too many connections", "code", ipc.CodeTooManyRequests, "uid", peer.UID, "pid", peer.PID, "per_user", d.perUID, "total", d.total)
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
