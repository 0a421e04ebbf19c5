package localapi

import (
	"errors"
	"time"

	"github.com/tvpassd/tvpassd/daemon/broker"
	"github.com/tvpassd/tvpassd/ipc"
)

// problem puts an error of the broker into the words of the socket.
func problem(err error) error {
	if err == nil {
		return nil
	}
	none, ok := errors.AsType[*broker.NoTokenError](err)
	switch {
	case ok:
		p := ipc.NewProblem(none.Code, none.Detail)
		p.ServerCode = none.ServerCode
		p.RetryAfterMS = (none.RetryAfter + time.Millisecond - 1).Milliseconds()
		return p
	case errors.Is(err, broker.ErrUnknownApp): // a reload removed it after the caller was let in
		return ipc.NewProblem(ipc.CodeUnknownApp, "the app is no longer configured")
	case errors.Is(err, broker.ErrStopped):
		p := ipc.NewProblem(ipc.CodeNotReady, "tvpassd is stopping: ask again once it is back")
		p.RetryAfterMS = 1000
		return p
	default:
		return err
	}
}
