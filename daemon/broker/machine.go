package broker

import (
	"crypto/sha256"
	"encoding/hex"
	"math/rand/v2"
	"time"

	"github.com/tvpassd/tvpassd/daemon/clock"
	"github.com/tvpassd/tvpassd/daemon/dcr"
	"github.com/tvpassd/tvpassd/storage"
)

const (
	// A token is refreshed between these parts of its life: two thirds, less up to a tenth of that. Never later than two
	// thirds, so that a player may always count on a third of the life being left.
	refreshFrom, refreshTo = 0.6, 2.0 / 3

	// startSpread is how far work that is due at a start is spread, so that a power cut does not become a storm.
	startSpread = 30 * time.Second

	// keptAside is how many replaced pairs of credentials are kept.
	keptAside = 3
)

// App is what the configuration says of one app.
type App struct {
	ID                string
	SoftwareStatement string
	RedirectURI       string
	ApplicationID     string
}

// registrationMark tells whether what a registration is made of has changed, without being it.
func (a App) registrationMark() string {
	sum := sha256.Sum256([]byte(a.SoftwareStatement + "\x00" + a.RedirectURI))
	return hex.EncodeToString(sum[:8])
}

// callKind is what a call to the server is for.
type callKind string

const (
	callNone     callKind = ""
	callRegister callKind = "register"
	callToken    callKind = "token"
)

// call is one request under way.
type call struct {
	kind     callKind
	machine  *machine
	sent     clock.Reading
	failures int    // in a row, before this call
	mark     string // of what the app was configured with

	register dcr.RegisterRequest // one of these two, by kind
	token    dcr.TokenRequest
}

// liveToken is a stored token on this boot's clock.
type liveToken struct{ sent, expires, refresh time.Duration }

// machine is the state of one app at one endpoint. Its methods are functions of that state, an event and the time;
// they neither wait nor call anybody.
type machine struct {
	endpoint string
	app      App
	active   bool // configured now; one that is not keeps its state and asks for nothing

	rec   storage.App // as it is to be stored
	saved storage.App // as it is stored
	live  *liveToken  // nil: no token, or none that can be trusted yet
	next  time.Duration
	now   bool // an admin wants a token at once, or replaced credentials need one

	flight     *call
	reportedAt time.Duration
	reported   bool
	contact    time.Time // last answer of the server, by the box's clock
	calls      *Calls    // since the start
	told       told      // to the story
	served     bool      // it had a valid token since the start
}

// key names the app at its endpoint.
func (m *machine) key() string { return m.endpoint + "\x00" + m.app.ID }

// load takes a machine up where an earlier run of the daemon left it.
func (m *machine) load(rec storage.App, t *timeline, now clock.Reading, random *rand.Rand) {
	m.rec, m.saved = rec, rec
	if tok := rec.Token; tok != nil {
		m.contact = tok.Sent.Wall
	}
	if r := rec.Retry; r != nil {
		m.next = now.Boot + t.remaining(r.Noted, r.Wait, now)
		m.reconsider(now)
	}
	m.trust(t, now)
	if m.live != nil && m.live.refresh <= now.Boot {
		m.live.refresh = now.Boot + between(0, min(startSpread, (m.live.expires-now.Boot)/2), random)
	}
}

// trust works out a stored token's life on this boot's clock, as soon as that is possible.
func (m *machine) trust(t *timeline, now clock.Reading) {
	tok := m.rec.Token
	if m.live != nil || tok == nil {
		return
	}
	sent, ok := t.tokenSent(tok, now)
	if !ok {
		return
	}
	m.live = &liveToken{sent: sent, expires: sent + tok.Life, refresh: sent + tok.RefreshAfter}
	m.served = m.served || m.valid(now)
	if !tok.Refused && !m.suspected() && now.Boot < m.live.refresh {
		m.succeeded(now) // what failed was a refresh for want of trust: it is not needed any more
	}
}

// awaited takes note of a player who waits for a fresher token than there is: nobody waits for the spread of a start.
func (m *machine) awaited() {
	if m.live != nil {
		m.live.refresh = m.live.sent + m.rec.Token.RefreshAfter
	}
}

// valid tells whether there is a token that players may have.
func (m *machine) valid(now clock.Reading) bool { return m.live != nil && now.Boot < m.live.expires }

// wants is what the app needs next of the server, and from when on; callNone while a call is under way.
func (m *machine) wants(t *timeline, now clock.Reading) (callKind, time.Duration) {
	switch {
	case !m.active || m.flight != nil:
		return callNone, 0
	case m.rec.Credentials == nil || m.mayReplace(m.rec.Retry, t, now):
		return callRegister, m.next
	case !m.valid(now) || m.now || m.rec.Token.Refused || m.failing():
		return callToken, m.next
	default:
		return callToken, max(m.live.refresh, m.next)
	}
}

// rank is a class of calls that go before all calls of the next one.
type rank int

