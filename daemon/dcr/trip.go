package dcr

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"sync/atomic"
	"time"
)

// trip is one request on its way to the server.
type trip struct {
	client  *Client
	request *Request
	whole   bool // its time is the client's, for all of it; otherwise each phase has its own
	progress

	ctx      context.Context // of the exchange: it ends with its time
	deadline *deadline
}

// progress is how far a trip has come. Goroutines of the carrier note it, also
// after a call was given up.
type progress struct {
	via      *url.URL     // the proxy; nil for none
	shakes   atomic.Int32 // TLS handshakes that have begun
	shaking  atomic.Bool  // one has begun, and not ended well
	reused   atomic.Bool  // the connection has served other requests
	begun    atomic.Bool  // the request has begun to leave
	answered atomic.Bool  // the first byte of an answer is there
	remote   netip.Addr
}

// tunneled reports whether the proxy, if there is one, has connected to the
// server. The first handshake with an https proxy is its own.
func (p *progress) tunneled() bool {
	own := int32(0)
	if p.via != nil && p.via.Scheme == "https" {
		own = 1
	}
	return p.via == nil || p.begun.Load() || p.shakes.Load() > own
}

// roundTrip sends the request and returns the answer, whose body ends the call
// when it is closed. It uses the carrier itself, and so follows no redirect: that
// would carry secrets elsewhere. A kept connection of a transport may turn out to
// be dead before the first byte leaves: only then is the request sent again.
func (t *trip) roundTrip(ctx context.Context) (*http.Response, error) {
	for tries := 0; ; tries++ {
		resp, err := t.once(ctx)
		if err == nil || t.begun.Load() || !t.reused.Load() || tries == keptConns || ctx.Err() != nil {
			return resp, err
		}
	}
}

func (t *trip) once(ctx context.Context) (*http.Response, error) {
	carrier, via, err := t.client.begin()
	t.via = via
	var cancel context.CancelCauseFunc
	t.ctx, cancel = context.WithCancelCause(ctx)
	t.deadline = newDeadline(t.client.timeout, cancel, t.whole)
	end := func() {
		t.deadline.end()
		cancel(nil)
		t.client.end()
	}
	var resp *http.Response
	if err == nil {
		req := t.outgoing()
		resp, err = carrier.RoundTrip(req.WithContext(httptrace.WithClientTrace(t.ctx, t.trace(req.Header))))
	}
	if err != nil {
		err = t.reason(err)
		end()
		return nil, err
	}
	if t.via == nil && resp.TLS != nil && !t.reused.Load() {
		t.client.dialer.Confirm(t.remote)
	}
	t.deadline.enter(answered, never)
	resp.Body = &timedBody{resp.Body, t, end}
	return resp, nil
}

// reason returns why the exchange was given up, if it was: that closes the
// connection, which is what err is about then.
func (t *trip) reason(err error) error {
	if cause := context.Cause(t.ctx); cause != nil {
		return cause
	}
	return err
}

// outgoing returns a request that no carrier repeats once a byte of it may have
// left. A transport repeats a GET without a body when a kept connection dies,
// although the server may have acted on it. So such a request gets a body, which
// is empty; its Transfer-Encoding is never sent, and keeps the transport from
// looking for a length. The body is a reader that net/http
// knows: for another one it would make a buffer of 32 KiB. The header is new: an
// earlier try may still read its own.
func (t *trip) outgoing() *http.Request {
	r := t.request
	u := *t.client.endpoint
	u.Path, u.RawQuery = u.Path+r.Path, r.Query
	if u.RawPath != "" {
		u.RawPath += r.Path
	}
	req := &http.Request{
		Method: r.Method, URL: &u, Host: u.Host, Header: http.Header{}, ProtoMajor: 1, ProtoMinor: 1,
		Body: io.NopCloser(bytes.NewReader(r.Body)), ContentLength: int64(len(r.Body)),
	}
	for name, values := range r.Header {
		req.Header[name] = values
	}
	switch {
	case len(r.Body) > 0:
	case r.Method == http.MethodGet:
		req.TransferEncoding = []string{"identity"}
	default:
		req.Body = http.NoBody
	}
	return req
}

// uplink is the slowest line over which a body can be sent, in bytes a second.
const uplink = 4 << 10

// trace returns what notes the trip's progress and gives each phase its time.
// It adds X-Device-Info to the header: that names the address that the request
// leaves from, which is known only once there is a connection. GotConn runs on
// the goroutine of RoundTrip, before anything reads the header.
func (t *trip) trace(header http.Header) *httptrace.ClientTrace {
	d, r := t.deadline, t.request
	return &httptrace.ClientTrace{
		DNSStart: func(httptrace.DNSStartInfo) { d.enter(connecting, t.client.timeout+lookupTime) },
		DNSDone:  func(httptrace.DNSDoneInfo) { d.enter(connecting, t.client.timeout) },
		GotConn: func(info httptrace.GotConnInfo) {
			t.reused.Store(info.Reused)
			t.remote = addrPort(info.Conn.RemoteAddr()).Addr()
			local := addrPort(info.Conn.LocalAddr())
			if t.via != nil {
				local = netip.AddrPort{}
			}
			header["X-Device-Info"] = []string{t.client.deviceInfo(r.ApplicationID, local)}
			d.enter(writing, r.Timeout+time.Duration(len(r.Body))*time.Second/uplink)
		},
		TLSHandshakeStart: func() { t.shakes.Add(1); t.shaking.Store(true) },
		TLSHandshakeDone:  func(_ tls.ConnectionState, err error) { t.shaking.Store(err != nil) },
		WroteHeaderField:  func(string, []string) { t.begun.Store(true) },
		WroteRequest: func(info httptrace.WroteRequestInfo) {
			t.begun.Store(true) // and perhaps failed
			d.enter(written, r.Timeout)
		},
		GotFirstResponseByte: func() { t.answered.Store(true) },
	}
}

func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	return tcp.AddrPort()
}

// timedBody is the body of an answer. Each read has its time.
type timedBody struct {
	io.ReadCloser
	trip *trip
	end  func() // of the call
}

func (b *timedBody) Read(p []byte) (int, error) {
	b.trip.deadline.enter(answered, b.trip.request.Timeout)
	n, err := b.ReadCloser.Read(p)
	b.trip.deadline.enter(answered, never)
	if err != nil && err != io.EOF {
		err = b.trip.reason(err)
	}
	return n, err
}

// Close ends the call. It may be called once.
func (b *timedBody) Close() error {
	err := b.ReadCloser.Close()
	b.end()
	return err
}
