package server

import (
	"context"
	"io"

	"github.com/tvpassd/tvpassd/ipc"
)

// Snapshot is how an app stands at one moment. Nothing of it changes later.
type Snapshot struct {
	State   ipc.AppStatus
	Token   *ipc.Token      // nil where there is no valid one
	Changed <-chan struct{} // closed when this is out of date
}

// Backend is what the server shows. Its methods are called by many goroutines at once. An error that is a *Problem is
// told to the caller as it is, and may therefore hold no secret; any other is logged and told as CodeInternal. Only admins are
// told CodeUnknownApp, for an app that is gone.
type Backend interface {
	// Policy is the one in force; a reload may put another in its place.
	Policy() *Policy

	// Token and Headers answer from memory where they can, and wait as q says where they can't.
	Token(ctx context.Context, app string, q ipc.Query) (ipc.Token, error)
	Headers(ctx context.Context, app string, q ipc.Query) (ipc.Headers, error)
	// Report takes a player's word that a token was refused, decides whether that counts, and says what follows.
	Report(ctx context.Context, app string, r ipc.Report) (action string, err error)
	// Watch returns how an app stands now.
	Watch(app string) (Snapshot, error)

	// Device tells what the server is told about this box, with its identifier only if that is asked for.
	Device(identifier bool) ipc.Device
	// Status tells how the daemon and the apps that sees lets through stand: the device with its identifier, which the
	// server leaves out where the caller may use no app, and without sources.
	Status(sees func(app string) bool, admin bool) ipc.Status
	// WriteMetrics writes Prometheus' text format, with the apps that sees lets through, and for admins what sums up all apps.
	WriteMetrics(w io.Writer, sees func(app string) bool, admin bool) error

	// Refresh fetches a token now, Reset forgets an app's credentials, Reload reads the configuration again. Only admins
	// get here.
	Refresh(ctx context.Context, app string) error
	Reset(ctx context.Context, app string) error
	Reload(ctx context.Context) error
}
