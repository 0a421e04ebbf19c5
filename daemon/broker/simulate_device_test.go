package broker

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/tvpassd/tvpassd/daemon/dcr"
)

// simDevice is one device in its world: the real Broker, without its goroutine,
// and everything around it. It is driven by what was drawn for its life and by
// nothing else: the same life always ends in the same state.
type simDevice struct {
	life   simLife
	random *rand.Rand // of the world; the daemon draws from one of its own
	ctx    context.Context

	at     time.Duration // the true time, since simBirth
	clocks simClocks
	alarm  simAlarm
	timeAt time.Duration // when the time service has an answer
	disk   simDisk
	memory labMemory // the gate's
	server simServer

	apps     []simApp
	staging  bool // the configuration names the other endpoint
	episodes [simEpisodes][simMostApps]time.Duration
	asked    time.Duration // what the server's 429 asks for
	trapCall func(sent, done time.Duration)

	broker  *Broker // nil while the daemon is down
	drawn   *rand.Rand
	logs    bytes.Buffer
	flights []simFlight
	later   []simTimer

	players simPlayers
	rules   simRules
	tally   simTally
	story   *simStory // where it is told; nil: nowhere
}

// simApp is what the configuration says of an app.
type simApp struct {
	id      string
	present bool
	edition int // of its statement
	bad     bool
}

// simFlight is a request that has left.
type simFlight struct {
	call   *call
	at     time.Duration // when its end reaches the daemon
	answer any
	err    error

	account *simAccount
	pair    *simPair  // the answer's
	token   *simToken // likewise
	dropped bool      // an admin's reset came in between: only what it says of the server counts
}

// simTimer is what is to happen later on.
type simTimer struct {
	at time.Duration
	f  func()
}

const (
	simTimeout  = 15 * time.Second // of a request, as the configuration has it
	simMostApps = 4

	simProduction = "https://production.example"
	simStaging    = "https://staging.example"
)

func newSimDevice(life simLife, medium simMedium, story *simStory) *simDevice {
	d := &simDevice{
		life: life, random: rand.New(rand.NewPCG(life.seed, 1)), drawn: rand.New(rand.NewPCG(life.seed, 2)),
		ctx: context.Background(), story: story, timeAt: simNever,
		server: simServer{
			skew: life.skew, dates: !life.noDates, life: life.tokenLife, caches: life.caches,
			bucket: simBucket{capacity: 11, level: 11},
			pairs:  map[string]*simPair{}, tokens: map[string]*simToken{},
		},
		rules: newSimRules(), tally: simTally{requests: map[callKind]int{}},
	}
	d.clocks.noID = life.noBootID
	d.alarm.clocks = &d.clocks
	d.disk = newSimDisk(d, medium)
	for n := range life.apps {
		d.apps = append(d.apps, simApp{id: string(rune('a' + n)), present: true})
	}
	return d
}

// live runs the life to its end, or to the first broken rule.
func (d *simDevice) live() (broken *simBroken) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case simBroken:
			broken = &r
		default:
			broken = &simBroken{rule: "panic", at: d.at, what: fmt.Sprint(r)}
		}
	}()
	if d.life.bootClock == bootsRestored {
		d.clocks.wall = -150 * simDay // the date of the firmware
	}
	d.powerUp(0)
	incidents := d.life.incidents
	for standing := 0; d.at < simLength; standing++ {
		if standing > 1000 {
			d.breaks("g", "time stands still")
		}
		until := d.rules.next(d)
		next := min(d.next(), until)
		if len(incidents) > 0 {
			next = min(next, incidents[0].at)
		}
		if next > d.at {
			d.pass(next - d.at)
			standing = 0
		}
		if d.at < until {
			d.rules.weigh(d) // a player would see what it saw last
		} else {
			d.look()
		}
		d.keepTime()
		for len(incidents) > 0 && incidents[0].at <= d.at {
			d.happen(incidents[0])
			incidents = incidents[1:]
		}
		d.runTimers()
		d.land()
		d.playersTurn()
		d.turns()
		d.playersTurn()
		d.players.rules.judgeOwn(d)
		d.look()
	}
	return nil
}