const (
	rankFirst   rank = iota // the one call between an app and its first token since the start
	rankUrgent              // players wait, or a refresh has been held up for long
	rankRefresh             // there is a valid token
	rankLater               // not due yet
)

// patience is how long a due refresh gives way to apps without a token. Some
// never end to need one: their tokens live for seconds.
const patience = 30 * time.Second

// rank returns the class of a call that is due at a moment. Only the first token
// since the start goes before registrations: an app whose tokens live for
// seconds would keep others from theirs.
func (m *machine) rank(kind callKind, due time.Duration, now clock.Reading) rank {
	switch {
	case due > now.Boot:
		return rankLater
	case m.valid(now) && due > now.Boot-patience:
		return rankRefresh
	case kind == callToken && !m.served:
		return rankFirst
	default:
		return rankUrgent
	}
}

func (m *machine) registering() bool { return m.flight != nil && m.flight.kind == callRegister }

// suspected tells whether the server said that it does not know the credentials: that is to be settled soon, even while
// there is a valid token.
func (m *machine) suspected() bool { return m.rec.Retry != nil && m.rec.Retry.Suspect != nil }

// failing tells whether the last call failed: an admin's refresh is tried again until it succeeds, like any other.
func (m *machine) failing() bool { return m.rec.Retry != nil && m.rec.Retry.Code != "" }

// mayReplace tells whether refused credentials are to be replaced now.
func (m *machine) mayReplace(retry *storage.Retry, t *timeline, now clock.Reading) bool {
	if retry == nil || !retry.Condemned {
		return false
	}
	last := m.rec.History.Replaced
	return last == nil || t.passed(*last, replaceEvery, now)
}

// begin starts a call. A registration is noted as if it had failed already: one whose answer is lost to a power cut must
// wait its turn like any other failure.
func (m *machine) begin(kind callKind, t *timeline, now clock.Reading, random *rand.Rand) *call {
	c := &call{kind: kind, machine: m, sent: now, mark: m.app.registrationMark()}
	if m.rec.Retry != nil {
		c.failures = m.rec.Retry.Failures
	}
	switch kind {
	case callRegister:
		c.register = dcr.RegisterRequest{
			SoftwareStatement: m.app.SoftwareStatement, RedirectURI: m.app.RedirectURI, ApplicationID: m.app.ApplicationID,
		}
		retry := m.retryAfterFailure(c.failures+1, t, now)
		retry.For = c.mark
		retry.Wait = rungs(retry.Slow).draw(retry.Failures, rungs(retry.Slow).top, random)
		m.setRetry(retry, now)
	case callToken:
		pair := m.rec.Credentials
		c.token = dcr.TokenRequest{ClientID: pair.ClientID, ClientSecret: pair.ClientSecret, ApplicationID: m.app.ApplicationID}
	}
	m.flight = c
	return c
}

// retryAfterFailure is the retry state of a failure that counts so many, with what earlier ones left.
func (m *machine) retryAfterFailure(failures int, t *timeline, now clock.Reading) storage.Retry {
	retry := storage.Retry{}
	if m.rec.Retry != nil {
		retry = *m.rec.Retry
	}
	retry.Failures, retry.Noted = failures, t.stamp(now)
	return retry
}

func (m *machine) setRetry(retry storage.Retry, now clock.Reading) {
	m.rec.Retry = &retry
	m.next = now.Boot + retry.Wait
}

// registered takes the answer of a registration.
func (m *machine) registered(c dcr.Credentials, t *timeline, now clock.Reading) {
	if old := m.rec.Credentials; old != nil {
		aside := append([]storage.Credentials{*old}, m.rec.History.Aside...)
		m.rec.History.Aside = aside[:min(len(aside), keptAside)]
		stamp := t.stamp(now)
		stamp.Wall = time.Time{}
		m.rec.History.Replaced = &stamp
		m.dateReplacement(t, now)
	}
	m.rec.History.Registrations++
	m.rec.Credentials = &storage.Credentials{
		ClientID: c.ClientID, ClientSecret: c.ClientSecret,
		IssuedAt: c.IssuedAt, RegisteredAt: now.Wall.UTC().Truncate(time.Second),
		RedirectURIs: c.RedirectURIs, GrantTypes: c.GrantTypes, Scopes: c.Scopes,
	}
	m.succeeded(now)
	m.now = true // a token of the replaced pair may still be valid; it is not to be relied on
}

// dateReplacement puts a date to the last replacement of refused credentials once something vouches for the time. After a
// reboot that is later than it was: another replacement is rather put off than made twice in a day.
func (m *machine) dateReplacement(t *timeline, now clock.Reading) {
	last := m.rec.History.Replaced
	if last == nil || !last.Wall.IsZero() {
		return
	}
	if current, ok := t.trueTime(now); ok {
		stamp := *last
		stamp.Wall = current.UTC()
		if t.thisBoot(stamp, now) {
			stamp.Wall = stamp.Wall.Add(stamp.Boot - now.Boot)
		}
		m.rec.History.Replaced = &stamp
	}
}

