package broker

import (
	"math/rand/v2"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// The ladders of waits after failures that follow one another. The wait itself is drawn between floor and the step, so that
// a million boxes that failed together do not come back together.
var (
	// Transient failures: the network, the server, the throttle.
	quickLadder = ladder{floor: time.Second, first: time.Second, top: 15 * time.Minute}
	// Failures that a person must mend, in the TVE Dashboard or in the configuration. Nobody is served by asking sooner.
	slowLadder = ladder{floor: 15 * time.Minute, first: 30 * time.Minute, top: 6 * time.Hour}
)

const (
	// lastTenth is the part of a token's life in which waits are at most urgentWait.
	lastTenth  = 10
	urgentWait = time.Minute

	// confirmAfter is how long after a first invalid_client the next one is asked for, at the earliest: the server
	// must say twice that it does not know the credentials, for replacing them signs viewers out.
	confirmAfter = 5 * time.Second
	// maxRetryAfter bounds what a server, or something that poses as one, can ask for.
	maxRetryAfter = time.Hour

	// replaceEvery is how often refused credentials may be replaced at most.
	replaceEvery = 24 * time.Hour
)

// rungs is the ladder for a kind of trouble.
func rungs(slow bool) ladder {
	if slow {
		return slowLadder
	}
	return quickLadder
}

type ladder struct{ floor, first, top time.Duration }

// step is the longest wait after so many failures in a row, from 1.
func (l ladder) step(failures int) time.Duration {
	b := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(l.first), backoff.WithMaxInterval(l.top), backoff.WithMultiplier(2),
		backoff.WithRandomizationFactor(0), backoff.WithMaxElapsedTime(0))
	wait := b.NextBackOff()
	for n := 1; n < failures && wait < l.top; n++ {
		wait = b.NextBackOff()
	}
	return wait
}

// draw is a wait after so many failures, no longer than limit.
func (l ladder) draw(failures int, limit time.Duration, random *rand.Rand) time.Duration {
	return between(l.floor, min(l.step(failures), limit), random)
}

// between draws uniformly from [low, high]; low where that is empty.
func between(low, high time.Duration, random *rand.Rand) time.Duration {
	if high <= low {
		return low
	}
	return low + time.Duration(random.Int64N(int64(high-low)+1))
}
