package dcr

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxBody is the longest answer that is read; a real one has less than 2 KiB.
	maxBody = 1 << 20
	// idleTimeout keeps the connection between a registration and the token that follows it. The next call is hours away.
	idleTimeout = 30 * time.Second
)

// Config says where the server is and who calls it.
type Config struct {
	Endpoint  string        // base URL, https or, for a lab on this machine, http
	CAFile    string        // PEM roots beside the system's and the embedded ones; "" for none
	Proxy     *url.URL      // nil: as the environment says (HTTPS_PROXY, NO_PROXY)
	Timeout   time.Duration // of a whole call, from the name's resolution to the last byte
	UserAgent string
	Now       func() time.Time // for the validity of certificates

	// DeviceInfo makes the X-Device-Info of a request that leaves from a local address.
	DeviceInfo func(applicationID string, local netip.AddrPort) string
}

// Client makes calls. Its methods may be used from any goroutine.
type Client struct {
	endpoint   *url.URL
	timeout    time.Duration
	userAgent  string
	deviceInfo func(string, netip.AddrPort) string
	proxy      func(*http.Request) (*url.URL, error)
	roots      rootSources
	now        func() time.Time
	sessions   tls.ClientSessionCache

	mu        sync.Mutex
	transport *http.Transport // nil until a call needs it: it holds all trusted roots
}

// New checks the configuration. Nothing is read or sent before the first call, but ca_file: a typing error in its name
// should show at once.
func New(cfg Config) (*Client, error) {
	u, err := url.Parse(cfg.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("the endpoint: %w", err)
	}
	roots := rootSources{caFile: cfg.CAFile}
	if err := roots.check(); err != nil {
		return nil, err
	}
	c := &Client{
		endpoint: u, timeout: cfg.Timeout, userAgent: cfg.UserAgent, deviceInfo: cfg.DeviceInfo,
		proxy: http.ProxyFromEnvironment, roots: roots, now: cfg.Now,
		sessions: tls.NewLRUClientSessionCache(2),
	}
	if cfg.Proxy != nil {
		c.proxy = http.ProxyURL(cfg.Proxy)
	}
	return c, nil
}

// Forget lets go of idle connections and of the roots, which no one needs for the next hours. TLS sessions stay, so that the
// next handshake is a short one.
func (c *Client) Forget() {
	c.mu.Lock()
	t := c.transport
	c.transport = nil
	c.mu.Unlock()
	if t != nil {
		t.CloseIdleConnections()
	}
}

// connection returns the transport, made on the first call: only a call needs the roots.
func (c *Client) connection() (*http.Transport, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.transport != nil {
		return c.transport, nil
	}
	pool, err := c.roots.pool()
	if err != nil {
		return nil, err
	}
	c.transport = &http.Transport{
		Proxy:                  c.proxy,
		ProxyConnectHeader:     http.Header{"User-Agent": {c.userAgent}},
		OnProxyConnectResponse: acceptTunnel,
		// Every call has its deadline. These two end what the transport goes on with after that.
		DialContext:         (&net.Dialer{Timeout: c.timeout}).DialContext,
		TLSHandshakeTimeout: c.timeout,
		TLSClientConfig: &tls.Config{
			RootCAs: pool, MinVersion: tls.VersionTLS12, ClientSessionCache: c.sessions, Time: c.now,
		},
		IdleConnTimeout:        idleTimeout,
		MaxIdleConnsPerHost:    1,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true,
		// The server also offers HTTP/2; for a call every few hours HTTP/1.1 does the same in half a megabyte less.
	}
	return c.transport, nil
}

// exchange is one request.
type exchange struct{ path, contentType, body, applicationID string }

// answer is a 2xx with a JSON object.
type answer struct {
	status int
	date   time.Time
	fields map[string]json.RawMessage
}

