package localapi

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tvpassd/tvpassd/daemon/broker"
	"github.com/tvpassd/tvpassd/daemon/clock"
	"github.com/tvpassd/tvpassd/ipc"
	"github.com/tvpassd/tvpassd/ipc/server"
)

// Status is part of server.Views.
func (a *API) Status(viewer server.Viewer) ipc.Status {
	o := a.cfg.Broker.Overview()
	st := ipc.Status{
		Version: a.cfg.Version, Endpoint: a.settings.Load().Endpoint,
		UptimeS:   int64((o.Reading.Boot - a.cfg.Started) / time.Second),
		StartedAt: o.Reading.Wall.Add(a.cfg.Started - o.Reading.Boot),
		Device:    a.Device(true),
		Clock:     ipc.Clock{Set: o.ClockSet, SkewMS: o.Skew.Milliseconds()},
		Throttle:  ipc.Throttle{Open: o.GateOpens == 0, OpensInMS: o.GateOpens.Milliseconds()},
		Storage:   ipc.Storage{OK: true},
	}
	if !viewer.HasRight() {
		st.Clock.SkewMS, st.Throttle.OpensInMS = coarse(st.Clock.SkewMS), coarse(st.Throttle.OpensInMS)
	}
	if err := a.unwritten(o); err != nil && viewer.Admin {
		st.Storage = ipc.Storage{Detail: err.Error()}
	} else if err != nil {
		st.Storage = ipc.Storage{Detail: unwrittenPublic}
	}
	views := a.cfg.Broker.Views()
	for _, id := range slices.Sorted(maps.Keys(views)) {
		if viewer.Sees(id) {
			app := appStatus(views[id], o.Reading)
			load := a.cfg.Line.Load(id)
			app.Gateway = &ipc.GatewayCalls{InFlight: load.Flying, Waiting: load.Waiting}
			st.Throttle.Waiting += load.Waiting
			st.Apps = append(st.Apps, app)
		}
	}
	st.Warnings = a.since.warnings(a.items(o), viewer, o.Reading.Wall)
	st.Health = health(st.Warnings, st.Apps)
	return st
}

// appStatus is the state of an app at one moment.
func appStatus(v *broker.AppView, now clock.Reading) ipc.AppStatus {
	st := ipc.AppStatus{App: v.App.ID, State: v.State(now), Registrations: v.Registrations()}
	if c := v.Credentials(); c != nil {
		st.ClientID = mask(c.ClientID)
		st.RegisteredAt = &c.RegisteredAt
	}
	if tok, ok := v.Token(now); ok {
		st.TokenExpiresAt = &tok.ExpiresAt
		st.TokenExpiresIn = new(int64(tok.ExpiresIn / time.Second))
	}
	if next, planned := v.NextCall(now); planned {
		st.NextRefreshIn = new(int64(next / time.Second))
	}
	if at := v.LastContact(); !at.IsZero() {
		st.LastContactAt = &at
	}
	for _, t := range v.Transitions() {
		st.Transitions = append(st.Transitions, ipc.Transition(t))
	}
	if f, failed := v.Failure(); failed {
		st.LastError = &ipc.LastError{Code: f.Code, ServerCode: f.ServerCode, Detail: f.Detail, At: f.At}
	}
	return st
}

// mask shows enough of a client id to tell two apart, and no more.
func mask(id string) string {
	const shown = 4
	if len(id) < 3*shown || strings.ContainsFunc(id[:shown], func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "****"
	}
	return id[:shown] + "****"
}

// coarse rounds milliseconds up to 10 s, whatever their sign: exact ones would
// show a user without an app what the apps of others do.
func coarse(ms int64) int64 {
	const step = 10_000
	if ms < 0 {
		return -coarse(-ms)
	}
	return (ms + step - 1) / step * step
}
