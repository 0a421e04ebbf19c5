package gateway

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/tvpassd/tvpassd/daemon/dcr"
	"github.com/tvpassd/tvpassd/daemon/throttle"
	"github.com/tvpassd/tvpassd/ipc"
)

// call is one call of a player.
type call struct {
	*Gateway
	ctx      context.Context
	app      string
	endpoint string       // at which it was taken on
	admit    func() error // says, after a wait, why it may no longer leave
	request  dcr.Request
	upstream Upstream      // to which it left
	budget   time.Duration // what is left of its wait
	since    time.Duration // a reading of the clock: its wait, if it waits, began then
	token    string        // the access token that it leaves with
	noToken  bool          // there is none
	sent     bool          // a byte of it may have left
	chunks   bool          // its HTTP shows that a body without a length is cut
	turn     *throttle.Turn
	outcome  Outcome
}

// Serve sends a call of an app on to the server, and writes the answer to w.
// The path is what stands behind /api/v2/. admit says, after a wait, why the
// call may no longer leave. An error is a [*ipc.Problem], or a bug.
func (g *Gateway) Serve(
	w http.ResponseWriter, r *http.Request, app, path string, body []byte, admit func() error,
) error {
	c := &call{Gateway: g, ctx: r.Context(), app: app, admit: admit, chunks: r.ProtoAtLeast(1, 1)}
	if err := c.read(r, path, body); err != nil {
		return err
	}
	g.begin()
	began := g.cfg.Now()
	c.since = began
	defer func() { // also of a panic, which cuts the answer
		c.done()
		g.end()
		c.outcome.Took = g.cfg.Now() - began - c.outcome.Waited
		g.cfg.Ended(&c.outcome)
	}()
	resp, err := c.exchange()
	if resp != nil {
		defer resp.Body.Close()
	}
	if err != nil {
		return c.failed(w.Header(), err)
	}
	return c.pass(w, resp)
}

// read reads a request. Nothing of what it refuses leaves the device.
func (c *call) read(r *http.Request, path string, body []byte) error {
	if err := checkFraming(r); err != nil {
		return err
	}
	segments, err := parsePath(r, path)
	if err != nil {
		return err
	}
	if c.request.Query, err = parseQuery(r.URL.RawQuery); err != nil {
		return err
	}
	if c.request.Header, err = buildHeader(r.Header, "tvpassd/"+c.cfg.Version); err != nil {
		return err
	}
	s := c.settings.Load()
	if s == nil {
		return paused()
	}
	c.endpoint, c.budget = s.Endpoint, parseWait(r.Header)
	c.request.Method, c.request.Path, c.request.Body = r.Method, "/api/v2/"+strings.Join(segments, "/"), body
	c.outcome.App, c.outcome.Operation = c.app, operationOf(segments)
	for _, name := range OwnHeaders {
		if r.Header[name] != nil {
			c.outcome.Ignored = append(c.outcome.Ignored, name)
		}
	}
	return nil
}

// exchange returns the server's answer to the call, even with an error if the
// caller has left. It repeats a request only after a 401 or a 429: the server did
// not act on it.
func (c *call) exchange() (*http.Response, error) {
	for renewed := false; ; renewed = true {
		if err := c.enter(); err != nil {
			return nil, err
		}
		resp, err := c.leave()
		for err == nil && resp.StatusCode == http.StatusTooManyRequests {
			resp, err = c.again(resp)
		}
		if err != nil {
			return nil, err
		}
		c.turn.Answered()
		c.took(c.app, c.token, resp.StatusCode < 300)
		if resp.StatusCode != http.StatusUnauthorized || renewed {
			return resp, nil
		}
		refusal := readRefusal(resp)
		c.done()
		if !c.renew(refusal) {
			return resp, c.ctx.Err()
		}
		_ = resp.Body.Close() // nobody reads the rest of a long one
		c.outcome.Renewed++
		c.sent = false
	}
}

// enter waits for a token and then for the call's turn. The token comes first,
// so that no turn is spent without one.
func (c *call) enter() error {
	if err := c.getToken(); err != nil {
		return err
	}
	turn, err := c.cfg.Line.Enter(c.ctx, c.app, c.budget)
	c.spend()
	if err == nil {
		c.turn = turn
	}
	return err
}

