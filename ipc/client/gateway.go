package client

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/tvpassd/tvpassd/ipc"
)

// apiPrefix begins the path of every call of the REST API V2.
const apiPrefix = "/api/v2/"

// Gateway sends calls of the REST API V2 through the daemon's gateway, as the
// Transport of an http.Client. URLs are those of the daemon's endpoint, as they
// are, such as https://sp.auth.adobe.com/api/v2/REF30/configuration. The daemon
// adds the access token and the headers of the device, waits for the throttle,
// and deals with 401 and 429: a player sends one request and repeats none.
//
// The answers are the server's. If the daemon has no answer of the server, the
// error is an [*ipc.Problem], whose field Sent says whether a repeat is safe. The
// other errors are those of [Client]. A URL of any other place is an error, and
// so is one that a browser must open (authenticate).
//
// The zero value works for a user who may use exactly one app. A Gateway is safe
// for concurrent use.
type Gateway struct {
	Client *Client // nil uses ipc.DefaultSocket
	App    string  // "" is the one app that the caller may use

	own Client

	mu       sync.Mutex
	endpoint string // guarded by mu: the daemon's, "" until it is known
}

// RoundTrip sends a request, which it does not change. The header "Prefer:
// wait=30" has it wait for token and throttle for up to 30 s; without one that is
// 10 s.
func (g *Gateway) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := g.roundTrip(req)
	if resp == nil && req.Body != nil {
		req.Body.Close()
	}
	return resp, err
}

func (g *Gateway) roundTrip(req *http.Request) (*http.Response, error) {
	path, err := g.path(req.Context(), req.URL)
	if err != nil {
		return nil, err
	}
	resp, err := g.client().forward(req, g.App, path)
	if err != nil {
		return nil, err
	}
	resp.Request = req
	g.setEndpoint(resp.Header.Get("Tvpassd-Endpoint"))
	return resp, nil
}

// path returns what stands behind /api/v2/ in a URL of the daemon's endpoint.
func (g *Gateway) path(ctx context.Context, u *url.URL) (string, error) {
	g.mu.Lock()
	endpoint := g.endpoint
	g.mu.Unlock()
	if path, ok := behind(endpoint, u); ok {
		return path, nil
	}
	st, err := g.client().Status(ctx) // a reload may have changed it
	if err != nil {
		return "", err
	}
	g.setEndpoint(st.Endpoint)
	path, ok := behind(st.Endpoint, u)
	if !ok {
		return "", fmt.Errorf("%s is not a call of the REST API V2 at the endpoint of tvpassd: "+
			"use URLs that begin with %s%s", u.Redacted(), st.Endpoint, apiPrefix)
	}
	return path, nil
}

func (g *Gateway) setEndpoint(endpoint string) {
	if endpoint == "" {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.endpoint = endpoint
}

func (g *Gateway) client() *Client { return cmp.Or(g.Client, &g.own) }

// behind returns what follows the endpoint and /api/v2/ in a URL, with its query,
// and reports whether the URL is such a one.
func behind(endpoint string, u *url.URL) (path string, ok bool) {
	base, err := url.Parse(endpoint)
	if err != nil || !strings.EqualFold(u.Scheme, base.Scheme) || !strings.EqualFold(host(u), host(base)) {
		return "", false
	}
	path, ok = strings.CutPrefix(u.EscapedPath(), base.EscapedPath()+apiPrefix)
	if u.RawQuery != "" {
		path += "?" + u.RawQuery
	}
	return path, ok
}

// host returns the host of a URL, without the port that its scheme implies.
func host(u *url.URL) string {
	usual := map[string]string{"http": ":80", "https": ":443"}
	return strings.TrimSuffix(u.Host, usual[strings.ToLower(u.Scheme)])
}

// Call sends a call of the REST API V2 through the daemon's gateway, and returns
// the server's answer, whatever its status. The path is what stands behind
// /api/v2/, such as REF30/configuration, with a query if there is one. The caller
// must close the body of the answer. Errors are those of [Gateway].
func (c *Client) Call(ctx context.Context, app, method, path string, header http.Header,
	body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://tvpassd/", body)
	if err != nil {
		return nil, fmt.Errorf("ask tvpassd: %w", err)
	}
	req.Header = header.Clone()
	return c.forward(req, app, path)
}

// forward sends a request to the gateway. It makes a connection of its own for
// each: on one that was kept, net/http would repeat a request whose connection
// breaks, and a repeated logout, for example, acts at the server.
func (c *Client) forward(req *http.Request, app, path string) (*http.Response, error) {
	if req.Method == http.MethodHead { // its answer has no body to say so
		return nil, ipc.NewProblem(ipc.CodeMethodNotAllowed, "the gateway takes GET and POST")
	}
	to, err := url.Parse("http://tvpassd" + appPath(app, "api/v2/") + path)
	if err != nil {
		return nil, fmt.Errorf("ask tvpassd: %w", err)
	}
	out := req.WithContext(req.Context()) // a copy, of which only what follows is changed
	out.URL, out.Host, out.GetBody = to, "", nil
	if out.Header = out.Header.Clone(); out.Header == nil {
		out.Header = http.Header{}
	}
	if _, named := out.Header["User-Agent"]; !named {
		out.Header["User-Agent"] = nil // the daemon's own, rather than that of net/http
	}
	c.connection() // makes both transports
	resp, err := c.calls.RoundTrip(out)
	if err != nil {
		return nil, unanswered(err)
	}
	if strings.Contains(resp.Header.Get("Proxy-Status"), "received-status=") {
		return resp, nil
	}
	defer resp.Body.Close() // the daemon's own: it has no answer of the server
	if err := finish(resp, nil); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("ask tvpassd: it answered %s without the header Proxy-Status", resp.Status)
}
