package dcr

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// nextAddress is how long a connection may take before the next address is
	// tried beside it (RFC 8305).
	nextAddress = 300 * time.Millisecond
	// lastGoodFor is how long an address may be used without a look-up that
	// confirms it.
	lastGoodFor = 24 * time.Hour
)

// Dialer makes connections to a server, or to the proxy in front of it. Each
// connection begins with a look-up: answers of name servers are not kept, since
// the server's addresses change (Adobe asks for at most 30 s). Its methods may
// be called from any goroutine.
type Dialer struct {
	// Server is the host and port of the https server, which is treated with
	// care: no connection is made to what a DNS blocker gives as its address,
	// and when all look-ups fail, the address that was good last is used. "" is
	// none.
	Server  string
	Timeout time.Duration    // of connecting; the look-up has a time of its own
	Now     func() time.Time // for the age of the last good address

	mu     sync.Mutex
	latest *lookup // nil before the first
	good   netip.Addr
	goodAt time.Time
}

// DialContext connects to an address, as [net.Dialer.DialContext] does.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	addrs, err := d.lookUp(ctx, host, address == d.Server)
	if err != nil {
		return nil, err
	}
	return d.connect(ctx, network, addrs, port)
}

// Faults returns what the name servers did wrong in the latest look-up, for
// people. A look-up may have succeeded all the same, or be under way.
func (d *Dialer) Faults() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.latest == nil {
		return nil
	}
	faults, _ := d.latest.known()
	return faults
}

// Confirm notes the address of a server that has just proved by its certificate
// who it is.
func (d *Dialer) Confirm(addr netip.Addr) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.good, d.goodAt = addr.Unmap(), d.Now()
}

// Inherit takes over the address that was good last, from a client for the same
// server that this one replaces.
func (c *Client) Inherit(old *Client) {
	c.dialer.inherit(old.dialer)
}

func (d *Dialer) inherit(old *Dialer) {
	old.mu.Lock()
	defer old.mu.Unlock()
	if old.Server == d.Server {
		d.good, d.goodAt = old.good, old.goodAt // nobody uses d yet
	}
}

// lastGood returns the address that was good last, unless that is too long ago.
func (d *Dialer) lastGood() (netip.Addr, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	age := d.Now().Sub(d.goodAt)
	return d.good, d.good.IsValid() && age >= 0 && age <= lastGoodFor
}

// LookupError means that a name has no address.
type LookupError struct {
	Host   string
	Reason string // for people: what the name servers did
	err    error
}

func (e *LookupError) Error() string { return fmt.Sprintf("look up %s: %s", e.Host, e.Reason) }

func (e *LookupError) Unwrap() error { return e.err }

// BlockedError means that the address of a public name leads to this device:
// DNS blockers answer so.
type BlockedError struct {
	Host string
	Addr netip.Addr
	File bool // it comes from /etc/hosts
}

func (e *BlockedError) Error() string {
	if e.File {
		return fmt.Sprintf("/etc/hosts blocks %s (%s)", e.Host, e.Addr)
	}
	return fmt.Sprintf("a DNS blocker answers %s for %s", e.Addr, e.Host)
}

// Advice says what to do about it.
func (e *BlockedError) Advice() string {
	if e.File {
		return "remove the line from /etc/hosts"
	}
	return "allow " + e.Host + " in the DNS blocker (Pi-hole, AdGuard, the router's filter or the DNS provider's)"
}

// lookUp returns the addresses to connect to.
func (d *Dialer) lookUp(ctx context.Context, host string, server bool) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr}, nil
	}
	l := newLookup()
	d.mu.Lock()
	d.latest = l
	d.mu.Unlock()
	addrs, err := l.addresses(ctx, host)
	if err != nil {
		if good, ok := d.lastGood(); ok && server && ctx.Err() == nil {
			return []netip.Addr{good}, nil
		}
		return nil, &LookupError{Host: host, Reason: l.reason(err), err: err}
	}
	if server && !strings.HasSuffix(host, "localhost") {
		_, asked := l.known()
		return unblocked(d.Server, addrs, asked)
	}
	return addrs, nil
}

// reason words why a look-up failed.
func (l *lookup) reason(err error) string {
	const most = 3 // name servers in resolv.conf
	faults, asked := l.known()
	dns, isDNS := errors.AsType[*net.DNSError](err)
	switch {
	case notFound(err) && l.exists:
		return "the name has no address"
	case notFound(err) && asked:
		return "there is no such name"
	case notFound(err):
		return "no name server was asked, and it is not in /etc/hosts"
	case slices.Equal(unreached(faults), []string{"127.0.0.1", "::1"}): // the resolver's default
		return "/etc/resolv.conf names no name server but this device, which does not answer DNS"
	case len(faults) > 0:
		return strings.Join(faults[:min(len(faults), most)], ", ")
	case isDNS && dns.IsTimeout:
		return "no answer within " + lookupTime.String()
	}
	return err.Error()
}

// unreached returns the name servers that can't be reached, if that is all that
// is wrong.
func unreached(faults []string) (servers []string) {
	for _, fault := range faults {
		server, what, _ := strings.Cut(fault, " ")
		if !strings.HasPrefix(what, unreachable) {
			return nil
		}
		servers = append(servers, server)
	}
	return servers
}

// unblocked leaves out the addresses with which a DNS blocker keeps this device
// from a server. A name that the hosts file leads to this device is a lab if
// the endpoint has a port of its own.
func unblocked(server string, addrs []netip.Addr, asked bool) ([]netip.Addr, error) {
	host, port, _ := net.SplitHostPort(server) // DialContext has split it before
	var rest []netip.Addr
	for _, addr := range addrs {
		if !addr.IsUnspecified() && (!addr.IsLoopback() || !asked && port != "443") {
			rest = append(rest, addr)
		}
	}
	if len(rest) == 0 {
		return nil, &BlockedError{Host: host, Addr: addrs[0], File: !asked}
	}
	return rest, nil
}

// connect connects to the first of several addresses that takes a connection.
// While one stays silent the next is tried.
func (d *Dialer) connect(ctx context.Context, network string, addrs []netip.Addr, port string) (net.Conn, error) {
	type outcome struct {
		conn net.Conn
		err  error
	}
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	outcomes := make(chan outcome)
	running := 0
	defer func() {
		cancel()
		for ; running > 0; running-- {
			if late := <-outcomes; late.conn != nil {
				_ = late.conn.Close() // it lost the race
			}
		}
	}()
	next := time.NewTimer(0)
	defer next.Stop()
	var first error
	for len(addrs) > 0 || running > 0 {
		select {
		case <-next.C:
			if len(addrs) == 0 {
				continue
			}
			address := net.JoinHostPort(addrs[0].String(), port)
			addrs = addrs[1:]
			running++
			go func() {
				conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
				outcomes <- outcome{conn, err}
			}()
			next.Reset(nextAddress)
		case o := <-outcomes:
			running--
			if o.err == nil {
				return o.conn, nil
			}
			if first == nil {
				first = o.err
			}
			next.Reset(0)
		}
	}
	return nil, first
}
