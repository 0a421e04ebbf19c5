package dcr

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// lookupTime is how long a look-up may take. It does not count as time of
	// the call.
	lookupTime = 10 * time.Second
	// plainAfter is how long a query with EDNS0 may stay unanswered before it
	// is repeated without.
	plainAfter = time.Second
	// lonely is how long the addresses of one family wait for those of the
	// other.
	lonely = 2 * time.Second
	// turn is how long a name server has before the next one is asked too. A
	// late answer still counts.
	turn = 2500 * time.Millisecond
)

// unreachable is the fault of a name server to which no query gets.
const unreachable = "can't be reached"

// lookup is one look-up of a name. The standard resolver decides what to ask
// whom (hosts file, search list, order of servers); lookup carries its queries,
// in a way that copes with the name servers of home routers:
//
//   - Some answer a query with EDNS0 (RFC 6891) by an error, nonsense or not at
//     all. They are asked again without.
//   - Some never answer for AAAA records. After [lonely] the look-up goes on
//     with the A records alone.
//   - Some are slow. An answer counts until the end of the look-up, whoever has
//     been asked since.
//   - Some cut answers short over UDP and can't be asked over TCP. The records
//     that came count.
//
// glibc and musl, with which such routers are tested, send no EDNS0.
type lookup struct {
	over    chan struct{} // closed at the end
	settled chan struct{} // closed once found and late are true
	readers sync.WaitGroup

	mu        sync.Mutex
	ended     bool // no socket may be opened
	asked     bool // a name server, rather than the hosts file alone
	searching bool // the name as it stands has been looked up: the search list is next
	exists    bool // a name server knows the name as it stands, perhaps without an address
	sockets   []net.Conn
	questions map[string]*question // by their bytes
	found     bool                 // there is an address
	late      bool                 // lonely is over
	waiting   bool                 // a turn ended without an answer since the resolver began
	faults    []string             // what name servers did wrong, for people
}

// question is one question, to however many servers.
type question struct {
	plain    []byte        // the query without EDNS0
	answered chan struct{} // closed with the first good answer
	answer   []byte        // guarded by the look-up's mu until then
}

func newLookup() *lookup {
	return &lookup{over: make(chan struct{}), settled: make(chan struct{}), questions: map[string]*question{}}
}

// addresses looks a host up and ends the look-up. A name with a dot is looked up
// as it stands first: the search list of resolv.conf costs time, and may know
// another host by that name.
func (l *lookup) addresses(ctx context.Context, host string) (addrs []netip.Addr, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	alone := time.AfterFunc(lonely, func() { l.settle(false, true) })
	defer alone.Stop()
	var list []net.IPAddr
	if strings.Contains(strings.TrimSuffix(host, "."), ".") {
		list, err = l.resolve(ctx, strings.TrimSuffix(host, ".")+".")
		l.mu.Lock()
		l.searching = true
		l.mu.Unlock()
	}
	if list == nil && (err == nil || notFound(err)) {
		var relative error
		if list, relative = l.resolve(ctx, host); relative == nil || err == nil {
			err = relative
		}
	}
	l.end()
	for _, a := range list {
		if addr, ok := netip.AddrFromSlice(a.IP); ok {
			addrs = append(addrs, addr.Unmap().WithZone(a.Zone))
		}
	}
	return addrs, err
}

// resolve has the standard resolver look a name up, as often as an answer may
// still come.
func (l *lookup) resolve(ctx context.Context, name string) (list []net.IPAddr, err error) {
	resolver := net.Resolver{PreferGo: true, Dial: l.dial}
	for again := true; again; {
		list, err = resolver.LookupIPAddr(ctx, name)
		again = err != nil && ctx.Err() == nil && l.takeWaiting()
	}
	return list, err
}

func notFound(err error) bool {
	dns, ok := errors.AsType[*net.DNSError](err)
	return ok && dns.IsNotFound
}

// known returns the faults so far, for people, and whether a name server was
// asked, rather than the hosts file alone.
func (l *lookup) known() (faults []string, asked bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(slices.Values(l.faults)), l.asked
}

// end closes all sockets and waits for their readers.
func (l *lookup) end() {
	l.mu.Lock()
	l.ended = true
	close(l.over)
	for _, socket := range l.sockets {
		_ = socket.Close()
	}
	l.mu.Unlock()
	l.readers.Wait()
}

// takeWaiting reports whether an answer may still come, and forgets it.
func (l *lookup) takeWaiting() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	waiting := l.waiting
	l.waiting = false
	return waiting
}

// settle notes that an address is known, or that the wait is over. Queries
// without an answer are given up once both are true.
func (l *lookup) settle(found, late bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.found && l.late
	l.found, l.late = l.found || found, l.late || late
	if !was && l.found && l.late {
		close(l.settled)
	}
}