// received takes a new token. Its life counts from when it was asked for, the latest moment known not to be too late.
func (m *machine) received(tok dcr.Token, c *call, t *timeline, now clock.Reading, random *rand.Rand) {
	part := refreshFrom + (refreshTo-refreshFrom)*random.Float64()
	m.rec.Token = &storage.Token{
		AccessToken: tok.AccessToken, ID: tok.ID, Life: tok.ExpiresIn,
		Sent: t.stamp(c.sent), ServerSent: t.serverSent(c.sent, now, tok.Date),
		RefreshAfter: time.Duration(part * float64(tok.ExpiresIn)),
	}
	m.live = nil
	m.trust(t, now)
	m.succeeded(now)
	m.now = false
}

func (m *machine) succeeded(now clock.Reading) {
	m.rec.Retry = nil
	m.next = now.Boot
}

// failed takes the failure of a call. gateWait is how long it shut the gate, which no attempt can undercut.
func (m *machine) failed(f Failure, c *call, gateWait time.Duration, t *timeline, now clock.Reading, random *rand.Rand) {
	slow := f.Code == CodeRejected
	failures := c.failures + 1
	if r := m.rec.Retry; r != nil && r.Slow != slow {
		failures = 1 // another kind of trouble starts its own ladder
	}
	retry := m.retryAfterFailure(failures, t, now)
	retry.Slow, retry.For = slow, c.mark
	retry.Code, retry.ServerCode, retry.Detail, retry.At = f.Code, f.ServerCode, f.Detail, now.Wall.UTC().Truncate(time.Second)
	retry.Wait = rungs(slow).draw(failures, m.waitLimit(slow, now), random)
	if c.kind == callToken {
		m.suspect(f, &retry, t, now, random)
	}
	retry.Wait = max(retry.Wait, gateWait, min(f.retryAfter, maxRetryAfter))
	m.setRetry(retry, now)
	m.reconsider(now)
	m.now = false
}

// reconsider begins anew where what the app is configured with is no longer what failed.
func (m *machine) reconsider(now clock.Reading) {
	mark := m.app.registrationMark()
	if r := m.rec.Retry; r != nil && r.For != mark {
		retry := *r
		retry.Failures, retry.Slow, retry.Wait, retry.For = 0, false, 0, mark
		m.setRetry(retry, now)
	}
}

// suspect counts invalid_client answers to token requests. The second one in a row, some seconds after the first, condemns
// the credentials; any other refusal means that the server knows them. Waits are short until that is settled.
func (m *machine) suspect(f Failure, retry *storage.Retry, t *timeline, now clock.Reading, random *rand.Rand) {
	switch {
	case f.Code != CodeRejected:
		return
	case !f.invalidClient():
		retry.Suspect, retry.Condemned = nil, false
		return
	case retry.Suspect == nil || !t.thisBoot(*retry.Suspect, now): // what lies between is told by nothing but this boot's clock
		stamp := t.stamp(now)
		retry.Suspect = &stamp
	case t.remaining(*retry.Suspect, confirmAfter, now) == 0:
		retry.Condemned = true
	}
	switch {
	case !retry.Condemned:
		retry.Slow = false
		retry.Wait = between(confirmAfter, 2*confirmAfter, random)
	case m.mayReplace(retry, t, now):
		m.rec.History.Replaced = nil // that day is over, which a later start may not be able to tell
		retry.Slow = false
		retry.Wait = between(time.Second, 2*time.Second, random)
	}
}

// waitLimit is the longest wait at this point of a token's life: in its last tenth a player is soon without.
func (m *machine) waitLimit(slow bool, now clock.Reading) time.Duration {
	if slow || !m.valid(now) {
		return rungs(slow).top
	}
	urgent := m.live.expires - (m.live.expires-m.live.sent)/lastTenth
	return max(urgent-now.Boot, 0) + urgentWait
}

// hurry cuts a wait short.
func (m *machine) hurry(at time.Duration) { m.next = min(m.next, at) }

// reset forgets the credentials and all that came of them.
func (m *machine) reset(now clock.Reading) {
	m.rec = storage.App{History: storage.History{Registrations: m.rec.History.Registrations}, Transitions: m.rec.Transitions}
	m.live, m.flight, m.now, m.next = nil, nil, false, now.Boot
}

// stored tells whether the record is on disk. Its parts are replaced, never changed in place, so pointers tell.
func (m *machine) stored() bool {
	return m.rec.Credentials == m.saved.Credentials && m.rec.Token == m.saved.Token && m.rec.Retry == m.saved.Retry && m.rec.Transitions == m.saved.Transitions &&
		m.rec.History.Registrations == m.saved.History.Registrations && m.rec.History.Replaced == m.saved.History.Replaced
}
