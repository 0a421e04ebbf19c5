package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/tvpassd/tvpassd/daemon/broker"
	"github.com/tvpassd/tvpassd/ipc"
	"github.com/tvpassd/tvpassd/ipc/server"
)

// The methods in this file serve the socket.

// Policy is the one in force.
func (d *Daemon) Policy() *server.Policy { return d.policy.Load() }

// Token is part of server.Tokens.
func (d *Daemon) Token(ctx context.Context, app string, q ipc.Query) (ipc.Token, error) {
	tok, err := d.broker.Token(ctx, app, q.Wait, q.MinTTL)
	d.served.count(app, err)
	if err != nil {
		return ipc.Token{}, problem(err)
	}
	return wireToken(app, tok), nil
}

func wireToken(app string, tok broker.Token) ipc.Token {
	return ipc.Token{
		App: app, AccessToken: tok.AccessToken, TokenType: "bearer", ID: tok.ID,
		IssuedAt: tok.IssuedAt, ExpiresAt: tok.ExpiresAt, ExpiresIn: int64(tok.ExpiresIn / time.Second),
	}
}

// Headers is part of server.Tokens.
func (d *Daemon) Headers(ctx context.Context, app string, q ipc.Query) (ipc.Headers, error) {
	tok, err := d.Token(ctx, app, q)
	if err != nil {
		return ipc.Headers{}, err
	}
	v, err := d.broker.View(app)
	if err != nil {
		return ipc.Headers{}, problem(err)
	}
	return ipc.Headers{App: app, ExpiresIn: tok.ExpiresIn, Headers: map[string]string{
		"Authorization":        "Bearer " + tok.AccessToken,
		"AP-Device-Identifier": d.box.identity().Header(),
		"X-Device-Info":        d.box.now().info(v.App.ApplicationID).Header(),
	}}, nil
}

// Report is part of server.Tokens.
func (d *Daemon) Report(ctx context.Context, app string, r ipc.Report) (action string, err error) {
	if r.Status != http.StatusUnauthorized {
		return ipc.ActionNone, nil
	}
	action, err = d.broker.Report(ctx, app, r.AccessToken)
	if err != nil {
		return "", problem(err)
	}
	if action != ipc.ActionNone {
		d.cfg.Log.Info("a player reports that the server refused the token", "app", app, "action", action)
	}
	return action, nil
}

// Watch is part of server.Tokens.
func (d *Daemon) Watch(app string) (server.Snapshot, error) {
	v, err := d.broker.View(app)
	if err != nil {
		return server.Snapshot{}, problem(err)
	}
	now := d.broker.Now()
	snap := server.Snapshot{State: appStatus(v, now), Changed: v.Changed()}
	if tok, ok := v.Token(now); ok && !v.Held() {
		snap.Token = new(wireToken(app, tok))
	}
	return snap, nil
}

// Device is part of server.Views.
func (d *Daemon) Device(identifier bool) ipc.Device {
	dev, err := d.box.describe()
	if err != nil { // only a value of a type without a JSON form, which no probe returns
		d.cfg.Log.Error("the device can't be described", "code", ipc.CodeInternal, "err", err)
	}
	if !identifier {
		dev.Identifier = nil
	}
	return dev
}

// Refresh is part of server.Orders.
func (d *Daemon) Refresh(ctx context.Context, app string) error {
	return problem(d.broker.Refresh(ctx, app))
}

// Reset is part of server.Orders.
func (d *Daemon) Reset(ctx context.Context, app string) error {
	err := d.broker.Reset(ctx, app)
	switch {
	case err == nil:
		d.cfg.Log.Warn("an admin had the app's client credentials forgotten: the device registers anew, and viewers must sign in again", "app", app, "code", "credentials_reset")
	case !errors.Is(err, broker.ErrUnknownApp) && !errors.Is(err, broker.ErrStopped) && ctx.Err() == nil:
		return ipc.NewProblem(ipc.CodeStorage, fmt.Sprintf("nothing was forgotten, for the state can't be written: %v", err))
	}
	return problem(err)
}

// problem says what the broker says, in the words of the socket.
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
	case errors.Is(err, broker.ErrUnknownApp): // a reload took it away after the caller was let in
		return ipc.NewProblem(ipc.CodeUnknownApp, "the app is no longer configured")
	case errors.Is(err, broker.ErrStopped):
		p := ipc.NewProblem(ipc.CodeNotReady, "tvpassd is stopping: ask again once it is back")
		p.RetryAfterMS = 1000
		return p
	default:
		return err
	}
}
