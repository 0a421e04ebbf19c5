package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tvpassd/tvpassd/ipc"
)

// route is what a path stands for.
type route struct {
	name    string    // what follows /v1/ or /v1/apps/{app}/; a prefix if it ends in a slash
	allow   *[]string // the methods; a pointer makes the tables data, not code
	who     access
	serve   func(*call) error
	maxBody int64 // the longest body that it reads, in bytes; 0 if it reads none
}

// access says who may use a route.
type access int

const (
	anyone   access = iota
	appUsers        // of the app in the path
	soleUser        // a user who may use exactly one app
	admins
	appAdmins // admins, and the path names an app
)

var (
	getOnly    = []string{"GET", "HEAD"}
	postOnly   = []string{"POST"}
	getAndPost = []string{"GET", "POST"}
	deleteOnly = []string{"DELETE"}
)

var plainRoutes = [...]route{
	{"token", &getOnly, soleUser, (*call).token, 0},
	{"headers", &getOnly, soleUser, (*call).headers, 0},
	{gatewayName, &getAndPost, soleUser, (*call).gateway, maxGatewayBody},
	{"device", &getOnly, anyone, (*call).device, 0},
	{"status", &getOnly, anyone, (*call).status, 0},
	{"healthz", &getOnly, anyone, (*call).healthz, 0},
	{"metrics", &getOnly, anyone, (*call).metrics, 0},
	{"config", &getOnly, admins, (*call).configuration, 0},
	{"reload", &postOnly, admins, (*call).reload, 0},
}

var appRoutes = [...]route{
	{"token", &getOnly, appUsers, (*call).token, 0},
	{"headers", &getOnly, appUsers, (*call).headers, 0},
	{gatewayName, &getAndPost, appUsers, (*call).gateway, maxGatewayBody},
	{"watch", &getOnly, appUsers, (*call).watch, 0},
	{"report", &postOnly, appUsers, (*call).report, maxBody},
	{"refresh", &postOnly, appAdmins, (*call).refresh, 0},
	{"credentials", &deleteOnly, appAdmins, (*call).reset, 0},
}

// find reads a path. It does not look the app up: not everybody may know whether
// it exists. rest is what follows the name of a route that is a prefix.
func find(path string) (rt *route, app, rest string) {
	name, ok := strings.CutPrefix(path, "/v1/")
	if !ok {
		return nil, "", ""
	}
	routes := plainRoutes[:]
	if inApp, ok := strings.CutPrefix(name, "apps/"); ok {
		app, name, _ = strings.Cut(inApp, "/")
		routes = appRoutes[:]
	}
	for i := range routes {
		rt := &routes[i]
		if rest, ok := strings.CutPrefix(name, rt.name); ok && (rest == "" || strings.HasSuffix(rt.name, "/")) {
			return rt, app, rest
		}
	}
	return nil, app, ""
}

// call is one request.
type call struct {
	*Server
	w        http.ResponseWriter
	r        *http.Request
	conn     *conn
	policy   *Policy // the same for the whole request, even if a reload replaces it
	route    *route
	app      string
	rest     string // of the path, if the route is a prefix
	body     []byte
	stopping <-chan struct{}
}

// serve answers a request.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, stopping <-chan struct{}) {
	if s.cfg.Busy != nil {
		defer s.cfg.Busy()
	}
	c := &call{
		Server: s, w: w, r: r, conn: r.Context().Value(peerKey{}).(*conn),
		policy: s.cfg.Policy(), stopping: stopping,
	}
	if err := c.answer(); err != nil {
		c.fail(err)
	}
}

// answer does what the request asks for. It checks the right to an app before
// anything whose outcome could reveal something about the app.
func (c *call) answer() error {
	c.conn.expect(c.r.ContentLength)
	if c.r.ContentLength != 0 {
		// This is also for a body that is left alone: net/http reads it before it
		// answers. Once the body is read, net/http removes the deadline.
		if err := http.NewResponseController(c.w).SetReadDeadline(time.Now().Add(c.cfg.HeaderTimeout)); err != nil {
			return err
		}
	}
	c.route, c.app, c.rest = find(c.r.URL.Path)
	switch {
	case c.route == nil && c.r.URL.Host != "":
		return ipc.NewProblem(ipc.CodeInvalidParameter, "tvpassd is not a general proxy: request one of its own paths")
	case c.route == nil, c.isGateway() && !c.cfg.Gateway.Enabled():
		return ipc.NewProblem(ipc.CodeNotFound, "there is no such path")
	}
	if err := c.admit(c.route.who); err != nil {
		return err
	}
	if !slices.Contains(*c.route.allow, c.r.Method) {
		allow := strings.Join(*c.route.allow, ", ")
		c.w.Header().Set("Allow", allow)
		return ipc.NewProblem(ipc.CodeMethodNotAllowed, "this path takes "+allow)
	}
	done, err := c.readBody()
	defer done()
	if err != nil {
		return err
	}
	err = c.route.serve(c)
	if p, ok := errors.AsType[*ipc.Problem](err); ok && p.Code == ipc.CodeUnknownApp {
		return c.noApp() // a reload has taken it away since
	}
	return err
}

