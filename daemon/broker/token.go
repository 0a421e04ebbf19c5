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
	// After a start, a registration or a failure the first refresh is drawn from a
	// wider part: devices that were served together must not come back together. A
	// start that finds a token which is not due keeps the refresh that was drawn
	// for that token.
	refreshEarly = 0.2

	// refreshGap is the least time between two refreshes of a token that lives
	// longer. shortGap is the least time between two calls for tokens that live
	// shorter, unless a player waits.
	refreshGap = 30 * time.Second
	shortGap   = 10 * time.Second
	// storeLife is how long a token must live to be stored. Flash wears, and all
	// that a restart loses is a token that would soon end.
	storeLife = 10 * time.Minute

	// trustWait is how long a stored token waits for something that vouches for
	// the time before it is refreshed because nothing does.
	trustWait = 30 * time.Second

	// startSpread is how far work that is due at a start is spread, so that a
	// power cut does not become a storm.
	startSpread = 30 * time.Second
)

// liveToken is a stored token on this boot's clock.
type liveToken struct {
	sent, expires, refresh time.Duration

	// When it expires by the wall clock, if that is vouched for. Zero if its
	// beginning was not.
	wallExpires time.Time
}

// lastPart is the last tenth of the token's life.
func (l *liveToken) lastPart() time.Duration { return (l.expires - l.sent) / 10 }

// left returns how long the token lives from now on: zero or less if it has
// expired. If the boot clock stood still in a suspend, the wall clock decides.
func (l *liveToken) left(now clock.Reading, vouched func() bool) time.Duration {
	left := l.expires - now.Boot
	if byWall := l.wallExpires.Sub(now.Wall); !l.wallExpires.IsZero() && byWall < left-wallSkew && vouched() {
		return byWall
	}
	return left
}

// received takes a new token. Its life counts from when it was requested: the
// server issued it later than that.
func (m *machine) received(tok dcr.Token, c *call, at moment) {
	from := refreshFrom
	if !m.quiet || m.failing() {
		from = refreshEarly
	}
	m.quiet = true
	part := from + (refreshTo-from)*at.random.Float64()
	life := at.time.life(tok, at.Reading)
	server, wall := at.time.sentTimes(c.sent, at.Reading, tok.Date)
	m.rec.Token = &storage.Token{
		AccessToken: tok.AccessToken, ID: tok.ID, Life: life,
		Sent: at.time.stamp(c.sent), ServerSent: server, WallSent: wall,
		RefreshAfter: max(time.Duration(part*float64(life)), refreshGap),
	}
	if c.pair > 0 {
		m.restored(c.pair)
	}
	m.live = nil
	m.trust(at)
	m.succeeded(at)
	m.now = false
	if life < shortGap {
		m.next, m.courtesy = c.sent.Boot+shortGap, true
	}
}

// trust computes a stored token's life on this boot's clock, as soon as that is
// possible. A life that turns out to have begun earlier ends earlier.
func (m *machine) trust(at moment) {
	if m.rec.Token == nil {
		return
	}
	m.dateToken(at)
	tok := m.rec.Token
	sent, ok := at.time.tokenSent(tok, at.Reading)
	switch {
	case !ok:
		return
	case m.live == nil:
		if !at.time.thisBoot(tok.Sent, at.Reading) && !at.time.vouched(at.Reading) {
			known := *tok // the time comes from a Date, which a later run may not have
			known.Sent.BootID, known.Sent.Boot = at.time.bootID, sent
			m.rec.Token, tok = &known, &known
		}
		m.live = &liveToken{
			sent: sent, expires: sent + tok.Life, refresh: sent + tok.RefreshAfter, wallExpires: wallExpires(tok),
		}
		m.served = m.served || m.valid(at.Reading)
		m.quiet = m.quiet || at.Boot < m.live.refresh
		if m.sound(at) {
			m.succeeded(at) // what failed was a refresh of a token that could not be trusted: it is no longer needed
		}
	case at.time.thisBoot(tok.Sent, at.Reading) && sent < m.live.sent:
		aged := *tok // a restart must not forget it
		aged.Sent.Boot = sent
		m.rec.Token = &aged
		m.age(sent)
	case sent < m.live.sent-maxSkew:
		m.age(sent)
	}
}

// dateToken dates a token of this boot that came when nothing vouched for the
// time, once something does.
func (m *machine) dateToken(at moment) {
	if !m.rec.Token.ServerSent.IsZero() || !at.time.thisBoot(m.rec.Token.Sent, at.Reading) {
		return
	}
	current, ok := at.time.trueTime(at.Reading)
	if !ok {
		return
	}
	tok := *m.rec.Token
	tok.ServerSent = current.Add(tok.Sent.Boot - at.Boot).UTC().Round(0)
	m.rec.Token = &tok
	if m.live != nil {
		live := *m.live
		live.wallExpires = wallExpires(&tok)
		m.live = &live
	}
}

// wallExpires returns when a token expires by a wall clock that is vouched for;
// zero if that is not known.
func wallExpires(tok *storage.Token) time.Time {
	wall, skew := wallSent(tok)
	if wall.IsZero() {
		return wall
	}
	return wall.Add(tok.Life + skew - wallSkew)
}

// age moves the beginning of the token's life back.
func (m *machine) age(sent time.Duration) {
	live := *m.live
	live.sent, live.expires, live.refresh = sent, sent+m.rec.Token.Life, min(live.refresh, sent+m.rec.Token.RefreshAfter)
	m.live = &live
}

// untrusted reports whether there is a token of an earlier boot that may be
// valid, by a wall clock that nothing vouches for.
func (m *machine) untrusted(at moment) bool {
	tok := m.rec.Token
	return tok != nil && m.live == nil && !tok.Refused && m.rec.Retry == nil && at.Wall.Sub(tok.Sent.Wall) < tok.Life
}

// sound reports whether the token can be trusted and is not due yet.
func (m *machine) sound(at moment) bool {
	return m.valid(at.Reading) && at.Boot < m.live.refresh && !m.rec.Token.Refused && !m.suspected()
}

// valid reports whether there is a token that players may have.
func (m *machine) valid(now clock.Reading) bool { return m.live != nil && now.Boot < m.live.expires }

// doubtful reports whether the token would have less life left if the wall clock
// were vouched for.
func (m *machine) doubtful(now clock.Reading) bool {
	if !m.valid(now) || m.live.wallExpires.IsZero() {
		return false
	}
	return m.live.wallExpires.Sub(now.Wall) < m.live.expires-now.Boot-wallSkew
}

// look takes note of what the clocks show by now: a token can be trusted, has
// aged, or has ended.
func (m *machine) look(at moment) {
	m.trust(at)
	m.dateReplacement(at)
	if m.courtesy && !m.served && m.live != nil { // the token that was waited for has expired
		m.courtesy = false
		m.hurry(at.Boot)
	}
	lapsed := !m.valid(at.Reading)
	if lapsed && !m.lapsed {
		m.hastenConfirmation(at)
	}
	m.lapsed = lapsed
}

// awaited notes that a player waits for a fresher token than there is. A wait
// that only spares the server ends.
func (m *machine) awaited(at moment) {
	if m.live != nil {
		m.live.refresh = m.live.sent + m.rec.Token.RefreshAfter
	}
	if m.courtesy {
		m.courtesy = false
		m.hurry(at.Boot)
	}
}

// refuse takes note that a protected API refused the token.
func (m *machine) refuse() {
	if tok := *m.rec.Token; !tok.Refused {
		tok.Refused = true
		m.rec.Token = &tok
	}
}
