package broker

import (
	"time"

	"github.com/tvpassd/tvpassd/daemon/clock"
	"github.com/tvpassd/tvpassd/daemon/dcr"
	"github.com/tvpassd/tvpassd/storage"
)

const (
	// A token is refreshed between these parts of its life: two thirds, less up
	// to a tenth of that. Never later than two thirds, so that a player may always
	// count on a third of the life being left.
	refreshFrom, refreshTo = 0.6, 2.0 / 3

	// startSpread is how far work that is due at a start is spread, so that a
	// power cut does not become a storm.
	startSpread = 30 * time.Second
)

// lastPart is the last tenth of the token's life.
func (l *liveToken) lastPart() time.Duration { return (l.expires - l.sent) / 10 }

// received takes a new token. Its life counts from when it was asked for, the
// latest moment known not to be too late.
func (m *machine) received(tok dcr.Token, c *call, at moment) {
	part := refreshFrom + (refreshTo-refreshFrom)*at.random.Float64()
	m.rec.Token = &storage.Token{
		AccessToken: tok.AccessToken, ID: tok.ID, Life: tok.ExpiresIn,
		Sent: at.time.stamp(c.sent), ServerSent: at.time.serverSent(c.sent, at.Reading, tok.Date),
		RefreshAfter: time.Duration(part * float64(tok.ExpiresIn)),
	}
	if c.pair > 0 {
		m.restored(c.pair)
	}
	m.live = nil
	m.trust(at)
	m.succeeded(at)
	m.now = false
}

// trust computes a stored token's life on this boot's clock, as soon as that is
// possible.
func (m *machine) trust(at moment) {
	tok := m.rec.Token
	if m.live != nil || tok == nil {
		return
	}
	sent, ok := at.time.tokenSent(tok, at.Reading)
	if !ok {
		return
	}
	m.live = &liveToken{sent: sent, expires: sent + tok.Life, refresh: sent + tok.RefreshAfter}
	m.served = m.served || m.valid(at.Reading)
	if m.sound(at) {
		m.succeeded(at) // what failed was a refresh of a token that could not be trusted: it is no longer needed
	}
}

// sound reports whether the token can be trusted and is not due yet.
func (m *machine) sound(at moment) bool {
	return m.valid(at.Reading) && at.Boot < m.live.refresh && !m.rec.Token.Refused && !m.suspected()
}

// valid reports whether there is a token that players may have.
func (m *machine) valid(now clock.Reading) bool { return m.live != nil && now.Boot < m.live.expires }

// notice sees a token that has ended since the last look.
func (m *machine) notice(at moment) {
	lapsed := !m.valid(at.Reading)
	if lapsed && !m.lapsed {
		m.hastenConfirmation(at)
	}
	m.lapsed = lapsed
}

// awaited takes note of a player who waits for a fresher token than there is:
// nobody waits for the spread of a start.
func (m *machine) awaited() {
	if m.live != nil {
		m.live.refresh = m.live.sent + m.rec.Token.RefreshAfter
	}
}

// refuse takes note that a protected API refused the token.
func (m *machine) refuse() {
	if tok := *m.rec.Token; !tok.Refused {
		tok.Refused = true
		m.rec.Token = &tok
	}
}
