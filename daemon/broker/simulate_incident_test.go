package broker

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// simLength is how long a simulated life lasts: short enough that many have a
// beginning, which is when most can go wrong.
const simLength = simYear / 4

// simFilesEvery is every how many lives are stored by the real storage package,
// which takes longer than all the rest.
const simFilesEvery = 400

// simLife is everything that is drawn for a device: what kind of device it is,
// and what happens to it. Running it needs nothing else.
type simLife struct {
	seed        uint64
	apps        int
	plain       bool // http, in a lab
	tokenLife   time.Duration
	bootClock   simBootClock
	timeService time.Duration // about how long after boot it has the time; 0: there is none
	skew        time.Duration // the server's clock before the true time
	noDates     bool          // something strips the Date of answers
	noBootID    bool
	standsStill bool          // no clock of the device runs in a suspend
	caches      time.Duration // how long the server hands out a token again that it issued
	files       bool          // the real storage package keeps the state
	incidents   []simIncident
}

// simIncident is one thing that happens to a device.
type simIncident struct {
	at     time.Duration
	kind   int           // of simKinds
	app    int           // where it is about one
	length time.Duration // where it lasts
	size   float64       // what else there is to know: from 0 to 1
}

// simKind is a kind of incident.
type simKind struct {
	weight   float64 // how often it happens, against the others
	min, max time.Duration
	words    string // %v is the length, %a the app
	happen   func(*simDevice, simIncident)
}

// lasting is an incident that begins an episode of all apps.
func lasting(e simEpisode) func(*simDevice, simIncident) {
	return func(d *simDevice, i simIncident) { d.begin(e, 0, i.length) }
}

// lastingFor is one that begins an episode of one app.
func lastingFor(e simEpisode) func(*simDevice, simIncident) {
	return func(d *simDevice, i simIncident) { d.begin(e, i.app, i.length) }
}

func (d *simDevice) begin(e simEpisode, app int, length time.Duration) {
	d.episodes[e][app] = max(d.episodes[e][app], d.at+length)
}