// exchange sends one request and reads the answer. The transport is used directly: it follows no redirect, which would
// carry secrets elsewhere. It repeats a POST only where a kept connection turns out dead before the first byte was written.
func (c *Client) exchange(ctx context.Context, x exchange) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	header := http.Header{
		"Content-Type": {x.contentType},
		"Accept":       {"application/json;charset=utf-8"},
		"User-Agent":   {c.userAgent},
	}
	var local bool        // the request goes to this very machine
	var began atomic.Bool // an answer did; the transport's own goroutine tells, even after a call has been given up
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		// The header tells the address that the request leaves from, which is known only once there is a connection.
		GotConn: func(info httptrace.GotConnInfo) {
			header.Set("X-Device-Info", c.deviceInfo(x.applicationID, addrPort(info.Conn.LocalAddr())))
			local = addrPort(info.Conn.RemoteAddr()).Addr().IsLoopback()
		},
		GotFirstResponseByte: func() { began.Store(true) },
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.endpoint.JoinPath(x.path).String(), strings.NewReader(x.body))
	if err != nil {
		return nil, c.noAnswer(err, false)
	}
	req.Header = header
	transport, err := c.connection()
	if err != nil {
		return nil, &Error{Kind: Offline, Detail: err.Error(), err: err}
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, c.noAnswer(err, began.Load())
	}
	defer resp.Body.Close()
	return c.read(ctx, resp, x.body, local || resp.TLS != nil)
}

// read judges an answer to what was sent. Whether its Date is a witness of the time depends on the connection.
func (c *Client) read(ctx context.Context, resp *http.Response, sent string, witness bool) (*answer, error) {
	ans := &answer{status: resp.StatusCode}
	date, dateErr := http.ParseTime(resp.Header.Get("Date"))
	if witness && dateErr == nil {
		ans.date = date.UTC()
	}
	fail := func(kind Kind, format string, args ...any) *Error {
		return &Error{
			Kind: kind, Status: resp.StatusCode, Detail: fmt.Sprintf(format, args...), Date: ans.date,
			RetryAfter: c.retryAfter(resp.Header.Get("Retry-After"), date),
		}
	}
	if resp.StatusCode == http.StatusTooManyRequests {
		return nil, fail(Throttled, "the server's throttle is shut: too many requests from this address")
	}
	if resp.StatusCode >= 300 && resp.StatusCode < 400 {
		return nil, fail(ServerError, "%s answers with a redirect, which is not followed: a captive portal, or a wrong endpoint", c.endpoint.Host)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err == nil && ctx.Err() != nil && !json.Valid(body) { // the server's answer to our hanging up looks like the end of a body
		err = ctx.Err()
	}
	var slow net.Error
	switch {
	case errors.As(err, &slow) && slow.Timeout(), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return nil, c.noAnswer(err, true)
	case err != nil:
		return nil, fail(ServerError, "the answer of %s (HTTP %d) is cut short", c.endpoint.Host, resp.StatusCode)
	case len(body) > maxBody:
		return nil, fail(ServerError, "the answer of %s (HTTP %d) is longer than 1 MiB", c.endpoint.Host, resp.StatusCode)
	}
	isObject := json.Unmarshal(body, &ans.fields) == nil && ans.fields != nil
	code := readable(ans.text("error"))
	if strings.Contains(sent, code) { // whatever that is, it is no code, and may be the secret
		code = ""
	}
	switch {
	case resp.StatusCode >= 400 && resp.StatusCode < 500 && code != "":
		e := fail(Rejected, "the server refuses: %s", code)
		e.ServerCode = code
		return nil, e
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		return nil, fail(ServerError, "%s answers HTTP %d without an error code", c.endpoint.Host, resp.StatusCode)
	case !isObject:
		return nil, fail(ServerError, "%s answers HTTP %d with something other than a JSON object: a captive portal, or a wrong endpoint", c.endpoint.Host, resp.StatusCode)
	}
	return ans, nil
}

// retryAfter reads the header: seconds, or a date, which counts by the server's own clock where it tells that.
func (c *Client) retryAfter(value string, date time.Time) time.Duration {
	// What is out of range comes as the highest number, 68 years.
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil || errors.Is(err, strconv.ErrRange) {
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	if date.IsZero() {
		date = c.now()
	}
	return max(at.Sub(date), 0)
}

// unusable is an answer that lacks what the job needs.
func (a *answer) unusable(what string) *Error {
	return &Error{Kind: ServerError, Status: a.status, Detail: fmt.Sprintf("the server answers HTTP %d %s", a.status, what), Date: a.date}
}

// text is a field that is a string; anything else is "".
func (a *answer) text(name string) string { return text(a.fields[name]) }

func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// number is a field that is a number; anything else is 0.
func (a *answer) number(name string) float64 {
	var f float64
	if json.Unmarshal(a.fields[name], &f) != nil {
		return 0
	}
	return f
}

// texts is a field that is a list of strings; anything else is empty.
func (a *answer) texts(name string) []string {
	var list []string
	if json.Unmarshal(a.fields[name], &list) != nil {
		return nil
	}
	return list
}

func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	return tcp.AddrPort()
}
