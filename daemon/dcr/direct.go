package dcr

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync"
	"syscall"
)

// carrier carries requests to the server, and keeps connections between them.
type carrier interface {
	http.RoundTripper
	CloseIdleConnections() // and those that become idle later
}

// direct is the carrier where no proxy stands between; otherwise it is an
// [http.Transport]. That gives each connection two goroutines of its own, which
// make a call a tenth slower, and it repeats a request when a kept connection
// dies. Here the goroutine of the call uses the connection itself, and repeats
// nothing.
type direct struct {
	dialer  *Dialer
	address string      // host and port
	tls     *tls.Config // nil for http

	mu     sync.Mutex // guards what follows
	idle   []*link    // the one used last comes last
	closed bool       // none is kept any more
}

// newDirect returns a carrier to the server of a URL. It owns config.
func newDirect(server *url.URL, d *Dialer, config *tls.Config) *direct {
	config.ServerName = server.Hostname()
	if server.Scheme != "https" {
		config = nil
	}
	return &direct{dialer: d, address: HostPort(server), tls: config}
}

// RoundTrip sends a request and returns the answer. The request must have a trace
// with the hooks that are called here.
func (d *direct) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	trace := httptrace.ContextClientTrace(ctx)
	l := d.take()
	reused := l != nil
	if !reused {
		var err error
		if l, err = d.connect(ctx, trace); err != nil {
			return nil, err
		}
	}
	l.spare = context.AfterFunc(ctx, func() { _ = l.Conn.Close() })
	trace.GotConn(httptrace.GotConnInfo{Conn: l, Reused: reused})
	resp, err := l.exchange(req, trace)
	if err != nil {
		d.end(l, false)
		return nil, err
	}
	keep := !resp.Close && resp.StatusCode >= http.StatusOK
	if resp.Body == http.NoBody {
		d.end(l, keep)
	} else {
		resp.Body = &linkBody{resp.Body, d, l, keep}
	}
	return resp, nil
}

// connect makes a connection.
func (d *direct) connect(ctx context.Context, trace *httptrace.ClientTrace) (*link, error) {
	conn, err := d.dialer.DialContext(ctx, "tcp", d.address)
	if err != nil {
		return nil, err
	}
	raw, err := conn.(syscall.Conn).SyscallConn() // of TCP, as every connection of a dialer is
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	l := newLink(conn, raw)
	if d.tls == nil {
		l.use(l)
		return l, nil
	}
	secure := tls.Client(l, d.tls)
	trace.TLSHandshakeStart()
	err = secure.HandshakeContext(ctx)
	state := secure.ConnectionState()
	trace.TLSHandshakeDone(state, err)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	l.state = &state
	l.use(secure)
	return l, nil
}

// take returns a kept connection that is still good; nil if there is none.
func (d *direct) take() *link {
	d.mu.Lock()
	defer d.mu.Unlock()
	for n := len(d.idle); n > 0; n-- {
		l := d.idle[n-1]
		d.idle = d.idle[:n-1]
		if l.silent() {
			return l
		}
		_ = l.top.Close()
	}
	return nil
}

// end ends a request. Its connection is kept for others if it is sound.
func (d *direct) end(l *link, keep bool) {
	written, spare := l.written(), l.spare
	l.spare = nil // it holds the request
	keep = spare() && written && keep
	d.mu.Lock()
	defer d.mu.Unlock()
	if keep && !d.closed && len(d.idle) < keptConns {
		d.idle = append(d.idle, l)
	} else {
		_ = l.Conn.Close() // TLS would send its farewell first, and might wait
	}
}

// CloseIdleConnections implements [carrier].
func (d *direct) CloseIdleConnections() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	for _, l := range d.idle {
		_ = l.top.Close()
	}
	d.idle = nil
}
