// Package client makes requests to a running tvpassd over its Unix socket. The
// commands use it, and so may players written in Go, which begin with [Gateway].
//
// It owns the way to the socket and the errors of that way. The types are those of
// package ipc, and so is the error that the daemon answers with: [*ipc.Problem].
package client

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"sync"
	"syscall"
	"time"

	"github.com/tvpassd/tvpassd/ipc"
)

var (
	// ErrNotRunning means that nobody listens on the socket.
	ErrNotRunning = errors.New("tvpassd is not running")
	// ErrPermission means that this user may not open the socket.
	ErrPermission = errors.New("no permission on the socket of tvpassd")
)

// maxAnswer is the longest answer, or event, that is read, in bytes.
const maxAnswer = 4 << 20

// Client makes requests to the daemon. Its zero value uses [ipc.DefaultSocket]. It
// is safe for concurrent use, and keeps connections for the next request. Socket
// must not change after the first request.
//
// For [Client.Token] and [Client.Headers] an empty app is the one app that the
// caller may use. Every method returns an [*ipc.Problem] if the daemon refuses,
// [ErrNotRunning], [ErrPermission] or the error of its context, which is the only
// limit of time.
type Client struct {
	Socket string

	once      sync.Once
	transport *http.Transport // for requests that the daemon answers itself
	calls     *http.Transport // for calls through the gateway
}

// Token returns a token. A nil query is the daemon's default.
func (c *Client) Token(ctx context.Context, app string, q *ipc.Query) (tok ipc.Token, err error) {
	err = c.call(ctx, http.MethodGet, appPath(app, "token")+encode(q), nil, &tok)
	return tok, err
}

// Headers returns the headers of a REST API V2 call. A nil query is the daemon's
// default.
func (c *Client) Headers(ctx context.Context, app string, q *ipc.Query) (h ipc.Headers, err error) {
	err = c.call(ctx, http.MethodGet, appPath(app, "headers")+encode(q), nil, &h)
	return h, err
}

// Report tells the daemon that a protected API refused a token. It returns
// [ipc.ActionNone], [ipc.ActionRefresh] or [ipc.ActionRegister].
func (c *Client) Report(ctx context.Context, app string, r ipc.Report) (action string, err error) {
	body, err := json.Marshal(r)
	if err != nil {
		return "", fmt.Errorf("encode the report: %w", err)
	}
	var answer ipc.ReportAnswer
	err = c.call(ctx, http.MethodPost, appPath(app, "report"), body, &answer)
	return answer.Action, err
}

// Device returns what the server is told about the device.
func (c *Client) Device(ctx context.Context) (d ipc.Device, err error) {
	err = c.call(ctx, http.MethodGet, "/v1/device", nil, &d)
	return d, err
}

// Status returns the state of the daemon and of the caller's apps.
func (c *Client) Status(ctx context.Context) (st ipc.Status, err error) {
	err = c.call(ctx, http.MethodGet, "/v1/status", nil, &st)
	return st, err
}

// Healthz reports whether every app of the caller has a usable token, and returns
// their state.
func (c *Client) Healthz(ctx context.Context) (healthy bool, st ipc.Status, err error) {
	resp, err := c.do(ctx, http.MethodGet, "/v1/healthz", nil)
	if err != nil {
		return false, st, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Content-Type") == "application/json" {
		return false, st, decode(resp, &st)
	}
	return true, st, finish(resp, &st)
}

// Refresh has the daemon fetch a token now. It is for admins, as are Reset and Reload.
func (c *Client) Refresh(ctx context.Context, app string) error {
	return c.call(ctx, http.MethodPost, appPath(app, "refresh"), nil, nil)
}

// Reset has the daemon forget an app's client credentials and register it again:
// its viewers must sign in again.
func (c *Client) Reset(ctx context.Context, app string) error {
	return c.call(ctx, http.MethodDelete, appPath(app, "credentials"), nil, nil)
}