var simKinds = []simKind{
	// the network and the server
	{8, time.Second, 3 * simDay, "the network is gone for %v", func(d *simDevice, i simIncident) {
		d.begin(simOffline, 0, i.length)
		if i.size < 0.7 { // and the kernel tells when it is back
			d.after(i.length, d.linkUp)
		}
	}},
	{4, time.Second, 12 * time.Hour, "a captive portal answers for %v", lasting(simPortal)},
	{6, time.Second, 12 * time.Hour, "the server answers 5xx for %v", lasting(simServerError)},
	{4, time.Second, time.Hour, "the server's answers are cut short for %v", lasting(simTruncated)},
	{6, time.Second, time.Hour, "the server's answers get lost for %v", lasting(simLostReply)},
	{4, time.Second, 12 * time.Hour, "the server is slow for %v", lasting(simSlow)},
	{4, time.Second, 6 * time.Hour, "the server is temporarily_unavailable for %v", lasting(simOverload)},
	{4, time.Second, 10 * time.Minute, "the server answers 429 for %v", func(d *simDevice, i simIncident) {
		d.begin(simThrottled, 0, i.length)
		d.asked = 0
	}},
	{4, time.Second, 10 * time.Minute, "the server answers 429 with Retry-After for %v", (*simDevice).askForPatience},
	{3, time.Minute, 2 * simDay, "the statement of %a is not approved for %v", lastingFor(simUnapproved)},
	{2, time.Minute, simDay, "the server refuses the grant of %a for %v", lastingFor(simUnauthorized)},
	{3, time.Second, time.Hour, "the server does not know the credentials of %a for %v", lastingFor(simAmnesia)},
	{5, 0, 0, "the server revokes the credentials of %a", func(d *simDevice, i simIncident) { d.revoke(i.app) }},
	{4, 30 * time.Second, 2 * time.Hour, "the server fails over to an empty replica for %v", (*simDevice).failOver},
	{3, 10 * time.Second, simDay, "the application %a is revoked by mistake for %v", func(d *simDevice, i simIncident) {
		d.begin(simUnapproved, i.app, i.length)
		if p := d.rules.account(d.endpoint(), d.apps[i.app].id).held; p != nil && p.known {
			p.known = false
			d.after(i.length, func() { p.known = true })
		}
	}},
	{2, time.Second, 20 * time.Minute, "tokens live for seconds or minutes for %v", func(d *simDevice, i simIncident) {
		d.server.life = time.Duration(math.Pow(600, i.size) * float64(time.Second))
		d.after(i.length, func() { d.server.life = d.life.tokenLife })
	}},
	{6, 0, 0, "a player of %a reports its token", func(d *simDevice, i simIncident) { d.report(i.app) }},
	{6, time.Millisecond, 20 * time.Second, "a storm of players empties the bucket for %v", (*simDevice).storm},
	{2, time.Second, time.Minute, "the server has %a wait, and the power is cut after %v", (*simDevice).cutWhileShut},
	{3, time.Second, 2 * time.Minute, "a player of %a polls through the gateway for %v", (*simDevice).poll},
	{3, time.Second, time.Minute, "a player of %a floods the gateway for %v", (*simDevice).flood},
	{2, time.Second, time.Minute, "all apps, but perhaps %a, flood the gateway for %v", (*simDevice).floodAll},
	{2, time.Second, 20 * time.Minute, "a player of %a calls past the gateway for %v", (*simDevice).direct},
	{8, 0, 0, "a link comes up", func(d *simDevice, _ simIncident) { d.linkUp() }},
	{3, time.Second / 10, 10 * time.Second, "a link comes up again and again, every %v", (*simDevice).flap},

	// people
	{4, 0, 0, "an admin refreshes %a", func(d *simDevice, i simIncident) { d.adminRefresh(i.app) }},
	{1, 0, 0, "an admin resets %a", func(d *simDevice, i simIncident) { d.adminReset(i.app) }},
	{2, time.Second, simDay, "%a is taken out of the configuration for %v", func(d *simDevice, i simIncident) {
		d.apps[i.app].present = false
		d.reload()
		d.after(i.length, func() { d.apps[i.app].present = true; d.reload() })
	}},
	{2, 0, 0, "%a gets a new statement", func(d *simDevice, i simIncident) { d.statement(i.app, false) }},
	{2, time.Second, simDay, "%a gets a bad statement for %v", func(d *simDevice, i simIncident) {
		d.statement(i.app, true)
		d.after(i.length, func() { d.statement(i.app, false) })
	}},
	{2, time.Second, simDay, "the configuration names another endpoint for %v", func(d *simDevice, i simIncident) {
		d.staging = !d.staging
		d.reload()
		d.after(i.length, func() { d.staging = !d.staging; d.reload() })
	}},

	{2, time.Second / 10, 10 * time.Second, "an admin reloads again and again, every %v", (*simDevice).reloads},

	// the daemon and the power
	{4, 0, 0, "the daemon is restarted", func(d *simDevice, _ simIncident) {
		d.stop()
		d.startIn(200 * time.Millisecond)
	}},
	{4, 0, 0, "the daemon is killed", func(d *simDevice, _ simIncident) { d.kill(); d.startIn(100 * time.Millisecond) }},
	{4, time.Second / 10, 10 * time.Second, "the daemon is killed again and again, every %v", (*simDevice).crash},
	{8, time.Second, 3 * simDay, "the power is cut for %v", func(d *simDevice, i simIncident) { d.powerCut(i.length) }},
	{6, 0, 0, "the next call ends in a power cut or a kill", (*simDevice).trapNextCall},
	{6, 0, 0, "the next write ends in a power cut", func(d *simDevice, i simIncident) {
		d.disk.cut = cutBeforeWrite
		if i.size < 0.5 {
			d.disk.cut = cutAfterWrite
		}
	}},
	{10, time.Minute, 14 * time.Hour, "the device sleeps for %v", func(d *simDevice, i simIncident) {
		d.suspend(i.length)
	}},

	// the clock
	{5, time.Second, 4 * simYear, "someone sets the clock wrong by %v", (*simDevice).missetClock},
	{4, time.Second, simDay, "the kernel no longer vouches for the clock, for %v", func(d *simDevice, i simIncident) {
		d.clocks.synced = false
		if d.life.timeService > 0 {
			d.timeAt = min(d.timeAt, d.at+i.length)
		}
	}},

	// the disk
	{4, time.Second, time.Hour, "the disk is full for %v", lasting(simDiskFull)},
	{0.3, time.Hour, simDay, "the disk is full for %v", lasting(simDiskFull)}, // a write is tried twice a minute
	{3, time.Second, time.Hour, "the disk is full for the copy for %v", lasting(simDiskHalfFull)},
	{0.3, time.Hour, simDay, "the disk is full for the copy for %v", lasting(simDiskHalfFull)},
	{3, time.Second, simDay, "the gate's memory fails for %v", func(d *simDevice, i simIncident) {
		d.memory.fails = errSimDisk
		d.after(i.length, func() { d.memory.fails = nil })
	}},
	{2, 0, 0, "the database is damaged while the power is off", func(d *simDevice, _ simIncident) {
		d.lose()
		d.kill()
		d.disk.damage()
		d.rules.damaged()
		d.powerUp(0)
	}},
}

