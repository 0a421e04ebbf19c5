// Package localapi is what the daemon shows on its socket: tokens, status,
// health and metrics, in the words of package ipc.
//
// It owns none of it. It asks the broker for tokens and states, the hardware
// for the device, the store for its health, and puts their answers together for
// one caller at a time. Who the callers are and what each may do is package
// ipc/server's.
package localapi

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/tvpassd/tvpassd/daemon/broker"
	"github.com/tvpassd/tvpassd/daemon/clock"
	"github.com/tvpassd/tvpassd/daemon/throttle"
	"github.com/tvpassd/tvpassd/device"
	"github.com/tvpassd/tvpassd/ipc"
	"github.com/tvpassd/tvpassd/ipc/server"
	"github.com/tvpassd/tvpassd/storage"
)

// Broker has the tokens; a *broker.Broker is one.
type Broker interface {
	Token(ctx context.Context, app string, wait, minTTL time.Duration) (broker.Token, error)
	Report(ctx context.Context, app, accessToken string) (action string, err error)
	ReportThrottled(app, accessToken string) error
	Refresh(ctx context.Context, app string) error
	Reset(ctx context.Context, app string) error
	View(app string) (*broker.AppView, error)
	Views() map[string]*broker.AppView
	Overview() broker.Overview
	Now() clock.Reading
}

// Hardware is the device; a *hardware.Hardware is one.
type Hardware interface {
	Identifier() device.Identifier
	Info(applicationID string) device.Info
	Describe() (ipc.Device, error)
	Warnings() []device.Warning
}

// Store is the health of the state; a *storage.Store is one.
type Store interface {
	Mended() string
	Unwritten() error
	Written() storage.Written
}

// Line is where the calls of the gateway wait; a *throttle.Line is one.
type Line interface {
	Load(app string) throttle.Load
}

// Config is what an API needs. Every field is required.
type Config struct {
	Broker   Broker
	Hardware Hardware
	Store    Store
	Log      *slog.Logger
	Version  string
	Undated  bool          // this program does not know when it was built
	Started  time.Duration // of the boot clock
	Line     Line
	Reload   func(ctx context.Context, accept string) error // reads the configuration again
	Volatile func() string                                  // why the state does not last, or ""
	Changed  func() string                                  // a file of the configuration that changed since, or ""
	Socket   func() error                                   // why players can't find the socket, or nil
}

// Settings are what a reload may change.
type Settings struct {
	Endpoint string
	Config   ipc.Configuration
	Policy   *server.Policy
	Withheld map[string]bool // the apps whose access tokens never leave the daemon
	Items    []Item          // what the configuration gives reason to warn of
}

// API answers the requests of the socket. It implements
// [server.Tokens], [server.Views] and [server.Orders].
type API struct {
	cfg      Config
	settings atomic.Pointer[Settings]
	since    since
	counts   counts
	gateway  gatewayCounts
}

// New returns an API. The caller puts settings in force before the first
// request.
func New(cfg Config) *API {
	return &API{cfg: cfg, counts: counts{answers: map[answerKey]int64{}, waits: map[string]broker.Durations{}}}
}

// Adopt puts settings in force. Requests under way check their caller's rights
// again if the policy changed.
func (a *API) Adopt(s Settings) {
	old := a.settings.Swap(&s)
	if old != nil && old.Policy != s.Policy {
		close(old.Policy.Replaced)
	}
}

// Settings returns the settings in force.
func (a *API) Settings() Settings { return *a.settings.Load() }

// Waited counts the wait of a player that was not answered from memory.
func (a *API) Waited(app string, d time.Duration) { a.counts.waited(app, d) }

// Reload is part of server.Orders.
func (a *API) Reload(ctx context.Context, accept string) error { return a.cfg.Reload(ctx, accept) }

// Configuration is part of server.Orders.
func (a *API) Configuration() ipc.Configuration { return a.Settings().Config }
