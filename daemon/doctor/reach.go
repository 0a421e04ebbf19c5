package doctor

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/tvpassd/tvpassd/daemon/config"
	"github.com/tvpassd/tvpassd/daemon/dcr"
)

// reach is what one request to the server shows, stage by stage. It uses the
// same look-up, library, roots and proxy as the daemon's own calls.
type reach struct {
	host    string   // of the endpoint
	proxy   *url.URL // nil for none
	address string   // that was resolved and connected to: the proxy's or the server's
	dialer  *dcr.Dialer
	err     error // why there is no answer, whatever the stage

	rootsErr error // of reading ca_file

	mu         sync.Mutex // the transport's goroutines may go on after the request was given up
	asked      bool       // the name was looked up
	resolved   []string
	nameFaults []string // what name servers did wrong
	peer       string   // that took the connection
	dialErr    error
	shakes     int // TLS handshakes that have begun

	tls    *tls.ConnectionState // as far as it came
	root   *x509.Certificate    // nil if this device trusts none
	from   string               // where that root is
	tlsErr error

	answer *http.Response // of the server itself, as far as cryptography can tell; its body is closed
	body   []byte         // the beginning
	sentAt time.Time
	at     time.Time // when the answer came
}

// ask makes the one request: POST /o/client/token with a grant type and nothing
// else. It costs one of the throttle's requests, and is worth it: of all calls
// without a secret only this one has a documented answer (400 with the code
// invalid_request, "Retrieve access token"). So it distinguishes Adobe Pass
// from a portal, a wrong host or a proxy with a certificate, and it shows the
// throttle. GET / is outside the throttle, but no page says what it answers.
func (r *reach) ask(ctx context.Context, conf *config.Config, proxy func(*http.Request) (*url.URL, error),
	agent string, now func() time.Time,
) {
	places, err := dcr.RootsByPlace(conf.HTTP.CAFile, config.ReadRoots) // a second on a slow device
	r.rootsErr = err
	ctx, cancel := context.WithTimeout(ctx, serverPatience)
	defer cancel()
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, r.trace()), http.MethodPost,
		conf.Endpoint+"/o/client/token", strings.NewReader("grant_type=client_credentials"))
	if err != nil {
		r.err = err
		return
	}
	req.Header = http.Header{
		"Content-Type": {"application/x-www-form-urlencoded"}, "Accept": {"application/json"}, "User-Agent": {agent},
	}
	r.host, r.address = req.URL.Hostname(), dcr.HostPort(req.URL)
	if r.proxy = conf.HTTP.Proxy; r.proxy == nil && proxy != nil {
		r.proxy, _ = proxy(req) // judgeProxy reports the error
	}
	if r.proxy != nil {
		r.address = dcr.HostPort(r.proxy)
		if misread(r.proxy) {
			r.err = errors.New("the proxy is misread")
			return
		}
	}
	r.dialer = &dcr.Dialer{Server: dcr.ServerOf(req.URL), Timeout: serverPatience, Now: now}
	tlsConfig := dcr.TLSConfig(now)
	// VerifyConnection does it all, and says more than crypto/tls about a chain
	// that is not trusted.
	tlsConfig.InsecureSkipVerify, tlsConfig.VerifyConnection = true, r.verifier(places, now)
	transport := &http.Transport{
		Proxy:                  http.ProxyURL(r.proxy),
		OnProxyConnectResponse: dcr.AcceptTunnel,
		DialContext:            r.dialer.DialContext,
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: 64 << 10, // as the daemon
		TLSClientConfig:        tlsConfig,
	}
	r.exchange(transport, req, now)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.nameFaults = r.dialer.Faults()
}

func (r *reach) exchange(transport http.RoundTripper, req *http.Request, now func() time.Time) {
	sentAt := now()
	resp, err := transport.RoundTrip(req)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.err = err
		return
	}
	defer resp.Body.Close()
	r.answer, r.sentAt, r.at = resp, sentAt, now()
	r.body, _ = io.ReadAll(io.LimitReader(resp.Body, 64<<10)) // a part is enough to judge
}

