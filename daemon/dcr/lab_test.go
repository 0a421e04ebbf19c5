package dcr

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tvpassd/tvpassd/daemon/dcr/dcrtest"
)

// labTime is what every clock shows: far from the true time, so that
// certificates are valid only by the injected clock.
var labTime = time.Date(2031, 3, 1, 12, 0, 0, 0, time.UTC)

func labNow() time.Time { return labTime }

const (
	// labTimeout ends calls that are answered, labPatience those that are not.
	labTimeout  = time.Minute
	labPatience = 500 * time.Millisecond

	labApp        = "REF30"
	labID         = "7b1c-client"
	labSecret     = "n0body-may-read-this"
	proxyPassword = "pr0xy-passw0rd"
)

// labStatement is a software statement that the simulator accepts.
var labStatement = dcrtest.Statement("ref30")

// labDevice returns an X-Device-Info that the simulator accepts.
func labDevice(app string, local netip.AddrPort) string {
	fields := map[string]any{
		"model": "Box", "version": "1", "osName": "Linux", "osVersion": "6", "connectionType": "LAN", "applicationId": app,
	}
	if local.IsValid() {
		fields["connectionIp"], fields["connectionPort"] = local.Addr().String(), local.Port()
	}
	info, err := json.Marshal(fields)
	if err != nil {
		panic(err)
	}
	return base64.StdEncoding.EncodeToString(info)
}

// seen is a request as it arrived.
type seen struct {
	method, target, proto, remote string
	header                        http.Header
	body                          string
	resumed                       bool // the TLS session
}

// server is a server with a certificate, and the requests that came.
type server struct {
	*httptest.Server
	caFile string

	mu       sync.Mutex
	requests []seen
}

// serve runs a handler over TLS until the end of the test.
func serve(t *testing.T, h http.Handler, change ...func(*tls.Config)) *server {
	t.Helper()
	config, caFile := labTLS(t)
	for _, c := range change {
		c(config)
	}
	s := newServer(h)
	s.caFile = caFile
	s.TLS = config
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// servePlain is serve without TLS.
func servePlain(t *testing.T, h http.Handler) *server {
	t.Helper()
	s := newServer(h)
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func newServer(h http.Handler) *server {
	s := new(server)
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // the handler judges a body that broke off
		s.mu.Lock()
		s.requests = append(s.requests, seen{
			method: r.Method, target: r.RequestURI, proto: r.Proto, remote: r.RemoteAddr,
			header: r.Header.Clone(), body: string(body), resumed: r.TLS != nil && r.TLS.DidResume,
		})
		s.mu.Unlock()
		r.Body = io.NopCloser(bytes.NewReader(body))
		h.ServeHTTP(w, r)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // the tests provoke failures
	return s
}

// labTLS returns a server's TLS configuration, and the file with the root that
// a client must trust.
func labTLS(t *testing.T) (*tls.Config, string) {
	t.Helper()
	ca, cert, err := dcrtest.NewCA(labTime, "0.0.0.0", "sp.example")
	if err != nil {
		t.Fatal(err)
	}
	caFile := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(caFile, ca, 0o600); err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}, Time: labNow}, caFile
}

func (s *server) asked() []seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]seen(nil), s.requests...)
}

// client returns a client of the server.
func (s *server) client(t *testing.T, change ...func(*Config)) *Client {
	return newClient(t, s.URL, append([]func(*Config){func(c *Config) { c.CAFile = s.caFile }}, change...)...)
}

func newClient(t *testing.T, endpoint string, change ...func(*Config)) *Client {
	t.Helper()
	cfg := Config{
		Endpoint: endpoint, Timeout: labTimeout, UserAgent: "tvpassd/1.2", Now: labNow, DeviceInfo: labDevice,
	}
	for _, c := range change {
		c(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Forget)
	return c
}

func impatient(c *Config) { c.Timeout = labPatience }

// newSim returns a simulator that does not throttle.
func newSim() *dcrtest.Server {
	return dcrtest.New(dcrtest.Config{Now: labNow, NoThrottle: true})
}

var (
	labRegistration = RegisterRequest{
		SoftwareStatement: labStatement,
		RedirectURI:       "adobepass://com.programmer",
		ApplicationID:     labApp,
	}
	labTokenRequest = TokenRequest{ClientID: labID, ClientSecret: labSecret, ApplicationID: labApp}
)

// register gets credentials, in the form of a token request.
func register(t *testing.T, c *Client) TokenRequest {
	t.Helper()
	cred, err := c.Register(t.Context(), labRegistration)
	if err != nil {
		t.Fatal(err)
	}
	return TokenRequest{ClientID: cred.ClientID, ClientSecret: cred.ClientSecret, ApplicationID: labApp}
}

// failure returns the error of a call that must fail. No part of it may hold a
// secret.
func failure(t *testing.T, err error) *Error {
	t.Helper()
	e, ok := err.(*Error)
	if !ok {
		t.Fatalf("got %v (%[1]T), want an *Error", err)
	}
	text := fmt.Sprintf("%v %+v %s %s", e, e, e.Detail, e.ServerCode)
	for _, secret := range []string{labSecret, labID, labStatement, proxyPassword} {
		if strings.Contains(text, secret) {
			t.Errorf("a secret in %s", text)
		}
	}
	if !strings.HasPrefix(e.Error(), e.Kind.String()+": ") || len(e.Detail) < 10 {
		t.Errorf("the error has no detail: %q", e)
	}
	return e
}

// raw serves each connection with f until the end of the test, over TLS if
// config is not nil.
func raw(t *testing.T, config *tls.Config, f func(net.Conn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if config != nil {
		l = tls.NewListener(l, config)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				t.Error(err)
				return
			}
			all.Go(func() {
				defer conn.Close()
				f(conn)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		all.Wait()
	})
	return l.Addr().String()
}
