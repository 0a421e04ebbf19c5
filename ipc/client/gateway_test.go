package client

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tvpassd/tvpassd/ipc"
)

// fakeGateway answers calls with what a daemon of an endpoint would answer, and
// remembers them.
type fakeGateway struct {
	mu       sync.Mutex // guards what follows
	endpoint string
	calls    []string
	header   http.Header // of the last call
}

func (g *fakeGateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if r.URL.Path == "/v1/status" {
		fmt.Fprintf(w, `{"endpoint":%q}`, g.endpoint)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(err)
	}
	g.calls = append(g.calls, strings.TrimSpace(r.Method+" "+r.RequestURI+" "+string(body)))
	g.header = r.Header
	h := w.Header()
	h.Set("Tvpassd-Endpoint", g.endpoint)
	h.Set("Proxy-Status", "tvpassd; received-status=200")
	switch {
	case strings.Contains(r.URL.Path, "/logout/"):
		conn, _, err := http.NewResponseController(w).Hijack() // what was asked for has been done
		if err != nil {
			panic(err)
		}
		conn.Close()
	case strings.Contains(r.URL.Path, "/refused"):
		h.Set("Proxy-Status", "tvpassd; received-status=401")
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"code":"invalid_access_token_client_application"}`)
	case strings.Contains(r.URL.Path, "/throttled"):
		h.Del("Tvpassd-Endpoint")
		h.Set("Proxy-Status", "tvpassd; error=connection_limit_reached")
		h.Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprint(w, `{"title":"t","status":503,"detail":"wait","code":"throttled","retry_after_ms":1500,"sent":false}`)
	case strings.Contains(r.URL.Path, "/old-daemon"):
		h.Del("Proxy-Status")
	default:
		fmt.Fprint(w, "the answer")
	}
}

// newGateway serves a fake gateway, and returns a client whose calls go through
// it.
func newGateway(t *testing.T, app string) (*fakeGateway, *http.Client) {
	t.Helper()
	g := &fakeGateway{endpoint: "https://sp.example"}
	c := &Client{Socket: filepath.Join(t.TempDir(), "s")}
	t.Cleanup(c.Close)
	l, err := net.Listen("unix", c.Socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: g}
	t.Cleanup(func() { server.Close() })
	go func() { _ = server.Serve(l) }() // it ends with the test
	return g, &http.Client{Transport: &Gateway{Client: c, App: app}}
}

// took returns the calls that have come since.
func (g *fakeGateway) took() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	calls := g.calls
	g.calls = nil
	return calls
}

func (g *fakeGateway) move(endpoint string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.endpoint = endpoint
}

// The URLs of the endpoint are used as they are, with method, headers and body.
func TestGateway(t *testing.T) {
	g, pass := newGateway(t, "ref30")
	resp, err := pass.Get("https://sp.example/api/v2/REF30/profiles/A%2Db?x=1&y=%20")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || resp.StatusCode != 200 || string(body) != "the answer" || resp.Request.URL.Host != "sp.example" {
		t.Errorf("%s %q, %v, of %v", resp.Status, body, err, resp.Request.URL)
	}
	if _, named := g.header["User-Agent"]; named {
		t.Errorf("a User-Agent that the player did not choose: %v", g.header)
	}
	req, err := http.NewRequest("POST", "https://SP.example/api/v2/REF30/sessions", strings.NewReader("mvpd=Cablevision"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("User-Agent", "player/1")
	resp, err = pass.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if g.header.Get("Content-Type") != "application/x-www-form-urlencoded" || g.header.Get("User-Agent") != "player/1" {
		t.Errorf("the headers arrive as %v", g.header)
	}
	want := []string{
		"GET /v1/apps/ref30/api/v2/REF30/profiles/A%2Db?x=1&y=%20",
		"POST /v1/apps/ref30/api/v2/REF30/sessions mvpd=Cablevision",
	}
	if diff := cmp.Diff(want, g.took()); diff != "" {
		t.Error(diff)
	}
}

// A player that may use one app need not name it; an endpoint may have a path, and
// may change while the player runs.
func TestGatewayFollowsTheEndpoint(t *testing.T) {
	g, pass := newGateway(t, "")
	for _, endpoint := range []string{"https://sp.example", "http://127.0.0.1:8080/lab", "https://sp.example"} {
		g.move(endpoint)
		resp, err := pass.Get(endpoint + "/api/v2/REF30/configuration")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if diff := cmp.Diff([]string{"GET /v1/api/v2/REF30/configuration"}, g.took()); diff != "" {
			t.Errorf("%s: %s", endpoint, diff)
		}
	}
}

// A URL may name the port that its scheme implies, and so may the endpoint.
func TestGatewayKnowsTheUsualPort(t *testing.T) {
	g, pass := newGateway(t, "ref30")
	for endpoint, url := range map[string]string{
		"https://sp.example":     "https://sp.example:443",
		"https://sp.example:443": "HTTPS://sp.example",
		"http://[::1]":           "http://[::1]:80",
	} {
		g.move(endpoint)
		resp, err := pass.Get(url + "/api/v2/REF30/configuration")
		if err != nil {
			t.Errorf("%s at the endpoint %s: %v", url, endpoint, err)
			continue
		}
		resp.Body.Close()
	}
}

// closed notes that a body was closed.
type closed struct {
	io.Reader
	yes bool
}

func (c *closed) Close() error { c.yes = true; return nil }

// A request that is not a call at the endpoint is not sent.
func TestGatewayRefusesOtherURLs(t *testing.T) {
	g, pass := newGateway(t, "ref30")
	for _, url := range []string{
		"https://other.example/api/v2/REF30/sessions", "http://sp.example/api/v2/REF30/sessions",
		"https://sp.example:444/api/v2/REF30/sessions", "https://sp.example/adobe-services/logout",
		"https://sp.example/o/client/token", "https://sp.example/x/api/v2/REF30/sessions",
	} {
		body := &closed{Reader: strings.NewReader("mvpd=Cablevision")}
		resp, err := pass.Post(url, "application/x-www-form-urlencoded", body)
		if err == nil {
			resp.Body.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "https://sp.example/api/v2/") || !body.yes {
			t.Errorf("%s: error %v, body closed: %v", url, err, body.yes)
		}
	}
	if calls := g.took(); len(calls) > 0 {
		t.Errorf("they reached the gateway: %v", calls)
	}
}

// A refusal is an answer of the server; an error means that there is no answer.
func TestGatewayTellsAnswersFromErrors(t *testing.T) {
	_, pass := newGateway(t, "ref30")
	resp, err := pass.Get("https://sp.example/api/v2/refused")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 401 {
		t.Errorf("%s, want the server's 401", resp.Status)
	}
	_, err = pass.Get("https://sp.example/api/v2/throttled")
	if p, ok := errors.AsType[*ipc.Problem](err); !ok || p.Code != ipc.CodeThrottled || p.RetryAfterMS != 1500 ||
		p.Sent == nil || *p.Sent {
		t.Errorf("%v, want the daemon's problem", err)
	}
	if _, err = pass.Get("https://sp.example/api/v2/old-daemon"); err == nil {
		t.Error("an answer that does not say whose it is was taken for the server's")
	}
	_, err = pass.Head("https://sp.example/api/v2/x") // an answer to it would have no body
	if p, ok := errors.AsType[*ipc.Problem](err); !ok || p.Code != ipc.CodeMethodNotAllowed {
		t.Errorf("HEAD: %v, want a problem", err)
	}
	nobody := http.Client{Transport: &Gateway{Client: &Client{Socket: filepath.Join(t.TempDir(), "s")}}}
	if _, err := nobody.Get("https://sp.example/api/v2/x"); !errors.Is(err, ErrNotRunning) {
		t.Errorf("%v, want %v", err, ErrNotRunning)
	}
}

// A call whose connection breaks is never sent again, not even if the
// connection was a kept one: the server may have acted on it.
func TestGatewayRepeatsNothing(t *testing.T) {
	g, pass := newGateway(t, "ref30")
	for range 3 {
		resp, err := pass.Get("https://sp.example/api/v2/REF30/configuration")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		g.took()
		if _, err := pass.Get("https://sp.example/api/v2/REF30/logout/Cablevision"); err == nil {
			t.Error("no error of a connection that broke")
		}
		if calls := g.took(); len(calls) != 1 {
			t.Errorf("the logout was sent %d times", len(calls))
		}
	}
}
