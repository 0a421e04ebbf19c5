// Package dcrtest simulates the server side of Adobe Pass for labs, demos and
// tests: client registration, access tokens, the protected APIs ("REST API V2")
// with a TV provider's pages, the throttle in front of them, a name server, and
// everything that can go wrong on the way.
//
// It owns its state, in memory only: a new Server knows no client. It judges
// requests by the documented protocol and shares no code with the daemon, so
// that the two can't share a misreading. It is never shipped to a device.
package dcrtest

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	defaultTokenLife = 6 * time.Hour // as in the samples of "Retrieve access token"
	maxBody          = 64 << 10      // of registrations and token requests; a software statement is a few hundred bytes
	maxAPIBody       = 256 << 10     // as long as any that the daemon forwards
	maxLog           = 10_000        // requests; a soak test must not fill the memory
)

// Config is what a Server is made of. Now is required, everything else has a
// default.
type Config struct {
	Now         func() time.Time
	Random      io.Reader     // ids and secrets come from it; default crypto/rand.Reader
	Log         *slog.Logger  // says why each request is refused, and never a secret; default silence
	TokenLife   time.Duration // default 6 h
	TokenStatus int           // HTTP status of a token that is issued: 201, the default, or 200
	ClockOffset time.Duration // how far the server's clock is ahead of Now: Date, created_at and expiry follow it
	NoThrottle  bool
	Providers   []string // the service providers that access tokens are for; default any
}

// Request is what the server remembers of one request.
type Request struct {
	At         time.Time      `json:"at"` // by Config.Now, without the offset
	Method     string         `json:"method"`
	Path       string         `json:"path"`
	Query      string         `json:"query,omitempty"`     // of the protected APIs; elsewhere it may hold a secret
	Operation  string         `json:"operation,omitempty"` // of the protected APIs, as faults name it
	Status     int            `json:"status"`              // 0: no answer was sent
	Error      string         `json:"error,omitempty"`     // the server's own code
	Fault      string         `json:"fault,omitempty"`     // the kind of the fault that struck it
	ClientID   string         `json:"client_id,omitempty"` // issued, presented, or behind the access token
	DeviceInfo map[string]any `json:"device_info,omitempty"`
	UserAgent  string         `json:"user_agent,omitempty"`
	RemoteAddr string         `json:"remote_addr"`

	Header     http.Header `json:"header,omitempty"` // Authorization is replaced by its SHA-256
	BodySize   int         `json:"body_size"`
	BodySHA256 string      `json:"body_sha256,omitempty"`
}

// Counts are the numbers of requests that came, and of those that found the
// throttle's bucket empty.
type Counts struct {
	Register  int `json:"register"`
	Token     int `json:"token"`
	API       int `json:"api"`
	Throttled int `json:"throttled"`
}

// Server is the simulated server. Its methods may be called at any time, from
// any goroutine.
type Server struct {
	cfg Config
	log *slog.Logger

	mu         sync.Mutex // guards all below, and Random
	offset     time.Duration
	tokenLife  time.Duration
	throttled  bool
	unapproved bool
	buckets    map[string]*bucket // by client address
	clients    map[string]*client // by client_id
	tokens     map[string]token   // by access token
	sessions   map[string]*session
	profiles   map[viewer]map[string]*profile // by MVPD
	temporary  map[viewer]time.Time           // when a temporary pass was first used
	faults     []Fault                        // the first that fits strikes
	requests   []Request
	counts     Counts
}

// New returns a server that knows no client yet.
func New(cfg Config) *Server {
	if cfg.Random == nil {
		cfg.Random = rand.Reader
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.TokenLife == 0 {
		cfg.TokenLife = defaultTokenLife
	}
	if cfg.TokenStatus == 0 {
		cfg.TokenStatus = http.StatusCreated
	}
	return &Server{
		cfg: cfg, log: cfg.Log,
		offset: cfg.ClockOffset, tokenLife: cfg.TokenLife, throttled: !cfg.NoThrottle,
		buckets: map[string]*bucket{}, clients: map[string]*client{}, tokens: map[string]token{},
		sessions: map[string]*session{}, profiles: map[viewer]map[string]*profile{}, temporary: map[viewer]time.Time{},
	}
}

// call is one request on its way through the server.
type call struct {
	*http.Request
	kind    string            // register, token, api or client (the other client endpoints); "" is outside the throttle
	params  map[string]string // in the path, of the protected APIs
	body    []byte
	bodyErr error     // it broke off
	now     time.Time // by the server's clock
	log     Request
}

// ServeHTTP answers /o/client/…, /api/v2/… and the pages of a TV provider.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{Request: r, kind: kindOf(r.URL.Path)}
	// One byte more than is allowed shows that there was more.
	c.body, c.bodyErr = io.ReadAll(io.LimitReader(r.Body, maxAPIBody+1))
	a, f := s.judge(c)
	if a.why != "" {
		s.log.Warn("refused", "method", r.Method, "path", r.URL.Path, "status", a.status, "error", a.code, "why", a.why)
	}
	if f.Kind != "" {
		s.log.Info("fault", "method", r.Method, "path", r.URL.Path, "kind", f.Kind)
	}
	deliver(w, r, a, f)
}