// admit returns a problem unless the caller may use the route. It finds the app
// of a caller who need not name it. A caller without a right to an app can't tell
// it from one that does not exist.
func (c *call) admit(who access) error {
	switch who {
	case anyone:
		return nil
	case soleUser:
		return c.findSole()
	case admins, appAdmins:
		if !c.policy.Admin(c.conn.peer) {
			return c.denied(ipc.CodeForbidden,
				"this is for admins: root, the daemon's own user and the members of admin_group")
		}
		if who == admins {
			return nil
		}
	}
	if c.sees(c.app) {
		return nil
	}
	return c.noApp()
}

// admitAgain returns err, the outcome of a wait, unless a reload has taken the
// caller's right away meanwhile.
func (c *call) admitAgain(err error) error {
	now := c.cfg.Policy()
	if now == c.policy {
		return err
	}
	had := c.app
	c.policy = now
	if c.route.who == soleUser {
		c.app = ""
	}
	if no := c.admit(c.route.who); no != nil {
		return no
	}
	if c.app != had {
		p := ipc.NewProblem(ipc.CodeNotReady, "the app that you may use is another one now: ask again")
		p.RetryAfterMS = 1
		return p
	}
	return err
}

// noApp returns the problem for an app that does not exist or is not the
// caller's. Only admins can tell these apart.
func (c *call) noApp() error {
	if c.policy.Admin(c.conn.peer) {
		return ipc.NewProblem(ipc.CodeUnknownApp,
			"no app of that id is configured; `tvpassd status` lists those that are")
	}
	return c.denied(ipc.CodeForbidden,
		"you may not use this app: allow_users and allow_groups in its configuration say who may")
}

// denied returns the problem of a caller without a right that a group may give.
func (c *call) denied(code, detail string) error {
	if peer := c.conn.peer; peer.TooMany {
		const why = "of a process in more than 256 groups, only the primary group counts"
		detail += "; " + why
		if c.conn.door.news(notice{peer.UID, "groups"}, c.cfg.Now()) {
			c.cfg.Log.Warn(why, "code", "too_many_groups", "uid", peer.UID)
		}
	}
	return ipc.NewProblem(code, detail)
}

func (c *call) findSole() error {
	for app := range c.policy.Apps {
		if !c.policy.MayUse(c.conn.peer, app) {
			continue
		}
		if c.app != "" {
			several := strings.Join(c.policy.Usable(c.conn.peer), ", ")
			return ipc.NewProblem(ipc.CodeAmbiguousApp,
				"you may use several apps ("+several+"): name one, with --app ID, or as in /v1/apps/{app}/token")
		}
		c.app = app
	}
	if c.app == "" {
		return c.denied(ipc.CodeAmbiguousApp,
			"there is no app that you may use: [[app]] in the configuration sets up apps and who may use them")
	}
	return nil
}

const maxBody = 64 << 10 // unless the route says otherwise

// readBody reads a body whether or not the route wants it, so that what follows
// is the next request. It keeps a body that is wanted, unless the caller has
// too much in memory already. done frees it.
func (c *call) readBody() (done func(), err error) {
	done = func() {}
	if c.r.ContentLength == 0 {
		return done, nil
	}
	wanted, most := c.route.maxBody > 0, max(c.route.maxBody, maxBody)
	tooLarge := ipc.NewProblem(ipc.CodeTooLarge, fmt.Sprintf("the body is larger than %d KiB", most>>10))
	if c.r.ContentLength > most {
		return done, tooLarge
	}
	body := http.MaxBytesReader(c.w, c.r.Body, most)
	if wanted {
		size := c.r.ContentLength
		if size < 0 {
			size = most // it may have so many
		}
		if !c.conn.hold(size) {
			p := ipc.NewProblem(ipc.CodeTooManyRequests,
				"too many bodies are under way: wait for the answers before you send more")
			p.RetryAfterMS = 1000
			return done, p
		}
		done = func() { c.conn.letGo(size) }
		if c.r.ContentLength > 0 {
			c.body = make([]byte, size)
			_, err = io.ReadFull(body, c.body)
		} else {
			c.body, err = io.ReadAll(body)
		}
	} else {
		_, err = io.Copy(io.Discard, body)
	}
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return done, tooLarge
	}
	if err != nil {
		return done, ipc.NewProblem(ipc.CodeInvalidParameter,
			"the body did not arrive whole, or not within "+c.cfg.HeaderTimeout.String())
	}
	return done, nil
}

