package server

import (
	"context"
	"io"
	"net/http"

	"github.com/tvpassd/tvpassd/ipc"
)

// The interfaces in this file are what the server asks for answers. Their
// methods are called by many goroutines at once. An error that is a
// [*ipc.Problem] is sent to the caller as it is, so it must hold no secret; any
// other is logged and sent as [ipc.CodeInternal]. Only admins are told
// [ipc.CodeUnknownApp], the error for an app that has gone.

// Tokens is what players ask for. The server has checked that the caller may
// use the app.
type Tokens interface {
	// Token and Headers answer from memory if they can, and otherwise wait as q says.
	Token(ctx context.Context, app string, q ipc.Query) (ipc.Token, error)
	Headers(ctx context.Context, app string, q ipc.Query) (ipc.Headers, error)
	// Report takes a player's report that a token was refused, decides whether it
	// counts, and returns the action that follows.
	Report(ctx context.Context, app string, r ipc.Report) (action string, err error)
	// Watch returns the state of an app now.
	Watch(app string) (Snapshot, error)
}

// Views shows the device and the state of the daemon.
type Views interface {
	// Device returns what the server is told about this device, with the device
	// identifier only if that is asked for.
	Device(identifier bool) ipc.Device
	// Status returns the state of the daemon and of the apps that v sees. Its
	// Device has the identifier, which the server removes for callers who may use
	// no app, and no sources.
	Status(v Viewer) ipc.Status
	// WriteMetrics writes Prometheus' text format: the apps that v sees, and for
	// admins the sums over all apps.
	WriteMetrics(w io.Writer, v Viewer) error
}

// Orders is what admins may have done.
type Orders interface {
	Refresh(ctx context.Context, app string) error // fetch a token now
	Reset(ctx context.Context, app string) error   // forget the client credentials
	// Reload reads the configuration again. accept is the id of an app that a
	// file of another user may take over, or "".
	Reload(ctx context.Context, accept string) error
	Configuration() ipc.Configuration
}

// Gateway sends players' calls of the REST API V2 on to the server.
type Gateway interface {
	// Enabled reports whether the gateway's paths exist.
	Enabled() bool
	// Serve answers a call of an app, which the caller may use, with what the
	// server answers. The path is what stands behind /api/v2/, and the body has
	// been read. admit returns an error if the caller has lost the right to the
	// app since. Serve may have set headers of w when it returns an error.
	Serve(w http.ResponseWriter, r *http.Request, app, path string, body []byte, admit func() error) error
}

// Snapshot is the state of an app at one moment. It does not change.
type Snapshot struct {
	State   ipc.AppStatus
	Token   *ipc.Token      // nil if there is no valid one
	Changed <-chan struct{} // closed when this is out of date
}