// judge decides on the answer, acts on the request and remembers it.
func (s *Server) judge(c *call) (answer, Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Now()
	c.now = now.Add(s.offset)
	c.note(now)
	if info, _ := deviceInfo(c.Header); info != nil {
		c.log.DeviceInfo = info
	}
	s.count(c.kind)

	var a answer
	var f Fault
	switch {
	case c.kind == "":
		a = s.outside(c)
	// The throttle stands in front of everything, faults too: it shows a client
	// that hammers a broken server.
	case s.throttled && !s.bucket(c).take(now):
		s.counts.Throttled++
		a = s.tooMany("the bucket of its address is empty")
	default:
		f = s.takeFault(func(f Fault) bool { return f.Path == "all" || f.Path == c.kind || f.Path == c.log.Operation })
		a = s.answerWith(f, c)
	}
	a.header().Set("Date", c.now.UTC().Format(http.TimeFormat))
	c.log.Status, c.log.Error, c.log.Fault = a.status, a.code, f.Kind
	if f.silent() {
		c.log.Status = 0
	}
	s.remember(c.log)
	return a, f
}

// answer judges a call that has passed the throttle and met no fault.
func (s *Server) answer(c *call) answer {
	switch c.kind {
	case "register":
		return s.register(c)
	case "token":
		return s.token(c)
	case "api":
		return s.api(c)
	default: // no page says what these two answer
		return jsonAnswer(http.StatusOK, map[string]any{"scopes": []string{scope}})
	}
}

// note begins the log of a call.
func (c *call) note(now time.Time) {
	c.log = Request{At: now, Method: c.Method, Path: c.URL.Path, UserAgent: c.UserAgent(), RemoteAddr: c.RemoteAddr,
		Header: c.Header.Clone(), BodySize: len(c.body)}
	for i, value := range c.log.Header["Authorization"] {
		c.log.Header["Authorization"][i] = fmt.Sprintf("sha256 %x", sha256.Sum256([]byte(value)))
	}
	if c.kind == "api" {
		c.log.Query = c.URL.RawQuery
		c.log.BodySHA256 = fmt.Sprintf("%x", sha256.Sum256(c.body))
		if op, _, ok := operationOf(c.Request); ok {
			c.log.Operation = op.name
		}
	}
}

// outside answers a call that is not part of the server's API.
func (s *Server) outside(c *call) answer {
	if c.URL.Path == portalPath {
		return portal()
	}
	if a, ok := s.page(c); ok {
		return a
	}
	return plainAnswer(http.StatusNotFound, "there is no such path")
}

// kindOf sorts paths as "Throttling mechanism" lists them.
func kindOf(path string) string {
	switch {
	case path == "/o/client/register":
		return "register"
	case path == "/o/client/token":
		return "token"
	case path == "/o/client/scopes", path == "/o/client/validate":
		return "client"
	case strings.HasPrefix(path, apiPrefix):
		return "api"
	default:
		return ""
	}
}

func (s *Server) count(kind string) {
	switch kind {
	case "register":
		s.counts.Register++
	case "token":
		s.counts.Token++
	case "api":
		s.counts.API++
	}
}

func (s *Server) remember(r Request) {
	if len(s.requests) == maxLog {
		s.requests = s.requests[1:]
	}
	s.requests = append(s.requests, r)
}

// bucket returns the bucket of a client's address. Its port changes with every
// connection. The server is behind others and tells devices apart "with the
// help of X-Forwarded-For": a client that sends it has a bucket of its own
// choice.
func (s *Server) bucket(c *call) *bucket {
	host, _, err := net.SplitHostPort(c.RemoteAddr)
	if err != nil {
		host = c.RemoteAddr
	}
	if first, _, _ := strings.Cut(c.Header.Get("X-Forwarded-For"), ","); first != "" {
		host = strings.TrimSpace(first)
	}
	b := s.buckets[host]
	if b == nil {
		b = &bucket{level: bucketSize}
		s.buckets[host] = b
	}
	return b
}

// now returns the server's clock, with the offset.
func (s *Server) now() time.Time { return s.cfg.Now().Add(s.offset) }

// answer is a response before it is sent.
type answer struct {
	status  int
	headers http.Header
	body    []byte
	code    string // the server's code of a refusal
	why     string // the reason of a refusal, for the log
}

func (a *answer) header() http.Header {
	if a.headers == nil {
		a.headers = http.Header{}
	}
	return a.headers
}

// jsonAnswer returns a response of JSON.
func jsonAnswer(status int, v any) answer {
	var body bytes.Buffer
	if err := json.NewEncoder(&body).Encode(v); err != nil {
		return broken(fmt.Errorf("encode the answer: %w", err))
	}
	a := answer{status: status, body: body.Bytes()}
	a.header().Set("Content-Type", "application/json;charset=utf-8")
	a.header().Set("Cache-Control", "no-store")
	return a
}

// plainAnswer returns a refusal in words.
func plainAnswer(status int, why string) answer {
	a := answer{status: status, body: []byte(http.StatusText(status) + "\n"), why: why}
	a.header().Set("Content-Type", "text/plain; charset=utf-8")
	return a
}

// htmlAnswer returns a response that is a page.
func htmlAnswer(status int, page string) answer {
	a := answer{status: status, body: []byte(page)}
	a.header().Set("Content-Type", "text/html; charset=utf-8")
	return a
}

// broken returns the answer to a failure of the simulator's own.
func broken(err error) answer { return plainAnswer(http.StatusInternalServerError, err.Error()) }

// notPost returns the refusal of any other method.
func notPost() answer {
	a := plainAnswer(http.StatusMethodNotAllowed, "the method is not POST")
	a.header().Set("Allow", http.MethodPost)
	return a
}
