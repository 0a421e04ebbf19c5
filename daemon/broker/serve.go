package broker

import (
	"context"
	"time"

	"github.com/tvpassd/tvpassd/daemon/clock"
	"github.com/tvpassd/tvpassd/ipc"
)

// Token returns a token that lives at least minTTL, or a third of its life if
// that is less. A valid token comes at once, from memory. Without one, or while
// a refresh that a player's report started is under way, Token waits up to
// wait. The error is a *NoTokenError, ErrUnknownApp, or the context's.
func (b *Broker) Token(ctx context.Context, app string, wait, minTTL time.Duration) (Token, error) {
	v, err := b.View(app)
	if err != nil {
		return Token{}, err
	}
	now := b.clock.Now()
	if tok, ok := v.lasting(minTTL, now); ok && (!v.core.hold || wait == 0) {
		return tok, nil
	}
	if wait == 0 {
		return b.answer(v, minTTL, now)
	}
	tok, err := b.await(ctx, v, wait, minTTL, now)
	b.waited(app, b.clock.Now().Boot-now.Boot)
	return tok, err
}

// await waits for a token of v's app.
func (b *Broker) await(ctx context.Context, v *AppView, wait, minTTL time.Duration, now clock.Reading) (Token, error) {
	var err error
	app := v.App.ID
	timeout := time.NewTimer(wait)
	defer timeout.Stop()
	passed := false
	for last := false; ; {
		if _, ok := v.lasting(minTTL, now); last || ok && !v.core.hold {
			return b.answer(v, minTTL, now)
		}
		// A waiting player makes the loop run once, so that a due call leaves even if
		// the alarm did not ring.
		var hasten chan<- func(clock.Reading)
		if !passed || v.hastened() {
			hasten = b.requests
		}
		select {
		case <-v.changed:
		case hasten <- func(now clock.Reading) { b.awaited(app, now) }:
			passed = true
		case <-timeout.C:
			last = true
		case <-ctx.Done():
			return Token{}, ctx.Err()
		case <-b.stopped:
			last = true
		}
		if v, err = b.View(app); err != nil {
			return Token{}, err
		}
		now = b.clock.Now()
	}
}

// awaited tells an app's machine, on the engine's goroutine, that a player waits.
func (b *Broker) awaited(app string, now clock.Reading) {
	if m := b.engine.machine(app); m != nil {
		m.awaited(b.engine.at(now))
	}
}

// answer returns the token, or the reason why there is none that will do.
func (b *Broker) answer(v *AppView, minTTL time.Duration, now clock.Reading) (Token, error) {
	if tok, ok := v.lasting(minTTL, now); ok {
		return tok, nil
	}
	open := b.gate.Opens(now.Boot) - now.Boot
	f, failed := v.Failure()
	switch {
	case failed:
	case open > time.Second: // shut by the server: the bucket alone fills sooner
		f = Failure{Code: ipc.CodeThrottled,
			Detail: "the server's throttle is shut: the token is fetched as soon as it opens"}
	default:
		f = Failure{Code: ipc.CodeNotReady, Detail: "the token is being fetched: ask again, or wait longer"}
	}
	e := &NoTokenError{Failure: f}
	if f.Code != ipc.CodeClockUnset {
		next, _ := v.NextCall(now) // none while a call is under way, which soon ends
		e.RetryAfter = max(next, open, time.Second)
	}
	return Token{}, e
}

// Report takes a player's word that a protected API refused a token with 401, and
// returns the action that follows.
func (b *Broker) Report(ctx context.Context, app, accessToken string) (action string, err error) {
	v, err := b.View(app)
	if err != nil {
		return "", err
	}
	if !v.core.has(accessToken) {
		return ipc.ActionNone, nil
	}
	err = b.doFor(ctx, app, func(m *machine, now clock.Reading) error {
		if action = ipc.ActionNone; m.rec.Token == v.core.token {
			action = b.engine.report(m, now)
		}
		return nil
	})
	return action, err
}

// ReportThrottled takes a player's word that a protected API answered a call of
// its own with 429. If it had the app's current token, the gate is shut for a
// second, though not again and again.
func (b *Broker) ReportThrottled(app, accessToken string) error {
	v, err := b.View(app)
	if err == nil && v.core.has(accessToken) && b.gate.Reported(app, b.clock.Now().Boot) {
		b.log.Info("a player reports that the server throttles this device", "app", app)
	}
	return err
}
