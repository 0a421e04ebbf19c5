package dcr

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"
)

// exchange is one request.
type exchange struct{ path, contentType, body, applicationID string }

// progress is how far an exchange has come. The transport's goroutines note it,
// also after a call was given up.
type progress struct {
	shaking  atomic.Bool // a TLS handshake has begun, and not ended well
	answered atomic.Bool // the first byte of an answer is there
}

// exchange sends one request and reads the answer. It uses the transport
// itself, which follows no redirect: that would carry secrets elsewhere. The
// transport repeats a POST only if a kept connection turns out to be dead
// before the first byte was written.
func (c *Client) exchange(ctx context.Context, x exchange) (*answer, error) {
	transport, err := c.begin()
	defer c.end()
	if err != nil {
		return nil, &Error{Kind: Offline, Detail: err.Error(), err: err}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(c.timeout, func() { cancel(context.DeadlineExceeded) })
	defer timer.Stop()

	header := http.Header{
		"Content-Type": {x.contentType},
		"Accept":       {"application/json;charset=utf-8"},
		"User-Agent":   {c.userAgent},
	}
	req, err := http.NewRequest(http.MethodPost, c.endpoint.JoinPath(x.path).String(), strings.NewReader(x.body))
	if err != nil {
		return nil, c.noAnswer(err, nil)
	}
	req.Header = header
	proxy, err := c.proxy(req)
	if err != nil {
		return nil, c.noAnswer(err, nil)
	}
	var p progress
	var remote netip.Addr
	req = req.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		DNSStart: func(httptrace.DNSStartInfo) { timer.Reset(c.timeout + lookupTime) },
		DNSDone:  func(httptrace.DNSDoneInfo) { timer.Reset(c.timeout) },
		// The header tells the address that the request leaves from, which is
		// known only once there is a connection.
		GotConn: func(info httptrace.GotConnInfo) {
			local := addrPort(info.Conn.LocalAddr())
			remote = addrPort(info.Conn.RemoteAddr()).Addr()
			if proxy != nil {
				local = netip.AddrPort{}
			}
			header.Set("X-Device-Info", c.deviceInfo(x.applicationID, local))
		},
		TLSHandshakeStart:    func() { p.shaking.Store(true) },
		TLSHandshakeDone:     func(_ tls.ConnectionState, err error) { p.shaking.Store(err != nil) },
		GotFirstResponseByte: func() { p.answered.Store(true) },
	}))
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, c.noAnswer(err, &p)
	}
	defer resp.Body.Close()
	if proxy == nil && resp.TLS != nil {
		c.dialer.Confirm(remote)
	}
	return c.read(ctx, resp, x.body, resp.TLS != nil || remote.IsLoopback())
}

func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	return tcp.AddrPort()
}
