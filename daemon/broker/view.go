package broker

import (
	"crypto/subtle"
	"time"

	"github.com/tvpassd/tvpassd/daemon/clock"
	"github.com/tvpassd/tvpassd/ipc"
	"github.com/tvpassd/tvpassd/storage"
)

// AppView is what is known of one app at one moment. It never changes: the broker
// publishes a new one instead, so that players are served without waiting.
type AppView struct {
	App  App
	core core

	clock clock.Clock

	changed chan struct{} // made when the view is published, closed when it is out of date
}

// core is everything in which two views of an app may differ.
type core struct {
	credentials   *storage.Credentials
	registrations int
	replaced      *storage.Stamp
	transitions   *storage.Transitions
	token         *storage.Token
	live          liveToken // zero: no token that can be trusted
	valid         bool      // when the view was made
	hold          bool      // a player had the token refused, and a refresh is under way or about to be
	flight        callKind
	slow          bool
	failing       bool
	clockUnset    bool
	failure       Failure       // zero: nothing has failed
	next          time.Duration // no call is made before
	courtesy      bool          // unless a player waits
	refreshAt     time.Duration // zero: no refresh is planned
	contact       time.Time
	calls         *Calls
}

// has reports whether an access token is the current one.
func (c *core) has(accessToken string) bool {
	return c.token != nil && subtle.ConstantTimeCompare([]byte(c.token.AccessToken), []byte(accessToken)) == 1
}

const clockAdvice = "the clock is not set, so the server's certificate can't be checked: " +
	"set it, or wait for the time service"

// view returns the machine's present view.
func (e *engine) view(m *machine, now clock.Reading) AppView {
	next := m.next
	if open := e.gate.Opens(now.Boot); open-now.Boot > time.Second { // shut by the server
		next = max(next, open)
	}
	v := AppView{App: m.app, clock: e.time.clock, core: core{
		credentials: m.rec.Credentials, registrations: m.rec.History.Registrations, replaced: m.replaced(),
		transitions: m.rec.Transitions, token: m.rec.Token, valid: m.valid(now), next: next, courtesy: m.courtesy,
		contact: m.contact, calls: m.calls,
	}}
	c := &v.core
	if m.live != nil {
		c.live = *m.live
		c.refreshAt = max(m.live.refresh, next)
		if m.rec.Token.Refused || m.now || m.failing() {
			c.refreshAt = next
		}
	}
	if m.flight != nil {
		c.flight = m.flight.kind
	}
	if m.rec.Token != nil && m.rec.Token.Refused {
		soon := next <= now.Boot && !e.clockUnset(now)
		c.hold = c.flight == callToken || c.flight == callNone && soon
	}
	if r := m.rec.Retry; r != nil {
		c.slow = r.Slow
		c.failure, c.failing = failureFrom(r)
	}
	if c.clockUnset = e.clockUnset(now) && !c.valid; c.clockUnset {
		c.failure = Failure{Code: ipc.CodeClockUnset, Detail: clockAdvice}
	}
	return v
}

// sameAs reports whether two views show the same.
func (v *AppView) sameAs(other *AppView) bool { return v.App == other.App && v.core == other.core }

// Changed returns a channel that is closed once the view is out of date.
func (v *AppView) Changed() <-chan struct{} { return v.changed }

// left returns how long the token lives from now on: zero or less if none is
// valid.
func (v *AppView) left(now clock.Reading) time.Duration {
	if v.core.token == nil {
		return 0
	}
	return v.core.live.left(now, v.clock.Synchronised)
}

func (v *AppView) valid(now clock.Reading) bool { return v.left(now) > 0 }

// State returns the app's state at a moment: one of ipc.StateReady and so on.
func (v *AppView) State(now clock.Reading) string {
	c := &v.core
	switch {
	case v.valid(now) && (c.failing || c.token.Refused):
		return ipc.StateStale
	case v.valid(now):
		return ipc.StateReady
	case c.slow:
		return ipc.StateRejected
	case c.clockUnset || c.flight == callNone && c.next > now.Boot:
		return ipc.StateWaiting
	case c.credentials == nil || c.flight == callRegister:
		return ipc.StateRegistering
	default:
		return ipc.StateRefreshing
	}
}

// Token is an access token as it stands at one moment.
type Token struct {
	AccessToken, ID     string
	IssuedAt, ExpiresAt time.Time // by the device's clock
	ExpiresIn           time.Duration
}

// Token returns the app's token, or false if none is valid at that moment.
func (v *AppView) Token(now clock.Reading) (Token, bool) {
	left := v.left(now)
	if left <= 0 {
		return Token{}, false
	}
	return Token{
		AccessToken: v.core.token.AccessToken, ID: v.core.token.ID,
		IssuedAt: now.Wall.Add(v.core.live.sent - now.Boot), ExpiresAt: now.Wall.Add(left), ExpiresIn: left,
	}, true
}

// lasting returns the token, or false unless it lives at least minTTL, or a third
// of its life if that is less.
func (v *AppView) lasting(minTTL time.Duration, now clock.Reading) (Token, bool) {
	tok, ok := v.Token(now)
	return tok, ok && tok.ExpiresIn >= min(minTTL, v.core.token.Life/3)
}

// hastened reports whether a call leaves sooner if a player waits.
func (v *AppView) hastened() bool {
	c := &v.core
	return c.courtesy || c.token != nil && c.live.refresh > c.live.sent+c.token.RefreshAfter
}

// Held reports whether the token was refused and a new one is under way: a caller
// who can wait should.
func (v *AppView) Held() bool { return v.core.hold }

// Failure returns the last failure since the last success, or false if there was
// none.
func (v *AppView) Failure() (Failure, bool) { return v.core.failure, v.core.failure.Code != "" }

// Credentials returns the app's client credentials, nil while it is not
// registered.
func (v *AppView) Credentials() *storage.Credentials { return v.core.credentials }

// Registrations returns how often this device ever registered the app.
func (v *AppView) Registrations() int { return v.core.registrations }

// Replaced returns when credentials that the server no longer knew were last
// replaced, by the best clock of that moment. It is zero if they never were, or
// if they work again.
func (v *AppView) Replaced() time.Time {
	if v.core.replaced == nil {
		return time.Time{}
	}
	return v.core.replaced.Wall
}

// Transitions returns the app's last transitions, oldest first. The caller must
// not change them.
func (v *AppView) Transitions() storage.Transitions {
	if v.core.transitions == nil {
		return nil
	}
	return *v.core.transitions
}

// NextCall returns how long it is at least until the server is called for this
// app, or false while a call is under way or none is planned.
func (v *AppView) NextCall(now clock.Reading) (time.Duration, bool) {
	if v.core.flight != callNone || v.core.clockUnset {
		return 0, false
	}
	at := v.core.next
	if v.valid(now) {
		at = v.core.refreshAt
	}
	return max(at-now.Boot, 0), true
}

// LastContact returns when the server last answered a call for this app, by the
// device's clock. It is zero if it never did.
func (v *AppView) LastContact() time.Time { return v.core.contact }

// Calls returns the counts of the calls for this app since the start.
func (v *AppView) Calls() *Calls { return v.core.calls }

// Overview is what is known besides the apps.
type Overview struct {
	Reading    clock.Reading
	ClockSet   bool
	Skew       time.Duration // how far the server's clock is ahead of the device's; 0 if unknown
	GateOpens  time.Duration // until the next call may leave
	Shared     bool          // others use up the server's throttle
	GateWaits  Waits         // since the start
	StorageErr error         // of the last write, until one succeeds
}
