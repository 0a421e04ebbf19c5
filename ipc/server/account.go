package server

import (
	"maps"
	"runtime"
	"slices"
	"time"

	"golang.org/x/time/rate"
)

const (
	userConns  = 32  // connections of one user
	adminConns = 256 // connections of one admin

	arrivals = 250 // connections of one user a second that are served at once; more have to wait
	burst    = 100 // so many at once after a pause

	maxBodies    = 1 << 20 // bytes of one user's bodies in memory
	maxAllBodies = 4 << 20 // of all users'
)

// account is what one user has from the daemon. The door's mutex guards it.
type account struct {
	conns    []*conn
	busy     int // connections on which a request is answered
	bodies   int64
	arrivals *rate.Limiter
	looked   time.Time // for connections that the user has closed
}

// account returns the account of a user. Now and then it drops accounts that
// hold nothing: a user may have many ids (/etc/subuid).
func (d *door) account(uid uint32, now time.Time) *account {
	if u, ok := d.users[uid]; ok {
		return u
	}
	if len(d.users) >= d.sweep {
		maps.DeleteFunc(d.users, func(_ uint32, u *account) bool {
			return len(u.conns) == 0 && u.bodies == 0 && u.arrivals.TokensAt(now) >= burst
		})
		d.sweep = 2*len(d.users) + 64
	}
	u := &account{arrivals: rate.NewLimiter(arrivals, burst)}
	d.users[uid] = u
	return u
}

// dropDead closes those of a user's connections that the user has closed, before
// they count against the next one: a busy server may not have noticed yet, or not
// look while it answers.
func (d *door) dropDead(uid uint32, now time.Time) {
	const pause = 2 * time.Millisecond // between two looks
	d.mu.Lock()
	var conns []*conn
	if u := d.users[uid]; u != nil && len(u.conns) >= min(entitled, d.limits.user) && now.Sub(u.looked) >= pause {
		u.looked = now
		conns = slices.Clone(u.conns)
	}
	d.mu.Unlock()
	for _, c := range conns {
		if c.hungUp() {
			d.mu.Lock()
			d.remove(c) // nobody is there
			d.mu.Unlock()
			d.closeLater(c.Close)
		}
	}
}

// others returns how many connections are not an admin's.
func (u *account) others() int {
	n := 0
	for _, c := range u.conns {
		if !c.admin {
			n++
		}
	}
	return n
}

// remove takes a connection out, and reports whether it was in.
func (u *account) remove(c *conn) bool {
	i := slices.Index(u.conns, c)
	if i < 0 {
		return false
	}
	u.conns = slices.Delete(u.conns, i, i+1)
	if c.state != idle {
		u.busy--
	}
	return true
}

// state is what a connection does. Idle ones are the first to be closed if
// others need room.
type state int

const (
	idle   state = iota // no request has come yet, or none after the last
	stream              // a watch
	busy                // a request is answered
)

// become sets what a connection does from now on.
func (c *conn) become(s state) {
	if c.door == nil {
		return
	}
	c.door.mu.Lock()
	defer c.door.mu.Unlock()
	if !slices.Contains(c.account.conns, c) {
		return // it was closed to make room
	}
	if (c.state == idle) != (s == idle) {
		if s == idle {
			c.account.busy--
		} else {
			c.account.busy++
		}
	}
	if c.state = s; s == idle {
		c.door.events++
		c.since = c.door.events
	}
}

// yield lets others have their turn at the processor. A user with several busy
// connections yields for each of them: a user has one share of the processor,
// not a share for each connection.
func (c *conn) yield() {
	if c.door == nil {
		return
	}
	c.door.mu.Lock()
	turns := c.account.busy
	c.door.mu.Unlock()
	for range turns {
		runtime.Gosched()
	}
}

// hold reserves memory for a body, and reports whether the limits allow that.
// The caller frees it with letGo.
func (c *conn) hold(size int64) bool {
	c.door.mu.Lock()
	defer c.door.mu.Unlock()
	if c.account.bodies+size > maxBodies || c.door.bodies+size > maxAllBodies {
		return false
	}
	c.account.bodies += size
	c.door.bodies += size
	return true
}

func (c *conn) letGo(size int64) {
	c.door.mu.Lock()
	defer c.door.mu.Unlock()
	c.account.bodies -= size
	c.door.bodies -= size
}
