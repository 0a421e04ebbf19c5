package main

import (
	"math"
	"math/rand/v2"
	"time"
)

const (
	tick = 10 * time.Millisecond // the naive model's resolution
	// retry is how long after a request that failed the naive player sends the next one: an answer's time, and a second.
	retry = 1150 * time.Millisecond
)

// naive is the same fleet with a player in place of tvpassd that asks for a token whenever it starts, and again 1 s after
// a request that failed. Its boxes differ in nothing but when they ask next, so that it is enough to count how many ask at
// each tick. A box starts its player when it boots, when a new configuration comes, and now and then.
func (f fleet) naive(s scenario) []uint32 {
	random := rand.New(rand.NewPCG(f.seed, math.MaxUint64))
	starts, retries := make([]uint32, s.length/tick), make([]uint32, s.length/tick)
	later := func(now, mean time.Duration) {
		if i := int((now + time.Duration(random.ExpFloat64()*float64(mean))) / tick); i < len(starts) {
			starts[i]++
		}
	}
	for range f.boxes {
		if within := max(s.start, s.push); within > 0 {
			starts[int((s.from+time.Duration(random.Float64()*float64(within)))/tick)]++
		} else {
			later(0, f.starts)
		}
	}
	requests := make([]uint32, seconds(s.length))
	room, refused := 0.0, uint32(0) // what the server still takes in this second; boxes that wait to try again
	for i := range starts {
		now := time.Duration(i) * tick
		if now%time.Second == 0 {
			room = math.Mod(room, 1) + f.taken(f.boxes)
		}
		n := starts[i] + retries[i]
		requests[seconds(now)] += n
		taken := min(n, uint32(room))
		room -= float64(taken)
		served := uint32(math.Round(float64(taken) * s.granted(now, float64(refused)/float64(f.boxes))))
		if again := i + int(retry/tick); again < len(retries) {
			retries[again] += n - served
		}
		refused = refused - retries[i] + n - served
		for range served {
			later(now, f.starts)
		}
	}
	return requests
}

// granted is the part of the requests that the server takes which bring a token; refused is the part of all boxes that try
// again. Of these the ones that the good statement has reached are served.
func (s scenario) granted(now time.Duration, refused float64) float64 {
	switch since := now - s.ends(); {
	case s.outage && now >= s.from && since < 0, s.bad && since < 0:
		return 0
	case s.bad && since < s.push && refused > 0:
		still := 1 - since.Seconds()/s.push.Seconds()
		return max(1-still/refused, 0)
	}
	return 1
}