func (c *call) token() error {
	q, err := parseQuery(c.r.URL.RawQuery)
	if err != nil {
		return err
	}
	tok, err := c.cfg.Tokens.Token(c.r.Context(), c.app, q)
	if err = c.admitAgain(err); err != nil {
		return err
	}
	buf := c.buffers.Get().(*[]byte)
	defer c.buffers.Put(buf)
	*buf = append(appendToken((*buf)[:0], tok, c.isPlain(tok.AccessToken)), '\n')
	c.send(http.StatusOK, jsonType, *buf)
	return nil
}

// isPlain reports whether a token needs no escapes in JSON. It remembers the
// last token that needs none: scanning hundreds of bytes costs a tenth of a
// request, comparing the same string costs nothing.
func (s *Server) isPlain(accessToken string) bool {
	if last := s.lastPlain.Load(); last != nil && *last == accessToken {
		return true
	}
	if !plain(accessToken) {
		return false
	}
	last := accessToken // a variable of its own: the argument stays off the heap
	s.lastPlain.Store(&last)
	return true
}

func (c *call) headers() error {
	q, err := parseQuery(c.r.URL.RawQuery)
	if err != nil {
		return err
	}
	h, err := c.cfg.Tokens.Headers(c.r.Context(), c.app, q)
	if err = c.admitAgain(err); err != nil {
		return err
	}
	return c.sendJSON(http.StatusOK, h)
}

func (c *call) report() error {
	r, err := parseReport(c.body)
	if err != nil {
		return err
	}
	action, err := c.cfg.Tokens.Report(c.r.Context(), c.app, r)
	if err != nil {
		return err
	}
	return c.sendJSON(http.StatusAccepted, ipc.ReportAnswer{Action: action})
}

func (c *call) device() error {
	return c.sendJSON(http.StatusOK, c.cfg.Views.Device(c.viewer().HasRight()))
}

func (c *call) sees(app string) bool { return c.policy.MayUse(c.conn.peer, app) }

func (c *call) viewer() Viewer { return c.policy.Viewer(c.conn.peer) }

func (c *call) state() ipc.Status {
	v := c.viewer()
	st := c.cfg.Views.Status(v)
	st.Device.Sources = nil
	if !v.HasRight() {
		st.Device.Identifier = nil
	}
	return st
}

func (c *call) status() error { return c.sendJSON(http.StatusOK, c.state()) }

// healthz judges the caller's apps alone: if there are none, none lacks a token.
func (c *call) healthz() error {
	st := c.state()
	status := http.StatusOK
	for _, a := range st.Apps {
		if !a.Usable() {
			status = http.StatusServiceUnavailable
		}
	}
	return c.sendJSON(status, st)
}

func (c *call) refresh() error {
	now := c.cfg.Now()
	turn := c.refreshes.ReserveN(now, 1)
	if wait := turn.DelayFrom(now); wait > 0 {
		turn.CancelAt(now)
		p := ipc.NewProblem(ipc.CodeTooManyRequests,
			"refreshes are limited to one a second: each is a call to the server")
		p.RetryAfterMS = (wait + time.Millisecond - 1).Milliseconds()
		return p
	}
	return c.order(func(ctx context.Context) error { return c.cfg.Orders.Refresh(ctx, c.app) })
}

func (c *call) reset() error {
	return c.order(func(ctx context.Context) error { return c.cfg.Orders.Reset(ctx, c.app) })
}

func (c *call) reload() error {
	accept, err := parseAccept(c.r.URL.RawQuery)
	if err != nil {
		return err
	}
	return c.order(func(ctx context.Context) error { return c.cfg.Orders.Reload(ctx, accept) })
}

func (c *call) configuration() error { return c.sendJSON(http.StatusOK, c.cfg.Orders.Configuration()) }

// order does what an admin asks for.
func (c *call) order(do func(context.Context) error) error {
	if err := do(c.r.Context()); err != nil {
		return err
	}
	return c.sendJSON(http.StatusAccepted, map[string]string{"status": "accepted"})
}
