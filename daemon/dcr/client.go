package dcr

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"
)

// idleTimeout keeps the connection between a registration and the token call
// that follows it. The next call is hours away.
const idleTimeout = 30 * time.Second

// Config says where the server is and who calls it.
type Config struct {
	Endpoint  string        // base URL: https, or http for a lab on this device
	CAFile    string        // PEM roots beside the system's and the embedded ones; "" for none
	ReadFile  ReadFile      // reads CAFile
	Proxy     *url.URL      // nil: as the environment says (HTTPS_PROXY, NO_PROXY)
	Timeout   time.Duration // of a call, without the look-up of the server's name
	UserAgent string
	Now       func() time.Time // for the validity of certificates

	// DeviceInfo returns the X-Device-Info of a request that leaves from a
	// local address. The address is the zero AddrPort if the request goes
	// through a proxy: the server sees the proxy's address then.
	DeviceInfo func(applicationID string, local netip.AddrPort) string
	// Done is called at the end of each call; nil for nothing.
	Done func()
}

// Client makes calls. Its methods may be called from any goroutine.
type Client struct {
	endpoint   *url.URL
	timeout    time.Duration
	userAgent  string
	deviceInfo func(string, netip.AddrPort) string
	done       func()
	proxy      func(*http.Request) (*url.URL, error)
	roots      rootSources
	now        func() time.Time
	sessions   tls.ClientSessionCache
	dialer     *Dialer

	mu        sync.Mutex
	calls     int             // under way
	transport *http.Transport // nil until a call needs it: it holds all trusted roots
}

// New returns a client, or an error if the endpoint or ca_file is unusable.
// Nothing but ca_file is read before the first call, and nothing is sent.
func New(cfg Config) (*Client, error) {
	u, err := url.Parse(cfg.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("the endpoint: %w", err)
	}
	roots := rootSources{cfg.CAFile, cfg.ReadFile}
	if err := roots.check(); err != nil {
		return nil, err
	}
	c := &Client{
		endpoint: u, timeout: cfg.Timeout, userAgent: cfg.UserAgent, deviceInfo: cfg.DeviceInfo, done: cfg.Done,
		proxy: http.ProxyFromEnvironment, roots: roots, now: cfg.Now,
		sessions: tls.NewLRUClientSessionCache(2),
		dialer:   &Dialer{Server: ServerOf(u), Timeout: cfg.Timeout, Now: cfg.Now},
	}
	if cfg.Proxy != nil {
		c.proxy = http.ProxyURL(cfg.Proxy)
	}
	return c, nil
}

// ServerOf returns the host and port of an https URL for [Dialer.Server]; ""
// for any other URL.
func ServerOf(u *url.URL) string {
	if u.Scheme != "https" {
		return ""
	}
	port := u.Port()
	if port == "" {
		port = "443"
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// TLSConfig returns what every connection to the server has in common. Its
// ClientHello offers only the classic curves, and so fits into one packet: with
// a post-quantum key (ML-KEM) it has 1.5 kB, and middleboxes that expect it in
// one packet reset the connection. The secrets that it protects live for hours.
func TLSConfig(now func() time.Time) *tls.Config {
	return &tls.Config{
		MinVersion:       tls.VersionTLS12,
		CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256},
		Time:             now,
	}
}

// Forget drops idle connections and the trusted roots, which nobody needs for
// the next hours. TLS sessions stay, so that the next handshake is a short one.
// While a call is under way Forget does nothing: the next call may be a moment
// away.
func (c *Client) Forget() {
	c.mu.Lock()
	t := c.transport
	if c.calls > 0 {
		t = nil
	} else {
		c.transport = nil
	}
	c.mu.Unlock()
	if t != nil {
		t.CloseIdleConnections()
	}
}

// begin notes a call, and returns the transport. It is made by the first call,
// since only a call needs the roots.
func (c *Client) begin() (*http.Transport, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls++
	if c.transport != nil {
		return c.transport, nil
	}
	pool, err := c.roots.pool()
	if err != nil {
		return nil, err
	}
	config := TLSConfig(c.now)
	config.RootCAs, config.ClientSessionCache = pool, c.sessions
	c.transport = &http.Transport{
		Proxy:                  c.proxy,
		ProxyConnectHeader:     http.Header{"User-Agent": {c.userAgent}},
		OnProxyConnectResponse: acceptTunnel,
		DialContext:            c.dialer.DialContext,
		// A call ends in its time; this ends a handshake that the transport
		// goes on with.
		TLSHandshakeTimeout:    c.timeout,
		TLSClientConfig:        config,
		IdleConnTimeout:        idleTimeout,
		MaxIdleConnsPerHost:    1,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true,
		// The server also offers HTTP/2. For a call every few hours HTTP/1.1
		// does the same in half a megabyte less.
	}
	return c.transport, nil
}

// end notes the end of a call.
func (c *Client) end() {
	c.mu.Lock()
	c.calls--
	c.mu.Unlock()
	if c.done != nil {
		c.done()
	}
}
