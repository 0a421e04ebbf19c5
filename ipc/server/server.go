// Package server answers on the daemon's Unix socket: HTTP/1.1 and JSON.
//
// It owns the socket (listen.go), who the callers are (peer.go), what each may do
// (policy.go), who comes in (door.go), what net/http must not see (conn.go) and the
// paths (route.go). It does not own what it shows: tokens, devices and states come
// from [Tokens], [Views] and [Orders], the server's answers from [Gateway]. The
// types on the wire are those of package ipc.
package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/tvpassd/tvpassd/ipc"
)

// Config is what a Server needs. Busy and what follows it may be left out.
type Config struct {
	Policy  func() *Policy // the one in force; a reload may replace it
	Tokens  Tokens
	Views   Views
	Orders  Orders
	Gateway Gateway
	Log     *slog.Logger
	Now     func() time.Time // to limit refreshes and to date what watchers were sent: a clock step does no harm
	Busy    func()           // called at the end of every request

	HeaderTimeout time.Duration // for a request's header to arrive, and then for its body; 0 is 5 s
	PerUID        int           // connections of one user who is not an admin; 0 is 32, or a quarter of Total
	Total         int           // connections of all who are not admins; 0 is 512, or fewer if few files may be open
}

const (
	idleTimeout = 2 * time.Minute
	maxHeader   = 16 << 10
	httpSlop    = 4 << 10         // what net/http reads beyond its MaxHeaderBytes
	grace       = 2 * time.Second // for requests under way at the end
	lastWords   = 500 * time.Millisecond
)

// Server answers on a socket.
type Server struct {
	cfg       Config
	identify  func(fd int) (Peer, error)
	refreshes *rate.Limiter // admins' refreshes: each is a call to the server
	buffers   sync.Pool     // of *[]byte, for tokens
	lastPlain atomic.Pointer[string]
}

// New returns a server.
func New(cfg Config) *Server {
	cfg.HeaderTimeout = cmp.Or(cfg.HeaderTimeout, 5*time.Second)
	cfg.Total = cmp.Or(cfg.Total, totalFor(openFiles()))
	cfg.PerUID = cmp.Or(cfg.PerUID, min(cfg.Total/4, userConns))
	return &Server{
		cfg: cfg, identify: peerOf, refreshes: rate.NewLimiter(1, 3),
		buffers: sync.Pool{New: func() any { return new([]byte) }},
	}
}

// peerKey is the key of a request's *conn in its context.
type peerKey struct{}

// Run answers what comes in on l, and closes l before it returns. When ctx is
// done it accepts no more connections, ends watches, gives other requests 2 s and
// returns nil. An error means that l is out of order.
func (s *Server) Run(ctx context.Context, l *Socket) error {
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	srv := s.http(base, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.serve(w, r, ctx.Done())
	}))
	door := newDoor(l, &patient{accept: l.accept, log: s.cfg.Log, done: ctx.Done()}, s)
	failed, late := make(chan error, 1), make(chan error, 1)
	go func() { late <- srv.Serve(door.late) }()
	go func() { failed <- srv.Serve(door) }() // last: Go runs it next, and callers wait
	var broken error
	select {
	case broken = <-failed:
		broken = fmt.Errorf("serve the socket: %w", broken)
		close(failed)
	case <-ctx.Done():
	}
	return hurry(&door.inside, func() error {
		if broken != nil {
			broken = errors.Join(broken, srv.Close())
		} else {
			s.shutDown(ctx, srv, cancel)
		}
		<-failed
		<-late
		door.closers.Wait()
		return broken
	})
}

// shutDown ends watches and gives other requests 2 s. Then cancel ends them with
// a problem.
func (s *Server) shutDown(ctx context.Context, srv *http.Server, cancel func()) {
	defer time.AfterFunc(grace, cancel).Stop()
	end, cancelEnd := context.WithTimeout(context.WithoutCancel(ctx), grace+lastWords)
	defer cancelEnd()
	if err := srv.Shutdown(end); err != nil {
		s.cfg.Log.Debug("connections cut at the end", "err", errors.Join(err, srv.Close()))
	}
}

// http returns a server for connections that are a [*conn].
func (s *Server) http(base context.Context, h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: s.cfg.HeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader - httpSlop,
		ErrorLog:          slog.NewLogLogger(s.cfg.Log.With("code", ipc.CodeInternal).Handler(), slog.LevelWarn),
		BaseContext:       func(net.Listener) context.Context { return base },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(c.(*conn).until(ctx), peerKey{}, c)
		},
		ConnState: func(c net.Conn, state http.ConnState) {
			switch state {
			case http.StateActive:
				c.(*conn).become(busy)
			case http.StateIdle:
				c.(*conn).answered()
			}
		},
		DisableGeneralOptionsHandler: true,
	}
}
