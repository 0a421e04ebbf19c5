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

// App is what the configuration says of one app.
type App struct {
	ID                string
	SoftwareStatement string
	RedirectURI       string
	ApplicationID     string
}

// registrationMark changes with everything that a registration sends, and
// reveals none of it.
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

// call is one call under way.
type call struct {
	kind     callKind
	machine  *machine
	sent     clock.Reading
	failures int    // in a row, before this call
	distrust bool   // it was made only because nothing vouched for the time
	mark     string // of the app's configuration
	known    bool   // the server took the credentials, whatever its answer was worth
	pair     int    // the number of the credentials that a token is asked for with: see machine.pairs

	register dcr.RegisterRequest // one of these two, by kind
	token    dcr.TokenRequest
}

// moment is one turn of the engine: what the clocks show, what is known of the
// time, and where chance comes from.
type moment struct {
	clock.Reading
	time   *timeline
	random *rand.Rand
}

// between draws uniformly from [low, high]; low if that is empty.
func (at moment) between(low, high time.Duration) time.Duration { return between(low, high, at.random) }

// record is what is stored for an app. Its parts are replaced and never changed
// in place: records are equal if their parts are the same ones.
type record struct {
	Credentials *storage.Credentials
	History     *storage.History
	Token       *storage.Token
	Retry       *storage.Retry
	Transitions *storage.Transitions
}

func recordOf(a storage.App) record {
	return record{
		Credentials: a.Credentials, History: &a.History, Token: a.Token, Retry: a.Retry, Transitions: a.Transitions,
	}
}

func (r record) app() storage.App {
	return storage.App{
		Credentials: r.Credentials, History: *r.History, Token: r.Token, Retry: r.Retry, Transitions: r.Transitions,
	}
}

// machine is the state of one app at one endpoint. Its methods are functions of
// that state, an event and a moment; they neither wait nor call anybody.
type machine struct {
	endpoint string
	app      App
	mark     string // of app: see registrationMark
	active   bool   // it is configured; otherwise its state is kept and it calls nobody

	rec      record     // as it must be stored
	saved    record     // as it is stored
	live     *liveToken // nil: no token, or none that can be trusted yet
	next     time.Duration
	courtesy bool // a player who waits need not wait for next
	now      bool // an admin wants a token at once, or replaced credentials need one

	flight     *call
	reportedAt time.Duration
	reported   bool
	contact    time.Time // last answer of the server, by the wall clock
	calls      *Calls    // since the start
	noted      noted     // what the last look for transitions saw
	quiet      bool      // the last token was served by itself: see refreshEarly
	served     bool      // there was a valid token since the start
	lapsed     bool      // there is no valid token now
}

// configure puts an app's configuration in force.
func (m *machine) configure(app App) { m.app, m.mark = app, app.registrationMark() }

// key names the app at its endpoint.
func (m *machine) key() string { return m.endpoint + "\x00" + m.app.ID }

// load takes a machine up where an earlier run of the daemon left it.
func (m *machine) load(a storage.App, at moment) {
	m.rec = recordOf(a)
	m.saved = m.rec
	if tok := m.rec.Token; tok != nil {
		m.contact = tok.Sent.Wall
	}
	if r := m.rec.Retry; r != nil {
		m.next = at.Boot + at.time.remaining(r.Noted, r.Wait, at.Reading)
		m.reconsider(at)
	}
	m.trust(at)
	if m.untrusted(at) {
		m.next, m.courtesy = max(m.next, at.Boot+at.between(trustWait*2/3, trustWait)), true
	}
	if m.live != nil && m.live.refresh <= at.Boot {
		m.live.refresh = at.Boot + at.between(0, min(startSpread, (m.live.expires-at.Boot)/2))
	}
}

// wants returns what the app needs of the server next, and from when on;
// callNone while a call is under way.
func (m *machine) wants(at moment) (callKind, time.Duration) {
	switch {
	case !m.active || m.flight != nil:
		return callNone, 0
	case m.rec.Credentials == nil || m.replacing(at) && m.untried(at) == len(m.pairs()):
		return callRegister, m.next
	case !m.valid(at.Reading) || m.now || m.rec.Token.Refused || m.failing():
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
// apps always need one: their tokens live for seconds.
const patience = 30 * time.Second

// rank returns the class of a call. Only the first token since the start goes
// before registrations: an app whose tokens live for seconds would keep others
// from registering.
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

// begin starts a call. A registration is noted as if it had failed already: one
// whose answer is lost to a power cut must wait its turn like any other failure.
func (m *machine) begin(kind callKind, at moment) *call {
	c := &call{kind: kind, machine: m, sent: at.Reading, mark: m.mark}
	if m.rec.Retry != nil {
		c.failures = m.rec.Retry.Failures
	}
	switch kind {
	case callRegister:
		c.register = dcr.RegisterRequest{
			SoftwareStatement: m.app.SoftwareStatement, RedirectURI: m.app.RedirectURI, ApplicationID: m.app.ApplicationID,
		}
		retry := m.retryAfter(c.failures+1, at)
		retry.For = c.mark
		retry.Wait = rungs(retry.Slow).draw(retry.Failures, rungs(retry.Slow).top, at.random)
		m.setRetry(retry, at)
	case callToken:
		c.distrust = m.rec.Token != nil && m.live == nil && !m.now
		pairs := m.pairs()
		if c.pair = m.untried(at); c.pair == len(pairs) {
			c.pair = 0
		}
		pair := pairs[c.pair]
		c.token = dcr.TokenRequest{
			ClientID: pair.ClientID, ClientSecret: pair.ClientSecret, ApplicationID: m.app.ApplicationID,
		}
	}
	m.flight, m.courtesy = c, false
	return c
}

func (m *machine) registering() bool { return m.flight != nil && m.flight.kind == callRegister }

// succeeded forgets what failed before.
func (m *machine) succeeded(at moment) {
	m.rec.Retry = nil
	m.next = at.Boot
}

// hurry cuts a wait short.
func (m *machine) hurry(at time.Duration) { m.next = min(m.next, at) }

// reset forgets the credentials and everything that came of them.
func (m *machine) reset(at moment) {
	m.rec = record{History: &storage.History{Registrations: m.rec.History.Registrations}, Transitions: m.rec.Transitions}
	m.live, m.flight, m.now, m.next = nil, nil, false, at.Boot
}

// kept returns what is worth storing of the record.
func (m *machine) kept() record {
	kept := m.rec
	if kept.Token != nil && kept.Token.Life < storeLife {
		kept.Token = nil
	}
	return kept
}

// stored reports whether the record is on disk.
func (m *machine) stored() bool { return m.kept() == m.saved }
