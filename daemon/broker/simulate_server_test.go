package broker

import (
	"strconv"
	"strings"
	"time"

	"github.com/tvpassd/tvpassd/daemon/dcr"
)

// secretMark stands in every secret of a simulated life, so that one search
// finds any of them.
const secretMark = "SECRET"

// simServer is the server. It knows true time but for skew, and remembers whom
// it gave what.
type simServer struct {
	skew   time.Duration // its clock before the true time
	dates  bool          // its answers bring a Date that proves the time
	life   time.Duration // of a token
	caches time.Duration // how long a token is handed out again
	bucket simBucket
	issued int
	pairs  map[string]*simPair // by client id
	tokens map[string]*simToken

	database  int // the one that answers: a fail-over may lead to an empty one
	databases int // so many there were
}

// failOver switches to a database that knows no pair.
func (s *simServer) failOver() {
	s.databases++
	s.database = s.databases
}

// knows reports whether the server takes a pair.
func (s *simServer) knows(p *simPair) bool { return p != nil && p.known && p.database == s.database }

// simPair are client credentials.
type simPair struct {
	id, secret string
	account    simKey
	known      bool // until they are revoked
	database   int  // that they are stored in
	refused    simMoment
	token      *simToken // the last one
}

// simToken is an access token as the server sees it.
type simToken struct {
	name    string
	account simKey
	sent    time.Duration // its first request
	issued  time.Duration
	expires time.Duration
	life    time.Duration

	stood, blind time.Duration // as in simRules, when it was sent
	early        bool          // it may be refreshed from 0.2 of its life on
}

// simBucket is a token bucket: so many at once, refilled at one a second.
type simBucket struct {
	capacity, level float64
	last            time.Duration
}

// take takes one from the bucket and reports whether there was one.
func (b *simBucket) take(at time.Duration) bool {
	b.level, b.last = b.at(at), max(at, b.last)
	if b.level < 1-1e-6 {
		return false
	}
	b.level--
	return true
}

// at returns how many it holds at a moment.
func (b *simBucket) at(at time.Duration) float64 {
	return min(b.capacity, b.level+max(at-b.last, 0).Seconds())
}

func (b *simBucket) empty(at time.Duration) { b.level, b.last = 0, at }

// issuedAs finds a token by its name, nil if nobody issued it.
func (s *simServer) issuedAs(name string, to *simAccount) *simToken {
	if to.served == nil || to.served.name != name {
		to.served = s.tokens[name]
	}
	return to.served
}

// date is what the server's clock shows, as a header can say it.
func (s *simServer) date(at time.Duration) time.Time {
	if !s.dates {
		return time.Time{}
	}
	return simBirth.Add(at + s.skew).Truncate(time.Second)
}

func (s *simServer) fail(kind dcr.Kind, code string, at time.Duration) *dcr.Error {
	return &dcr.Error{Kind: kind, ServerCode: code, Detail: kind.String() + " " + code, Date: s.date(at)}
}

// simStatement is what stands for an app's software statement: its edition, and
// whether it is one.
func simStatement(app string, edition int, good bool) string {
	quality := "good"
	if !good {
		quality = "bad"
	}
	return strings.Join([]string{secretMark, "statement", app, strconv.Itoa(edition), quality}, "-")
}

func (s *simServer) register(account simKey, r dcr.RegisterRequest, approved bool, at time.Duration) (
	any, *simPair, *dcr.Error,
) {
	switch {
	case !strings.HasSuffix(r.SoftwareStatement, "good"):
		return nil, nil, s.fail(dcr.Rejected, "invalid_software_statement", at)
	case !approved:
		return nil, nil, s.fail(dcr.Rejected, "unapproved_software_statement", at)
	}
	s.issued++
	n := strconv.Itoa(s.issued)
	p := &simPair{
		id: "client-" + n, secret: secretMark + "-of-client-" + n, account: account, known: true, database: s.database,
	}
	s.pairs[p.id] = p
	return dcr.Credentials{
		ClientID: p.id, ClientSecret: p.secret, IssuedAt: simBirth.Add(at + s.skew), Date: s.date(at),
	}, p, nil
}

func (s *simServer) token(account simKey, r dcr.TokenRequest, granted, amnesia bool, sent, there time.Duration) (
	any, *simToken, *dcr.Error,
) {
	p := s.pairs[r.ClientID]
	switch {
	case amnesia || !s.knows(p) || p.secret != r.ClientSecret || p.account != account:
		return nil, nil, s.fail(dcr.Rejected, "invalid_client", there)
	case !granted:
		return nil, nil, s.fail(dcr.Rejected, "unauthorized_client", there)
	}
	tok := p.token
	if tok == nil || tok.issued+3*time.Second > there || tok.issued+s.caches < there {
		s.issued++
		tok = &simToken{
			name: secretMark + "-token-" + strconv.Itoa(s.issued), account: account,
			sent: sent, issued: there, expires: there + s.life, life: s.life,
		}
		s.tokens[tok.name], p.token = tok, tok
	}
	answer := dcr.Token{
		AccessToken: tok.name, ID: "id", ExpiresIn: tok.life,
		CreatedAt: simBirth.Add(tok.issued + s.skew), Date: s.date(there),
	}
	if s.issued%2 == 0 { // some servers have whole seconds
		answer.CreatedAt = answer.CreatedAt.Truncate(time.Second)
	}
	return answer, tok, nil
}
