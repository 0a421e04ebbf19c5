package localapi

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

// The methods in this file are those behind the socket that players use.

// Policy returns the policy in force.
func (a *API) Policy() *server.Policy { return a.settings.Load().Policy }

// Token is part of server.Tokens.
func (a *API) Token(ctx context.Context, app string, q ipc.Query) (ipc.Token, error) {
	if a.withheld(app) {
		return ipc.Token{}, ipc.NewProblem(ipc.CodeForbidden, "this app's access token never leaves tvpassd "+
			"(hand_out_token = false): send the API calls themselves to /v1/apps/{app}/api/v2/...")
	}
	tok, err := a.cfg.Broker.Token(ctx, app, q.Wait, q.MinTTL)
	a.counts.count(app, err)
	if err != nil {
		return ipc.Token{}, problem(err)
	}
	return wireToken(app, tok), nil
}

// withheld reports whether an app's access token is kept from everybody.
func (a *API) withheld(app string) bool { return a.settings.Load().Withheld[app] }

func wireToken(app string, tok broker.Token) ipc.Token {
	return ipc.Token{
		App: app, AccessToken: tok.AccessToken, TokenType: "bearer", ID: tok.ID,
		IssuedAt: tok.IssuedAt, ExpiresAt: tok.ExpiresAt, ExpiresIn: int64(tok.ExpiresIn / time.Second),
	}
}

// Headers is part of server.Tokens.
func (a *API) Headers(ctx context.Context, app string, q ipc.Query) (ipc.Headers, error) {
	tok, err := a.Token(ctx, app, q)
	if err != nil {
		return ipc.Headers{}, err
	}
	v, err := a.cfg.Broker.View(app)
	if err != nil {
		return ipc.Headers{}, problem(err)
	}
	return ipc.Headers{App: app, ExpiresIn: tok.ExpiresIn, Headers: map[string]string{
		"Authorization":        "Bearer " + tok.AccessToken,
		"AP-Device-Identifier": a.cfg.Hardware.Identifier().Header(),
		"X-Device-Info":        a.cfg.Hardware.Info(v.App.ApplicationID).Header(),
	}}, nil
}

// Report is part of server.Tokens.
func (a *API) Report(ctx context.Context, app string, r ipc.Report) (action string, err error) {
	switch r.Status {
	case http.StatusUnauthorized:
	case http.StatusTooManyRequests:
		return ipc.ActionNone, problem(a.cfg.Broker.ReportThrottled(app, r.AccessToken))
	default:
		return ipc.ActionNone, nil
	}
	action, err = a.cfg.Broker.Report(ctx, app, r.AccessToken)
	if err != nil {
		return "", problem(err)
	}
	if action != ipc.ActionNone {
		a.cfg.Log.Info("a player reports that the server refused the token", "app", app, "action", action)
	}
	return action, nil
}

// Watch is part of server.Tokens.
func (a *API) Watch(app string) (server.Snapshot, error) {
	v, err := a.cfg.Broker.View(app)
	if err != nil {
		return server.Snapshot{}, problem(err)
	}
	now := a.cfg.Broker.Now()
	snap := server.Snapshot{State: appStatus(v, now), Changed: v.Changed()}
	if tok, ok := v.Token(now); ok && !v.Held() && !a.withheld(app) {
		snap.Token = new(wireToken(app, tok))
	}
	return snap, nil
}

// Device is part of server.Views.
func (a *API) Device(identifier bool) ipc.Device {
	dev, err := a.cfg.Hardware.Describe()
	if err != nil { // only a value of a type without a JSON form, which no probe returns
		a.cfg.Log.Error("the device can't be described", "code", ipc.CodeInternal, "err", err)
	}
	if !identifier {
		dev.Identifier = nil
	}
	return dev
}

// Refresh is part of server.Orders.
func (a *API) Refresh(ctx context.Context, app string) error {
	return problem(a.cfg.Broker.Refresh(ctx, app))
}

// Reset is part of server.Orders.
func (a *API) Reset(ctx context.Context, app string) error {
	err := a.cfg.Broker.Reset(ctx, app)
	switch {
	case err == nil:
		a.cfg.Log.Warn("an admin had the app's client credentials forgotten: the device registers anew, "+
			"and viewers must sign in again", "app", app, "code", "credentials_reset")
	case !errors.Is(err, broker.ErrUnknownApp) && !errors.Is(err, broker.ErrStopped) && ctx.Err() == nil:
		return ipc.NewProblem(ipc.CodeStorage, fmt.Sprintf("nothing was forgotten, for the state can't be written: %v", err))
	}
	return problem(err)
}