// trace notes the stages as they pass.
func (r *reach) trace() *httptrace.ClientTrace {
	note := func(f func()) {
		r.mu.Lock()
		defer r.mu.Unlock()
		f()
	}
	return &httptrace.ClientTrace{
		DNSStart: func(httptrace.DNSStartInfo) { note(func() { r.asked = true }) },
		DNSDone: func(info httptrace.DNSDoneInfo) {
			note(func() {
				for _, a := range info.Addrs {
					r.resolved = append(r.resolved, a.String())
				}
			})
		},
		ConnectDone: func(_, addr string, err error) {
			note(func() {
				if err == nil {
					r.peer = addr
				} else {
					r.dialErr = err
				}
			})
		},
		TLSHandshakeStart: func() { note(func() { r.shakes++ }) },
		TLSHandshakeDone: func(_ tls.ConnectionState, err error) {
			note(func() {
				if r.tlsErr == nil {
					r.tlsErr = err
				}
			})
		},
	}
}

// refused returns the HTTP status of a proxy that does not connect; 0 if there is
// none.
func (r *reach) refused() int {
	if refusal, ok := errors.AsType[*dcr.ProxyRefusal](r.err); ok {
		return refusal.Status
	}
	return 0
}

// tunneled reports whether the proxy, if there is one, has connected to the
// server. The first handshake with an https proxy is its own.
func (r *reach) tunneled() bool {
	own := 0
	if r.proxy != nil && r.proxy.Scheme == "https" {
		own = 1
	}
	return r.proxy == nil || r.answer != nil || r.shakes > own
}

// verifier checks a chain as the daemon does, and notes which root it leads to,
// and where that root is. Nothing is sent to a peer that fails here.
func (r *reach) verifier(places []dcr.Roots, now func() time.Time) func(tls.ConnectionState) error {
	toProxy := r.proxy != nil && r.proxy.Scheme == "https" // then the first handshake is with the proxy
	return func(cs tls.ConnectionState) error {
		name := r.host
		if toProxy {
			name, toProxy = r.proxy.Hostname(), false
		}
		opts := x509.VerifyOptions{DNSName: name, CurrentTime: now(), Intermediates: x509.NewCertPool()}
		for _, cert := range cs.PeerCertificates[1:] {
			opts.Intermediates.AddCert(cert)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.tls = &cs
		var worst error
		for _, place := range places {
			opts.Roots = place.Pool
			chains, err := cs.PeerCertificates[0].Verify(opts)
			if err == nil {
				r.root, r.from = chains[0][len(chains[0])-1], place.Place
				return nil
			}
			// An unknown authority is the least specific error: keep another place's.
			if _, unknown := err.(x509.UnknownAuthorityError); worst == nil || !unknown {
				worst = err
			}
		}
		r.tlsErr = worst
		return worst
	}
}

// blocked returns the error of a DNS blocker's answer; nil if that is not what
// happened.
func (r *reach) blocked() *dcr.BlockedError {
	blocked, _ := errors.AsType[*dcr.BlockedError](r.err)
	return blocked
}

// date returns the server's clock at the moment of its answer.
func (r *reach) date() (time.Time, bool) {
	if r.answer == nil {
		return time.Time{}, false
	}
	date, err := http.ParseTime(r.answer.Header.Get("Date"))
	return date, err == nil
}

// findPortal asks for a page without TLS, as a browser would: a captive portal
// shows itself there. It returns what answers in the server's place, "" if that is
// the server itself, and whether there was an answer. The request is outside the
// throttle.
func (r *reach) findPortal(ctx context.Context, page string) (what string, answered bool) {
	ctx, cancel := context.WithTimeout(ctx, portalPatience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, page, nil)
	if err != nil {
		return "", false
	}
	transport := &http.Transport{DialContext: r.dialer.DialContext, DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req) // no redirect is followed
	if err != nil {
		return "", false
	}
	resp.Body.Close()
	to := location(resp)
	switch {
	case to != nil && to.Hostname() != r.host && to.Hostname() != req.URL.Hostname():
		what = "redirects to " + to.Scheme + "://" + to.Host
	case resp.StatusCode == http.StatusNetworkAuthenticationRequired:
		what = "wants a sign-in to the network (HTTP 511)"
	case resp.StatusCode == http.StatusOK && isHTML(resp):
		what = "answers with a page of its own"
	}
	return what, true
}

// location returns the scheme and host to which an answer redirects, nil if it does
// not.
func location(resp *http.Response) *url.URL {
	text := resp.Header.Get("Location")
	to, err := url.Parse(text)
	if err != nil || text == "" {
		return nil
	}
	from := resp.Request.URL
	return &url.URL{Scheme: cmp.Or(to.Scheme, from.Scheme), Host: cmp.Or(to.Host, from.Host)}
}

func isHTML(resp *http.Response) bool {
	return strings.HasPrefix(strings.ToLower(resp.Header.Get("Content-Type")), "text/html")
}
