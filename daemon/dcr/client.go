package dcr

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

const (
	// idleTimeout ends a connection through a proxy that [Client.Forget] did not
	// end. It is longer than any pause after which Forget is called.
	idleTimeout = 90 * time.Second
	// keptConns is how many connections are kept between calls. A sign-in polls
	// every few seconds.
	keptConns = 4
	// renewAfter is how long connections are used. The server's name servers ask
	// for a new look-up after 30 s, and a connection that is kept for hours pins
	// one of its data centres.
	renewAfter = 5 * time.Minute
)

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
	endpoint   *url.URL // its path does not end in a slash
	timeout    time.Duration
	userAgent  string
	deviceInfo func(string, netip.AddrPort) string
	done       func()
	proxy      func(*http.Request) (*url.URL, error)
	roots      rootSources
	now        func() time.Time
	sessions   tls.ClientSessionCache
	dialer     *Dialer

	mu      sync.Mutex // guards what follows
	calls   int        // under way
	pool    *x509.CertPool
	carrier carrier   // nil until a call needs it
	via     *url.URL  // the proxy that it uses; nil for none
	made    time.Time // the carrier
}

// New returns a client, or an error if the endpoint or ca_file is unusable.
// Nothing but ca_file is read before the first call, and nothing is sent.
func New(cfg Config) (*Client, error) {
	u, err := url.Parse(cfg.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("the endpoint: %w", err)
	}
	u = u.JoinPath() // cleaned
	u.Path, u.RawPath = strings.TrimSuffix(u.Path, "/"), strings.TrimSuffix(u.RawPath, "/")
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
	return HostPort(u)
}

// HostPort returns the host and port that the URL of a server or a proxy leads to.
func HostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80", "socks5": "1080", "socks5h": "1080"}[u.Scheme]
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
		CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521},
		Time:             now,
	}
}

// Forget drops connections and the trusted roots, which nobody needs for the
// next hours. TLS sessions stay, so that the next handshake is a short one.
// While a call is under way Forget does nothing: the next call may be a moment
// away.
func (c *Client) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls == 0 {
		c.pool = nil
		c.drop()
	}
}

// Drop makes later calls use new connections: the present ones may be dead.
// Calls under way go on.
func (c *Client) Drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop()
}

func (c *Client) drop() {
	if c.carrier != nil {
		c.carrier.CloseIdleConnections()
		c.carrier = nil
	}
}

// begin notes a call, and returns what carries it, by which proxy. That is made
// by the first call, since only a call needs the roots.
func (c *Client) begin() (carrier, *url.URL, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls++
	now := c.now()
	if age := now.Sub(c.made); age < 0 || age >= renewAfter {
		c.drop()
	}
	if c.carrier != nil {
		return c.carrier, c.via, nil
	}
	var err error
	if c.via, err = c.proxy(&http.Request{URL: c.endpoint}); err != nil {
		return nil, nil, err
	}
	if c.pool == nil {
		if c.pool, err = c.roots.pool(); err != nil {
			return nil, c.via, &Error{Kind: Offline, Detail: err.Error(), err: err}
		}
	}
	config := TLSConfig(c.now)
	config.RootCAs, config.ClientSessionCache = c.pool, c.sessions
	c.made = now
	foreign := strings.ContainsFunc(c.endpoint.Host, func(r rune) bool { return r >= utf8.RuneSelf })
	if c.via == nil && !foreign {
		c.carrier = newDirect(c.endpoint, c.dialer, config)
	} else {
		c.carrier = c.newTransport(config)
	}
	return c.carrier, c.via, nil
}

// newTransport returns a carrier that uses the proxy, if there is one, and knows
// what DNS and certificates make of a name in another script.
func (c *Client) newTransport(config *tls.Config) *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyURL(c.via),
		ProxyConnectHeader:     http.Header{"User-Agent": {c.userAgent}},
		OnProxyConnectResponse: AcceptTunnel,
		DialContext:            c.dialer.DialContext,
		// A call ends in its time; this ends a handshake that the transport
		// goes on with.
		TLSHandshakeTimeout:    c.timeout,
		TLSClientConfig:        config,
		IdleConnTimeout:        idleTimeout,
		MaxIdleConnsPerHost:    keptConns,
		ReadBufferSize:         linkBuffer,
		WriteBufferSize:        linkBuffer,
		MaxResponseHeaderBytes: maxHeader,
		DisableCompression:     true,
		// The server also offers HTTP/2. For a few calls HTTP/1.1 does the same
		// in half a megabyte less.
	}
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
