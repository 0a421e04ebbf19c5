package broker

import (
	"time"

	"github.com/tvpassd/tvpassd/daemon/clock"
)

// Engine is the policy of one box alone, for who brings the time and the answers along: scripts/fleet runs a million of them.
// It is for one goroutine; the Config's Alarm and Changed are not used.
type Engine struct{ *engine }

// Call is a request that is to leave now.
type Call struct{ *call }

// Registers tells a registration from a request for a token.
func (c Call) Registers() bool { return c.kind == callRegister }

// NewEngine makes the policy of a box that has just started.
func NewEngine(cfg Config, setup Setup) (Engine, error) {
	e := Engine{newEngine(cfg)}
	return e, e.Configure(setup, cfg.Clock.Now())
}

// Configure takes over a changed configuration, without its Upstream.
func (e Engine) Configure(setup Setup, now clock.Reading) error { return e.configure(setup, now) }

// Step returns the calls that are to leave now, and the reading of the boot clock at which to step again.
func (e Engine) Step(now clock.Reading) (calls []Call, wake time.Duration) {
	due, wake := e.step(now)
	for _, c := range due {
		calls = append(calls, Call{c})
	}
	return calls, wake
}

// Finish tells how a call ended: with a dcr.Credentials or a dcr.Token, or with an error. A Step must follow.
func (e Engine) Finish(c Call, answer any, err error, now clock.Reading) {
	e.finish(c.call, answer, err, now)
}

// Usable tells whether an app has a valid token.
func (e Engine) Usable(app string, now clock.Reading) bool {
	m := e.machine(app)
	return m != nil && m.valid(now)
}
