package main

import (
	"io"
	"net"
	"strings"
	"sync/atomic"
	"time"
)

// relay passes connections on to the simulator, with the delay of a long line.
type relay struct {
	net.Listener
	to    string
	delay time.Duration // of a round trip
	conns atomic.Int64  // that were made
}

func newRelay(to string, delay time.Duration) (*relay, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &relay{Listener: listener, to: strings.TrimPrefix(to, "https://"), delay: delay}
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return // it was closed
			}
			r.conns.Add(1)
			go r.pass(c)
		}
	}()
	return r, nil
}

// pass serves a connection. Its beginning takes a round trip, as the handshake of
// TCP does.
func (r *relay) pass(c net.Conn) {
	defer c.Close()
	server, err := net.Dial("tcp", r.to)
	if err != nil {
		return
	}
	defer server.Close()
	time.Sleep(r.delay)
	go func() {
		r.copy(server, c)
		_ = server.Close() // the other way ends too
	}()
	r.copy(c, server)
}

func (r *relay) copy(to io.Writer, from io.Reader) {
	part := make([]byte, 64<<10)
	for {
		n, err := from.Read(part)
		time.Sleep(r.delay / 2)
		if _, gone := to.Write(part[:n]); err != nil || gone != nil {
			return
		}
	}
}