// Reload has the daemon read its configuration again.
func (c *Client) Reload(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/v1/reload", nil, nil)
}

// Accept is Reload, and lets the file in apps.d that waits for an app's id take it
// over from another user's, with the client credentials.
func (c *Client) Accept(ctx context.Context, app string) error {
	return c.call(ctx, http.MethodPost, "/v1/reload?accept="+url.QueryEscape(app), nil, nil)
}

// Configuration returns what is known of the configuration in force. It is for
// admins.
func (c *Client) Configuration(ctx context.Context) (conf ipc.Configuration, err error) {
	err = c.call(ctx, http.MethodGet, "/v1/config", nil, &conf)
	return conf, err
}

// Close closes the connections that are kept. The client may be used again.
func (c *Client) Close() { c.connection().CloseIdleConnections() }

func appPath(app, name string) string {
	if app == "" && (name == "token" || name == "headers" || name == "api/v2/") {
		return "/v1/" + name
	}
	return "/v1/apps/" + url.PathEscape(app) + "/" + name
}

func encode(q *ipc.Query) string {
	if q == nil {
		return ""
	}
	return "?min_ttl=" + url.QueryEscape(q.MinTTL.String()) + "&wait=" + url.QueryEscape(q.Wait.String())
}

// call makes one request and decodes its answer into v, if that is not nil.
func (c *Client) call(ctx context.Context, method, path string, body []byte, v any) error {
	resp, err := c.do(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return finish(resp, v)
}

// do sends a request. It uses the transport without an http.Client: there are no
// redirects to follow, and the errors do not repeat the made-up URL.
func (c *Client) do(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://tvpassd"+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("ask tvpassd: %w", err)
	}
	resp, err := c.connection().RoundTrip(req)
	if err != nil {
		return nil, unanswered(err)
	}
	return resp, nil
}

// unanswered returns the error of a request without an answer.
func unanswered(err error) error {
	if errors.Is(err, ErrNotRunning) || errors.Is(err, ErrPermission) { // which need no context
		return err
	}
	return fmt.Errorf("ask tvpassd: %w", err)
}

func (c *Client) connection() *http.Transport {
	c.once.Do(func() {
		dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx) }
		c.transport = &http.Transport{
			DialContext: dial, DisableCompression: true,
			IdleConnTimeout: time.Minute, // below the daemon's own
		}
		c.calls = &http.Transport{DialContext: dial, DisableCompression: true, DisableKeepAlives: true}
	})
	return c.transport
}

func (c *Client) dial(ctx context.Context) (net.Conn, error) {
	path := cmp.Or(c.Socket, ipc.DefaultSocket)
	conn, err := connect(ctx, path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("%w: nobody listens on %s; start it with `tvpassd start`, "+
			"or say where it listens with --socket", ErrNotRunning, path)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%w: %s; run this as root, or join the group that `ls -l %s` shows", ErrPermission,
			path, path)
	}
	return conn, err
}

// connect waits up to five seconds for a place in the daemon's queue: a user who
// connects in a loop fills it. A blocking connect would wait; one of Go does not.
func connect(ctx context.Context, path string) (net.Conn, error) {
	for try := 1; ; try++ {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
		if !errors.Is(err, syscall.EAGAIN) || try == 1000 {
			return conn, err
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// finish reads an answer into v, or returns the problem that it is.
func finish(resp *http.Response, v any) error {
	if resp.StatusCode/100 == 2 {
		return decode(resp, v)
	}
	if resp.Header.Get("Content-Type") != "application/problem+json" {
		return fmt.Errorf("ask tvpassd: it answered %s", resp.Status)
	}
	p := new(ipc.Problem)
	if err := decode(resp, p); err != nil {
		return err
	}
	return p
}

func decode(resp *http.Response, v any) error {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err == nil && v != nil {
		err = json.Unmarshal(body, v)
	}
	if err != nil {
		return fmt.Errorf("read the answer of tvpassd: %w", err)
	}
	return nil
}
