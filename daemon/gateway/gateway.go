// Package gateway sends players' calls of the REST API V2 on to the server, with
// the app's access token and the headers of the device.
//
// It owns what leaves and what comes back: which paths, queries and headers are
// forwarded, when a call is repeated, and what a player is told when there is no
// answer. It does not own the connections (package dcr), the tokens (the broker),
// nor when a call may leave (package throttle).
package gateway

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tvpassd/tvpassd/daemon/dcr"
	"github.com/tvpassd/tvpassd/daemon/throttle"
	"github.com/tvpassd/tvpassd/ipc"
)

// Tokens has the access tokens. An error is for the player: a [*ipc.Problem], or
// the context's.
type Tokens interface {
	// Token returns an app's access token, and waits for one if need be.
	Token(ctx context.Context, app string, wait time.Duration) (accessToken string, err error)
	// Report says that the server refused an access token with 401. It starts a
	// refresh if that counts.
	Report(ctx context.Context, app, accessToken string) error
}

// Upstream sends requests to the server; a *dcr.Client is one.
type Upstream interface {
	Send(ctx context.Context, r *dcr.Request) (*http.Response, error)
	RetryAfter(resp *http.Response) time.Duration
}

// Config is what a Gateway needs. Every field is required.
type Config struct {
	Tokens     Tokens
	Line       *throttle.Line
	Identifier func() string // the value of AP-Device-Identifier
	Version    string
	Now        func() time.Duration // of the boot clock
	// Awake keeps connections, which calls need, from being dropped until the
	// returned function is called.
	Awake func() (asleep func())
	Ended func(*Outcome) // counts a call that was taken on
}

// Settings are what a reload may change.
type Settings struct {
	Enabled  bool
	Endpoint string
	Timeout  time.Duration // of the server's answer, and of each read of its body
	Upstream Upstream
	Apps     map[string]string // their application ids
}

// Gateway takes on the calls of players. Its methods may be called from any
// goroutine.
type Gateway struct {
	cfg      Config
	settings atomic.Pointer[Settings]

	mu       sync.Mutex        // guards what follows
	accepted map[string]string // by app, the access token that the server last took
	calls    int               // under way
	rest     *time.Timer       // runs while there is none
	asleep   func()            // ends what Awake began; nil at rest
}

// restAfter is how long after the last call the connections are kept: a sign-in
// polls every few seconds.
const restAfter = time.Minute

// New returns a gateway that is paused until settings are put in force.
func New(cfg Config) *Gateway {
	g := &Gateway{cfg: cfg, accepted: map[string]string{}}
	g.rest = time.AfterFunc(restAfter, g.sleep)
	g.rest.Stop()
	return g
}

// Adopt puts settings in force.
func (g *Gateway) Adopt(s *Settings) { g.settings.Store(s) }

// Pause refuses calls until other settings are put in force: the access tokens
// of one endpoint must not go to another.
func (g *Gateway) Pause() { g.settings.Store(nil) }

// Enabled reports whether the gateway's paths exist.
func (g *Gateway) Enabled() bool {
	s := g.settings.Load()
	return s == nil || s.Enabled
}

// begin notes a call.
func (g *Gateway) begin() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls++
	g.rest.Stop()
	if g.asleep == nil {
		g.asleep = g.cfg.Awake()
	}
}

// end notes the end of a call.
func (g *Gateway) end() {
	g.mu.Lock()
	if g.calls--; g.calls == 0 {
		g.rest.Reset(restAfter)
	}
	g.mu.Unlock()
}

// sleep ends what Awake began, unless a call is under way.
func (g *Gateway) sleep() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.calls == 0 && g.asleep != nil {
		g.asleep()
		g.asleep = nil
	}
}

// took reports whether the server has taken an access token before, and notes it
// if it does now.
func (g *Gateway) took(app, accessToken string, now bool) (before bool) {
	g.mu.Lock()
	before = g.accepted[app] == accessToken
	if now {
		g.accepted[app] = accessToken
	}
	g.mu.Unlock()
	return before
}

// Outcome is how a call ended that the gateway has taken on.
type Outcome struct {
	App       string
	Operation string        // one of Operations
	Result    string        // one of Results
	Waited    time.Duration // for its turn and a token
	Took      time.Duration // in flight
	Renewed   int           // how often it was repeated after a 401
	Throttled int           // how often it was repeated after a 429
	Ignored   []string      // headers of the player that are always the daemon's own
}

// Operations are the names of the API's calls in metrics.
var Operations = [...]string{
	"configuration", "sessions", "profiles", "profiles_code", "preauthorize", "authorize", "logout", "sso", "other",
}

// Results are how calls end: by the class of the server's answer, or without one.
var Results = [...]string{
	"2xx", "3xx", "4xx", "5xx",
	resultThrottled, resultOffline, resultTimeout, resultServerError, resultNoToken, resultLeft,
}

const (
	resultThrottled   = ipc.CodeThrottled
	resultOffline     = ipc.CodeOffline
	resultTimeout     = ipc.CodeTimeout
	resultServerError = ipc.CodeServerError
	resultNoToken     = "no_token"
	resultLeft        = "left" // the player did not wait
)

// OwnHeaders are always the daemon's own, as net/http spells them.
var OwnHeaders = [...]string{authorization, identifier, deviceInfo}