// fault notes what a name server did wrong, once.
func (l *lookup) fault(server, what string) {
	if host, port, err := net.SplitHostPort(server); err == nil && port == "53" {
		server = host
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if text := server + " " + what; !slices.Contains(l.faults, text) {
		l.faults = append(l.faults, text)
	}
}

// dial gives the standard resolver a connection to a name server. In place of
// UDP that is a conversation: since it is not a packet connection, the resolver
// writes and reads messages as over TCP.
func (l *lookup) dial(ctx context.Context, network, server string) (net.Conn, error) {
	l.mu.Lock()
	l.asked = true
	l.mu.Unlock()
	if network != "udp" { // an answer was cut short, or resolv.conf has "options use-vc"
		return &stream{lookup: l, ctx: ctx, server: server}, nil
	}
	return &conversation{lookup: l, server: server, failed: make(chan struct{}, 1)}, nil
}

// conversation is one query of the resolver to one name server, and the answer.
type conversation struct {
	net.Conn // nil: the resolver uses the methods below
	*lookup
	*question
	server string
	query  []byte
	reply  []byte        // with its length in front, as far as it is not read yet
	failed chan struct{} // gets a value if waiting has become useless
}

func (c *conversation) SetDeadline(time.Time) error { return nil } // a turn is shorter

func (c *conversation) Close() error { return nil } // the socket serves until the end of the look-up

// Write sends the query, which comes with its length in front.
func (c *conversation) Write(framed []byte) (int, error) {
	c.query = slices.Clone(framed[2:])
	plain := withoutEDNS(c.query)
	key := string(plain[headerSize:])
	socket, err := net.Dial("udp", c.server) // which waits for nothing
	if err != nil {
		c.fault(c.server, unreachable+" ("+errnoOf(err)+")")
		return 0, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		_ = socket.Close()
		return 0, net.ErrClosed
	}
	if c.questions[key] == nil {
		c.questions[key] = &question{plain: plain, answered: make(chan struct{})}
	}
	c.question = c.questions[key]
	c.sockets = append(c.sockets, socket)
	c.readers.Go(func() { c.ask(socket) })
	return len(framed), nil
}

// Read returns the answer, once it is there.
func (c *conversation) Read(p []byte) (int, error) {
	if c.reply == nil {
		reply := c.wait()
		if reply == nil {
			return 0, os.ErrDeadlineExceeded
		}
		c.reply = append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...)
		copy(c.reply[2:], c.query[:2]) // the answer may be that to an earlier query
	}
	n := copy(p, c.reply)
	c.reply = c.reply[n:]
	return n, nil
}

// wait waits for an answer; nil if the server has none in its turn.
func (c *conversation) wait() []byte {
	begun := time.Now()
	timer := time.NewTimer(turn)
	defer timer.Stop()
	select {
	case <-c.answered:
		return c.answer
	case <-c.settled:
		select {
		case <-c.answered:
			return c.answer
		default:
		}
		if time.Since(begun) > plainAfter { // otherwise it had no time to
			c.fault(c.server, "does not answer queries for "+kindOf(c.plain)+" records")
		}
		return empty(c.plain)
	case <-timer.C:
		c.fault(c.server, "does not answer within "+turn.String())
		c.mu.Lock()
		defer c.mu.Unlock()
		c.waiting = true
	case <-c.failed:
	case <-c.over:
	}
	return nil
}

// ask sends the query, and again without EDNS0 unless that brings a good answer
// in time. It takes answers until the end of the look-up.
func (c *conversation) ask(socket net.Conn) {
	again := time.AfterFunc(plainAfter, func() { _, _ = socket.Write(c.plain) }) // reading shows a failure, too
	defer again.Stop()
	edns := len(c.plain) < len(c.query)
	withEDNS := slices.Clone(c.query)
	withEDNS[1] ^= 1 // the ids tell the answers apart
	if edns {
		_, _ = socket.Write(withEDNS)
	} else {
		again.Reset(0)
	}
	bad := "does not answer"
	buf := make([]byte, 4096)
	for {
		n, err := socket.Read(buf)
		if err != nil {
			c.fail(unreachable + " (" + errnoOf(err) + ")")
			return
		}
		toEDNS := edns && n >= 2 && [2]byte(buf) == [2]byte(withEDNS)
		if !toEDNS && (n < 2 || [2]byte(buf) != [2]byte(c.plain)) {
			continue // a forgery, or an answer to somebody else
		}
		v := judge(buf[:n], c.plain)
		switch {
		case v == goodAnswer || !toEDNS && (v == emptyAnswer || v == cutAnswer): // the resolver gets the rest over TCP
			// Most names have no AAAA record, and some long answers fit no
			// packet: those are no faults.
			if !toEDNS && edns && bad != emptyAnswer && v != cutAnswer {
				c.fault(c.server, bad+" when asked with EDNS0")
			}
			c.deliver(slices.Clone(buf[:n]))
			return
		case toEDNS:
			bad = v
			again.Reset(0)
		default:
			c.fail(v)
		}
	}
}

// fail ends the server's turn, unless the look-up is over.
func (c *conversation) fail(what string) {
	select {
	case <-c.over:
		return
	default:
	}
	c.fault(c.server, what) // before the end of the turn, or the look-up might end without it
	select {
	case c.failed <- struct{}{}:
	default:
	}
}

// deliver takes an answer; the first one counts. It is there before the look-up
// counts as settled.
func (c *conversation) deliver(answer []byte) {
	c.mu.Lock()
	if c.answer == nil {
		c.answer = answer
		close(c.answered)
	}
	c.exists = c.exists || !c.searching && answer[3]&0xf == 0
	c.mu.Unlock()
	c.settle(records(answer) > 0, false)
}

func errnoOf(err error) string {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno.Error()
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return "no answer in time"
	}
	return err.Error()
}