func (i simIncident) String() string {
	return strings.NewReplacer("%a", string(rune('a'+i.app)), "%v", roundly(i.length)).Replace(simKinds[i.kind].words)
}

func (d *simDevice) happen(i simIncident) {
	d.tell("** %s", i)
	d.tally.incidents++
	simKinds[i.kind].happen(d, i)
}

// drawLife draws a device and what happens to it.
func drawLife(seed uint64) simLife {
	random := rand.New(rand.NewPCG(seed, 0))
	chance := func(p float64) bool { return random.Float64() < p }
	l := simLife{
		seed: seed, apps: 1 + min(random.IntN(simMostApps), random.IntN(simMostApps)), plain: chance(0.1),
		tokenLife: pick(random, 24*time.Hour, 24*time.Hour, 24*time.Hour, 6*time.Hour),
		bootClock: pick(random, bootsAt1970, bootsAt1970, bootsRestored, bootsRestored, bootsRight, bootsWrong),
		skew:      pick(random, 0, 0, between(-40*time.Second, 40*time.Second, random)),
		noDates:   chance(0.1), noBootID: chance(0.05), files: seed%simFilesEvery == 0,
	}
	if chance(0.01) {
		l.tokenLife = 40 * time.Minute
	}
	if chance(0.99) {
		l.timeService = time.Second + logUniform(random, time.Second, 6*time.Hour)
	}
	switch l.bootClock {
	case bootsAt1970, bootsRestored:
		l.standsStill = chance(0.3)
	}
	if chance(0.04) && !l.noDates { // without a Date nobody knows how old a token is
		l.caches = time.Duration(float64(l.tokenLife) * pick(random, 0.5, 0.9, 1.1))
	}
	l.incidents = drawIncidents(random, l.apps)
	return l
}

// drawIncidents draws what happens. Incidents come in clusters, because most
// goes wrong when things coincide. Most devices live quietly, some are never
// left alone.
func drawIncidents(random *rand.Rand, apps int) []simIncident {
	weights := make([]float64, len(simKinds))
	for k := range simKinds { // one device is unplugged every night, another is in a place without a network
		weights[k] = simKinds[k].weight * math.Pow(4, 2*random.Float64()-1)
	}
	var incidents []simIncident
	for range 3 + int(77*math.Pow(random.Float64(), 4)) {
		at := time.Duration(random.Float64() * float64(simLength))
		if random.IntN(30) == 0 {
			at = logUniform(random, 10*time.Second, time.Hour) // before the first token
		}
		for range 1 + random.IntN(6) {
			k := pickWeighted(random, weights)
			incidents = append(incidents, simIncident{
				at: at, kind: k, app: random.IntN(apps), size: random.Float64(),
				length: logUniform(random, simKinds[k].min, simKinds[k].max).Round(time.Millisecond),
			})
			at += logUniform(random, 10*time.Millisecond, 2*time.Hour)
		}
	}
	slices.SortStableFunc(incidents, func(a, b simIncident) int {
		return int(a.at/time.Millisecond - b.at/time.Millisecond)
	})
	return incidents
}

func pick[T any](random *rand.Rand, from ...T) T { return from[random.IntN(len(from))] }

func pickWeighted(random *rand.Rand, weights []float64) int {
	var sum float64
	for _, w := range weights {
		sum += w
	}
	at := random.Float64() * sum
	for k, w := range weights {
		if at -= w; at < 0 {
			return k
		}
	}
	return len(weights) - 1
}

// logUniform draws a duration of any magnitude between two.
func logUniform(random *rand.Rand, low, high time.Duration) time.Duration {
	if low <= 0 || high <= low {
		return low
	}
	return time.Duration(float64(low) * math.Pow(float64(high)/float64(low), random.Float64()))
}

func roundly(d time.Duration) string {
	if d > 10*time.Second {
		d = d.Round(time.Second)
	}
	return fmt.Sprint(d)
}