// next is the next moment at which anything happens by itself.
func (d *simDevice) next() time.Duration {
	next := min(simLength, d.timeAt, d.players.until(d))
	for _, t := range d.later {
		next = min(next, t.at)
	}
	for _, f := range d.flights {
		next = min(next, f.at)
	}
	if d.broker != nil && d.alarm.at < simNever {
		next = min(next, d.at+d.alarm.wait())
	}
	return next
}

// pass lets time go by in which nothing happens.
func (d *simDevice) pass(t time.Duration) {
	d.at += t
	d.clocks.advance(t)
}

// after has f happen some time later.
func (d *simDevice) after(t time.Duration, f func()) {
	d.later = append(d.later, simTimer{d.at + t, f})
}

func (d *simDevice) runTimers() {
	for {
		i := slices.IndexFunc(d.later, func(t simTimer) bool { return t.at <= d.at })
		if i < 0 {
			return
		}
		f := d.later[i].f
		d.later = slices.Delete(d.later, i, i+1)
		f()
	}
}

// powerUp begins a boot after the device was off; the daemon starts soon after.
func (d *simDevice) powerUp(off time.Duration) {
	d.at += off
	up := between(8*time.Second, 40*time.Second, d.random)
	d.at += up
	d.clocks.reboot(d.life.bootClock, d.at, off, up, d.random)
	d.memory = labMemory{fails: d.memory.fails}
	d.timeAt = simNever
	if d.life.timeService > 0 {
		d.timeAt = d.at + time.Duration(float64(d.life.timeService)*(0.5+d.random.Float64()))
	}
	d.tell("boot %d, with a wall clock of %s", d.clocks.boots, d.clocks.Now().Wall.Format(time.DateTime))
	d.rules.rebooted(d)
	d.players.rules.rebooted(d)
	d.start()
}

func (d *simDevice) powerCut(off time.Duration) {
	d.lose() // with the gate's memory
	d.kill()
	d.powerUp(off)
}

// suspend puts the device to sleep. An answer that comes meanwhile finds nobody.
func (d *simDevice) suspend(t time.Duration) {
	d.at += t
	if d.life.standsStill {
		d.rules.stoodStill(d, t)
		if d.life.timeService > 0 {
			d.timeAt = min(d.timeAt, d.at+between(time.Second, 20*time.Minute, d.random))
		}
	} else {
		d.clocks.sleep(t)
	}
	for i := range d.flights {
		if f := &d.flights[i]; f.at <= d.at {
			f.account.lost(*f)
			f.at, f.answer, f.pair, f.token = d.at+between(0, simTimeout, d.random), nil, nil, nil
			f.err = &dcr.Error{Kind: dcr.Offline, Detail: "did not answer in time"}
		}
	}
	d.sleepPlayers()
	d.alarm.ring()
	d.rules.worry(d, d.at)
	d.look() // a player may be faster than the daemon
}

// step sets the wall clock.
func (d *simDevice) step(wall time.Duration, synced bool) {
	blind := !d.sees()
	step := wall - d.clocks.wall
	d.clocks.wall, d.clocks.synced = wall, synced
	if step.Abs() > 500*time.Millisecond { // less is slewed
		d.rules.reckonShut(d)
		d.alarm.ring()
	}
	if blind && d.sees() {
		d.rules.sighted(d)
	}
	if synced {
		d.rules.vouchedFor(d)
	}
	d.look() // a player may be faster than the daemon
}

// sees reports whether the wall clock lets the device make calls at all.
func (d *simDevice) sees() bool {
	return d.life.plain || (d.clocks.wall-d.at).Abs() < certificateSpan && !d.clocks.Now().Wall.Before(labBuild)
}

// keepTime is the time service's work.
func (d *simDevice) keepTime() {
	if d.at < d.timeAt {
		return
	}
	if until := max(d.active(simOffline, 0), d.active(simPortal, 0)); until > d.at {
		d.timeAt = until + between(time.Second, 64*time.Second, d.random)
		return
	}
	d.timeAt = simNever
	d.tell("the time service sets the clock, by %v", (d.at - d.clocks.wall).Round(time.Second))
	d.step(d.at, true)
}

// active is until when an episode lasts.
func (d *simDevice) active(e simEpisode, app int) time.Duration { return d.episodes[e][app] }

func (d *simDevice) is(e simEpisode, app int) bool { return d.episodes[e][app] > d.at }

func (d *simDevice) tell(format string, args ...any) {
	if d.story != nil {
		d.story.add(d.at, fmt.Sprintf(format, args...))
	}
}