func (c *call) getToken() error {
	token, err := c.cfg.Tokens.Token(c.ctx, c.app, c.budget)
	c.spend()
	if c.noToken = err != nil; c.noToken {
		return err
	}
	c.token = token
	return nil
}

// spend takes a wait that is over off what the call may still wait. The next
// one begins, unless the call leaves.
func (c *call) spend() {
	now := c.cfg.Now()
	waited := now - c.since
	c.budget = max(c.budget-waited, 0)
	c.outcome.Waited += waited
	c.since = now
}

// leave sends the request with the app's present access token.
func (c *call) leave() (*http.Response, error) {
	if token, err := c.cfg.Tokens.Token(c.ctx, c.app, 0); err == nil { // a newer one may have come
		c.token = token
	}
	s := c.settings.Load()
	if err := c.mayLeave(s); err != nil {
		c.turn.Unused()
		return nil, err
	}
	c.request.Timeout, c.request.ApplicationID = s.Timeout, s.Apps[c.app]
	set(c.request.Header, authorization, "Bearer "+c.token)
	set(c.request.Header, "AP-Device-Identifier", c.cfg.Identifier())
	c.upstream = s.Upstream
	resp, err := c.upstream.Send(c.ctx, &c.request)
	failure, ok := errors.AsType[*dcr.Error](err)
	c.sent = !ok || failure.Sent
	return resp, err
}

// mayLeave returns why a call may no longer leave, if a reload came meanwhile.
func (c *call) mayLeave(s *Settings) error {
	switch {
	case s == nil || s.Endpoint != c.endpoint:
		return paused()
	case !s.Enabled:
		return ipc.NewProblem(ipc.CodeNotFound, "the gateway has been switched off")
	}
	return c.admit()
}

// again shuts the gate after a 429, and sends the request once more when its turn
// comes.
func (c *call) again(resp *http.Response) (*http.Response, error) {
	c.sent = false
	_ = resp.Body.Close() // its page is of no use
	c.since = c.cfg.Now()
	err := c.turn.Again(c.ctx, c.upstream.RetryAfter(resp), c.budget)
	c.spend()
	if err != nil {
		return nil, err
	}
	c.outcome.Throttled++
	return c.leave()
}

// done ends the call's turn.
func (c *call) done() {
	if c.turn != nil {
		c.turn.Done()
	}
}

// maxRefusal is the longest body of a 401 that is looked at, in bytes.
const maxRefusal = 16 << 10

// readRefusal returns the beginning of a 401's body: mostly all of it, and the
// connection is free then. The answer can be passed on as before.
func readRefusal(resp *http.Response) []byte {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxRefusal+1))
	if err != nil || len(body) > maxRefusal { // it is cut short, or long
		resp.Body = &partRead{io.MultiReader(bytes.NewReader(body), resp.Body), resp.Body}
		return body
	}
	_ = resp.Body.Close() // it was read to its end
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return body
}

// partRead is a body of which a part was read before.
type partRead struct {
	io.Reader
	io.Closer
}

// renew finds another access token after a 401, and reports whether there is one
// now. A 401 counts as a player's report does.
func (c *call) renew(refusal []byte) bool {
	// This code means that the token is for another service provider: a report
	// would be used up in vain.
	const otherProvider = "invalid_access_token_service_provider"
	if unzip, err := gzip.NewReader(bytes.NewReader(refusal)); err == nil {
		refusal, _ = io.ReadAll(io.LimitReader(unzip, maxRefusal))
	}
	if c.took(c.app, c.token, false) && bytes.Contains(refusal, []byte(otherProvider)) {
		return false
	}
	refused := c.token
	if now, err := c.cfg.Tokens.Token(c.ctx, c.app, 0); err == nil && now == refused {
		if c.cfg.Tokens.Report(c.ctx, c.app, refused) != nil {
			return false // the daemon is stopping, or the app is gone
		}
	}
	c.since = c.cfg.Now()
	return c.getToken() == nil && c.token != refused
}

// paused returns the problem of a call during a reload of the configuration.
func paused() error {
	p := ipc.NewProblem(ipc.CodeNotReady, "the configuration is being changed: ask again")
	p.RetryAfterMS = 1000
	return p
}
