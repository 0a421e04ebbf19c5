package dcrtest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// NameServer is a DNS server for labs. It answers A and AAAA queries for the
// names it knows, over UDP and TCP, and misbehaves as home routers do (see
// [NameFault]). Its methods may be called from any goroutine.
type NameServer struct {
	mu      sync.Mutex // guards all below
	hosts   map[string][]netip.Addr
	faults  []NameFault
	queries []NameQuery
}

// NameQuery is what a NameServer remembers of one query.
type NameQuery struct {
	Name  string `json:"name"` // without the final dot
	Type  string `json:"type"` // A, AAAA or the number of another type
	EDNS  bool   `json:"edns"`
	TCP   bool   `json:"tcp"`
	Fault string `json:"fault,omitempty"` // the kind of the fault that struck it
}

// NewNameServer returns a name server that knows no name.
func NewNameServer() *NameServer { return &NameServer{hosts: map[string][]netip.Addr{}} }

// SetHost gives a name its addresses. Without addresses the name exists, but
// has neither A nor AAAA records.
func (n *NameServer) SetHost(name string, addrs ...netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hosts[canonical(name)] = addrs
}

// Queries returns the queries that came, oldest first.
func (n *NameServer) Queries() []NameQuery {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.queries)
}

// ClearQueries forgets the queries.
func (n *NameServer) ClearQueries() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.queries = nil
}

func canonical(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// Listen serves UDP and TCP on an address such as 127.0.0.1:53 until ctx is
// done. Port 0 stands for any that is free; at is the address with the port. The
// function wait waits for the end.
func (n *NameServer) Listen(ctx context.Context, address string) (at string, wait func(), err error) {
	packets, streams, err := listenBoth(address)
	if err != nil {
		return "", nil, fmt.Errorf("listen for DNS: %w", err)
	}
	var all sync.WaitGroup
	all.Go(func() { n.servePackets(ctx, packets, &all) })
	all.Go(func() { n.serveStreams(ctx, streams, &all) })
	stop := context.AfterFunc(ctx, func() {
		_ = packets.Close()
		_ = streams.Close()
	})
	return streams.Addr().String(), func() { all.Wait(); stop() }, nil
}

func (n *NameServer) servePackets(ctx context.Context, conn net.PacketConn, all *sync.WaitGroup) {
	for {
		query := make([]byte, 4096)
		size, from, err := conn.ReadFrom(query)
		if err != nil {
			return // closed
		}
		all.Go(func() {
			for _, reply := range n.reply(ctx, query[:size], false) {
				_, _ = conn.WriteTo(reply, from) // a client that is gone misses it
			}
		})
	}
}

// listenBoth listens for UDP and TCP on one port. If it may choose the port, it
// tries others when one that is free for UDP is taken for TCP.
func listenBoth(address string) (packets net.PacketConn, streams net.Listener, err error) {
	for range 16 {
		if packets, err = net.ListenPacket("udp", address); err != nil {
			return nil, nil, err
		}
		if streams, err = net.Listen("tcp", packets.LocalAddr().String()); err == nil {
			return packets, streams, nil
		}
		err = errors.Join(err, packets.Close())
		if !strings.HasSuffix(address, ":0") {
			break
		}
	}
	return nil, nil, err
}

func (n *NameServer) serveStreams(ctx context.Context, l net.Listener, all *sync.WaitGroup) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return // closed
		}
		all.Go(func() {
			defer conn.Close()
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			defer stop()
			var size [2]byte
			for {
				if _, err := io.ReadFull(conn, size[:]); err != nil {
					return
				}
				query := make([]byte, binary.BigEndian.Uint16(size[:]))
				if _, err := io.ReadFull(conn, query); err != nil {
					return
				}
				replies := n.reply(ctx, query, true)
				if len(replies) == 0 {
					return
				}
				for _, reply := range replies {
					_, _ = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...))
				}
			}
		})
	}
}

// reply returns the messages that answer a query: none, one, or several for a
// fault that sends more.
func (n *NameServer) reply(ctx context.Context, query []byte, tcp bool) [][]byte {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil || len(m.Questions) != 1 {
		return nil
	}
	q := NameQuery{
		Name: canonical(m.Questions[0].Name.String()),
		Type: strings.TrimPrefix(m.Questions[0].Type.String(), "Type"),
		EDNS: slices.ContainsFunc(m.Additionals, isOPT),
		TCP:  tcp,
	}
	addrs, known, f := n.look(q)
	if f.Delay > 0 {
		late := time.NewTimer(f.Delay)
		defer late.Stop()
		select {
		case <-late.C:
		case <-ctx.Done():
			return nil
		}
	}
	return f.spoil(answerTo(m, q, addrs, known), q)
}

func isOPT(r dnsmessage.Resource) bool { return r.Header.Type == dnsmessage.TypeOPT }

// look notes a query and returns what is known of its name, and the fault that
// strikes.
func (n *NameServer) look(q NameQuery) (addrs []netip.Addr, known bool, f NameFault) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f = n.takeFault(q)
	q.Fault = f.Kind
	n.queries = append(n.queries, q)
	addrs, known = n.hosts[q.Name]
	if f.Kind == NameAddress {
		addrs, known = []netip.Addr{f.Address}, true
	}
	return addrs, known, f
}

// answerTo is the true answer to a query.
func answerTo(m dnsmessage.Message, q NameQuery, addrs []netip.Addr, known bool) dnsmessage.Message {
	a := dnsmessage.Message{
		Header: dnsmessage.Header{ID: m.ID, Response: true, RecursionDesired: m.RecursionDesired, RecursionAvailable: true},
	}
	a.Questions = m.Questions
	if !known {
		a.RCode = dnsmessage.RCodeNameError
	}
	q0 := m.Questions[0]
	h := dnsmessage.ResourceHeader{Name: q0.Name, Type: q0.Type, Class: dnsmessage.ClassINET, TTL: 30}
	for _, addr := range addrs {
		switch {
		case q.Type == "A" && addr.Is4():
			a.Answers = append(a.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: addr.As4()}})
		case q.Type == "AAAA" && addr.Is6():
			a.Answers = append(a.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AAAAResource{AAAA: addr.As16()}})
		}
	}
	if q.EDNS {
		var opt dnsmessage.ResourceHeader
		if err := opt.SetEDNS0(1232, dnsmessage.RCodeSuccess, false); err == nil {
			a.Additionals = []dnsmessage.Resource{{Header: opt, Body: &dnsmessage.OPTResource{}}}
		}
	}
	return a
}
