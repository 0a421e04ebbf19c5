package broker

import (
	"math"
	"math/rand/v2"
	"time"
)

const (
	naiveTick   = 10 * time.Millisecond // the resolution of the naive model
	naiveStarts = 3 * time.Hour         // how often a naive device starts its player, on average
	// naiveRetry is how long after a failed request the naive player sends the
	// next one: the time of an answer, and a second.
	naiveRetry = 1150 * time.Millisecond
)

// naive runs the same fleet with another player in place of tvpassd. That player
// asks for a token whenever it starts, and again 1 s after a failed request. It
// starts when its device boots, when a new configuration comes, and now and
// then. Naive devices differ only in when they ask next, so it is enough to
// count how many ask at each tick.
func (f fleet) naive(s fleetScenario) []uint32 {
	random := rand.New(rand.NewPCG(f.seed, math.MaxUint64))
	starts, retries := make([]uint32, s.length/naiveTick), make([]uint32, s.length/naiveTick)
	later := func(now, mean time.Duration) {
		if i := int((now + time.Duration(random.ExpFloat64()*float64(mean))) / naiveTick); i < len(starts) {
			starts[i]++
		}
	}
	for range f.devices {
		if within := max(s.start, s.push); within > 0 {
			starts[int((s.from+time.Duration(random.Float64()*float64(within)))/naiveTick)]++
		} else {
			later(0, naiveStarts)
		}
	}
	requests := make([]uint32, seconds(s.length))
	room, refused := 0.0, uint32(0) // what the server still takes in this second; devices that wait to retry
	for i := range starts {
		now := time.Duration(i) * naiveTick
		if now%time.Second == 0 {
			room = math.Mod(room, 1) + f.taken(f.devices)
		}
		n := starts[i] + retries[i]
		requests[seconds(now)] += n
		taken := min(n, uint32(room))
		room -= float64(taken)
		served := uint32(math.Round(float64(taken) * s.granted(now, float64(refused)/float64(f.devices))))
		if again := i + int(naiveRetry/naiveTick); again < len(retries) {
			retries[again] += n - served
		}
		refused = refused - retries[i] + n - served
		for range served {
			later(now, naiveStarts)
		}
	}
	return requests
}

// granted is the part of the requests taken by the server that bring a token.
// refused is the part of all devices that retry; of these the server grants the
// ones that the good statement has reached.
func (s fleetScenario) granted(now time.Duration, refused float64) float64 {
	switch since := now - s.ends(); {
	case s.outage && now >= s.from && since < 0, s.bad && since < 0:
		return 0
	case s.bad && since < s.push && refused > 0:
		still := 1 - since.Seconds()/s.push.Seconds()
		return max(1-still/refused, 0)
	}
	return 1
}
