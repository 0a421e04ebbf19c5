package gateway_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tvpassd/tvpassd/daemon/dcr"
	"github.com/tvpassd/tvpassd/daemon/dcr/dcrtest"
	"github.com/tvpassd/tvpassd/daemon/gateway"
	"github.com/tvpassd/tvpassd/daemon/throttle"
	"github.com/tvpassd/tvpassd/ipc/server"
)

// forgetful is a memory of the gate that keeps nothing.
type forgetful struct{}

func (forgetful) Load() (throttle.State, error) { return throttle.State{}, fs.ErrNotExist }
func (forgetful) Save(throttle.State) error     { return nil }

// tokens are access tokens: after each report another one.
type tokens struct {
	mu      sync.Mutex // guards what follows
	reports int
	waits   []time.Duration // that were asked for
	asked   func()          // is called when a token is asked for; nil for nothing
}

func (s *tokens) Token(_ context.Context, _ string, wait time.Duration) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waits = append(s.waits, wait)
	if s.asked != nil {
		s.asked()
	}
	return "t0ken" + strings.Repeat("+", s.reports), nil
}

func (s *tokens) Report(context.Context, string, string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reports++
	return nil
}

// arrival is a request that has come to the server.
type arrival struct {
	*http.Request
	body string
}

// rig is the way of a request from the socket to the server, without a daemon.
type rig struct {
	socket   string
	endpoint string
	roots    *x509.CertPool // of the endpoint
	client   *dcr.Client    // of the daemon
	tokens   tokens
	gateway  *gateway.Gateway
	think    time.Duration // of the server, for each request

	mu       sync.Mutex // guards what follows
	seen     []arrival
	now      time.Duration
	still    bool // the clock stands still
	outcomes []gateway.Outcome
	raw      func(*tls.Conn) // answers in place of the server, if there is one
}

// clock goes on by a minute at each look, so that the throttle stays open.
func (r *rig) clock() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.still {
		r.now += time.Minute
	}
	return r.now
}

func (r *rig) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	r.mu.Lock()
	r.seen = append(r.seen, arrival{req, string(body)})
	raw := r.raw
	r.mu.Unlock()
	if raw != nil {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer c.Close()
		raw(c.(*tls.Conn))
	}
	for began := time.Now(); time.Since(began) < r.think; {
	}
}

// take returns the requests that have come, and forgets them.
func (r *rig) take() []arrival {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := r.seen
	r.seen = nil
	return seen
}

func (r *rig) ended(o *gateway.Outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.outcomes = append(r.outcomes, *o)
}

func newRig(tb testing.TB) *rig {
	tb.Helper()
	dir, err := os.MkdirTemp("", "rig") // a socket's path is short
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { os.RemoveAll(dir) })
	r := &rig{socket: filepath.Join(dir, "sock"), now: time.Hour}
	upstream, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	ca, cert, err := dcrtest.NewCA(time.Now())
	if err != nil {
		tb.Fatal(err)
	}
	r.roots = x509.NewCertPool()
	r.roots.AppendCertsFromPEM(ca)
	web := &http.Server{Handler: r}
	go web.Serve(tls.NewListener(upstream, &tls.Config{Certificates: []tls.Certificate{cert}}))
	tb.Cleanup(func() { web.Close() })
	endpoint := "https://" + upstream.Addr().String()
	r.endpoint = endpoint
	r.client, err = dcr.New(dcr.Config{
		Endpoint: endpoint, Timeout: time.Minute, UserAgent: "tvpassd/1", Now: time.Now,
		CAFile: "ca.pem", ReadFile: func(string) ([]byte, error) { return ca, nil },
		DeviceInfo: func(application string, _ netip.AddrPort) string { return "info of " + application },
	})
	if err != nil {
		tb.Fatal(err)
	}
	line := throttle.NewLine(throttle.New("boot", r.clock(), forgetful{}), r.clock,
		func(d time.Duration, f func()) throttle.Timer { return time.AfterFunc(d, f) })
	r.gateway = gateway.New(gateway.Config{
		Tokens: &r.tokens, Line: line, Identifier: func() string { return "fingerprint x" }, Version: "1", Now: r.clock,
		Awake: func() func() { return func() {} }, Ended: r.ended,
	})
	r.gateway.Adopt(r.settings())
	policy := &server.Policy{Apps: map[string]server.Allow{"one": {Everyone: true}}}
	s := server.New(server.Config{
		Policy: func() *server.Policy { return policy }, Gateway: r.gateway, Log: slog.New(slog.DiscardHandler),
		Now: time.Now,
	})
	listener, err := server.Listen(server.SocketOptions{Path: r.socket, Mode: 0o600})
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, listener) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			tb.Error(err)
		}
	})
	return r
}

// settings are those that the rig begins with.
func (r *rig) settings() *gateway.Settings {
	return &gateway.Settings{
		Enabled: true, Endpoint: r.endpoint, Timeout: time.Minute, Upstream: r.client, Apps: map[string]string{"one": "ONE"},
	}
}

// send sends bytes to the socket, and waits until the connection has ended.
func (r *rig) send(t *testing.T, request []byte) string {
	t.Helper()
	c, err := net.Dial("unix", r.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go func() { // the answer may come before all of it is read
		_, _ = c.Write(request)
		_ = c.(*net.UnixConn).CloseWrite()
	}()
	answer, err := io.ReadAll(c)
	if err != nil && !errors.Is(err, net.ErrClosed) && !strings.Contains(err.Error(), "reset by peer") {
		t.Fatal(err)
	}
	return string(answer)
}

var (
	goodPath  = regexp.MustCompile(`^/api/v2(/[A-Za-z0-9._~-]+){1,8}$`)
	longName  = regexp.MustCompile(`[^/]{129}`)
	dots      = regexp.MustCompile(`/\.\.?(/|$)`)
	goodQuery = regexp.MustCompile(`^([A-Za-z0-9._~=&-]|%[0-9A-F]{2})*$`)
	goodName  = regexp.MustCompile(`^(Ap|Ad|Adobe|X-Roku-Reserved)-[A-Za-z0-9-]*$`)
)

// Whatever comes on the socket, only calls of the API leave, with the daemon's
// three headers and nothing that the gateway does not know.
func FuzzSocketToServer(f *testing.F) {
	for _, seed := range []string{
		"GET /v1/apps/one/api/v2/R/configuration?a=b HTTP/1.1\r\nHost: x\r\nAP-X: y\r\n\r\n",
		"POST /v1/api/v2/R/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nAuthorization: Bearer x\r\n\r\na=b",
		"POST /v1/apps/one/api/v2/R HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: AP-X\r\n\r\n" +
			"3\r\na=b\r\n0\r\n\r\n",
		"GET /v1/apps/one/api/v2/../../o/client/token HTTP/1.1\r\nHost: x\r\n\r\n" +
			"GET /v1/api/v2/x HTTP/1.0\r\nX_Device-Info: x\r\n\r\n",
		"GET http://evil/v1/apps/one/api/v2/x HTTP/1.1\r\nHost: x\r\nAccept-Encoding: br\r\nPrefer: wait=0\r\n\r\n",
		"GET /v1/apps/one/api/v2/authenticate/R/C%2f..?%zz;b HTTP/1.1\r\n" +
			"Host: x\r\nContent-Length: 1\r\nX-Forwarded-For: y\r\n\r\nx",
	} {
		f.Add([]byte(seed))
	}
	r := newRig(f)
	f.Fuzz(func(t *testing.T, request []byte) {
		r.send(t, request)
		for _, got := range r.take() {
			check(t, got.Request)
		}
	})
}

// check judges a request that has come to the server.
func check(t *testing.T, r *http.Request) {
	t.Helper()
	path, query, _ := strings.Cut(r.RequestURI, "?")
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/api/v2/"), "/")
	if !goodPath.MatchString(path) || longName.MatchString(path) || dots.MatchString(path) || first == "authenticate" {
		t.Errorf("the path %q has left", path)
	}
	if !goodQuery.MatchString(query) {
		t.Errorf("the query %q has left", query)
	}
	if r.Method != http.MethodGet && r.Method != http.MethodPost || r.Proto != "HTTP/1.1" || len(r.TransferEncoding) > 0 {
		t.Errorf("%s %s %v has left", r.Method, r.Proto, r.TransferEncoding)
	}
	own := map[string]string{
		"Authorization": "Bearer t0ken", "Ap-Device-Identifier": "fingerprint x", "X-Device-Info": "info of ONE",
	}
	for name, values := range r.Header {
		want, isOwn := own[name]
		delete(own, name)
		switch {
		case len(values) != 1 || len(values[0]) > 8<<10 || isOwn && values[0] != want:
			t.Errorf("%s has left: %q", name, values)
		case isOwn || goodName.MatchString(name):
		case name == "Content-Length" || name == "User-Agent" || name == "Content-Type" || name == "Accept" ||
			name == "Accept-Language" || name == "Accept-Encoding":
		default:
			t.Errorf("%s has left: %q", name, values)
		}
	}
	if len(own) > 0 {
		t.Errorf("%v are missing", own)
	}
}
