package broker

import (
	"math/rand/v2"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/tvpassd/tvpassd/ipc"
	"github.com/tvpassd/tvpassd/storage"
)

// The ladders of waits after failures that follow one another. The wait itself is
// drawn between floor and the step, so that a million devices that failed
// together do not come back together.
var (
	// Transient failures: the network, the server, the throttle.
	quickLadder = ladder{floor: time.Second, first: 4 * time.Second, top: 15 * time.Minute}
	// Failures that a person must mend, in the TVE Dashboard or in the
	// configuration. Retrying sooner helps nobody.
	slowLadder = ladder{floor: 15 * time.Minute, first: 30 * time.Minute, top: 6 * time.Hour}
)

const (
	// urgentWait is the longest wait in the last tenth of a token's life.
	urgentWait = 5 * time.Minute

	// maxRetryAfter bounds what a server, or something that poses as one, can ask
	// for.
	maxRetryAfter = time.Hour
)

// rungs returns the ladder of a kind of trouble.
func rungs(slow bool) ladder {
	if slow {
		return slowLadder
	}
	return quickLadder
}

type ladder struct{ floor, first, top time.Duration }

// step returns the longest wait after so many failures in a row, from 1.
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

// draw returns a wait after so many failures, no longer than limit.
func (l ladder) draw(failures int, limit time.Duration, random *rand.Rand) time.Duration {
	return between(l.floor, min(l.step(failures), limit), random)
}

// between draws uniformly from [low, high]; low if that is empty.
func between(low, high time.Duration, random *rand.Rand) time.Duration {
	if high <= low {
		return low
	}
	return low + time.Duration(random.Int64N(int64(high-low)+1))
}

// failing reports whether the last call failed: an admin's refresh is tried
// again until it succeeds, like any other.
func (m *machine) failing() bool { return m.rec.Retry != nil && m.rec.Retry.Code != "" }

// failed takes the failure of a call. gateWait is how long it shut the gate:
// the next attempt comes no sooner.
func (m *machine) failed(f Failure, c *call, gateWait time.Duration, at moment) {
	unexplained := m.unexplained(f)
	slow := f.Code == ipc.CodeRejected && (unexplained == 0 || quickLadder.step(unexplained-1) == quickLadder.top)
	failures := c.failures + 1
	if r := m.rec.Retry; r != nil && r.Slow != slow {
		failures = 1 // another kind of trouble starts its own ladder
	}
	retry := m.retryAfter(failures, at)
	retry.Slow, retry.For, retry.Unexplained = slow, c.mark, unexplained
	retry.Code, retry.ServerCode, retry.Detail = f.Code, f.ServerCode, f.Detail
	retry.At = at.Wall.UTC().Truncate(time.Second)
	retry.Wait = rungs(slow).draw(failures, m.waitLimit(slow, at), at.random)
	if c.kind == callToken {
		m.doubt(f, c, &retry, at)
	}
	retry.Wait = max(retry.Wait, gateWait, min(f.retryAfter, maxRetryAfter))
	m.setRetry(retry, at)
	m.reconsider(at)
	m.now = false
}

// unexplained returns how many refusals in a row have a code that is not
// documented, f included. They may pass by themselves: it takes a whole quick
// ladder of them to wait for a person.
func (m *machine) unexplained(f Failure) int {
	switch {
	case f.Code != ipc.CodeRejected || documented(f.ServerCode):
		return 0
	case m.rec.Retry == nil:
		return 1
	default:
		return m.rec.Retry.Unexplained + 1
	}
}

// retryAfter returns the retry state after so many failures, with what earlier
// ones left.
func (m *machine) retryAfter(failures int, at moment) storage.Retry {
	retry := storage.Retry{}
	if m.rec.Retry != nil {
		retry = *m.rec.Retry
		if !at.time.thisBoot(retry.Noted, at.Reading) {
			retry.Refused = 0
		}
	}
	retry.Failures, retry.Noted = failures, at.time.stamp(at.Reading)
	return retry
}

func (m *machine) setRetry(retry storage.Retry, at moment) {
	m.rec.Retry = &retry
	m.next = at.Boot + retry.Wait
}

// reconsider forgets the failures of a configuration that is no longer the
// app's.
func (m *machine) reconsider(at moment) {
	if r := m.rec.Retry; r != nil && r.For != m.mark {
		retry := *r
		retry.Failures, retry.Slow, retry.Wait, retry.For = 0, false, 0, m.mark
		m.setRetry(retry, at)
	}
}

// waitLimit returns the longest wait at this point of a token's life. In the
// last tenth it is short: players will soon be without a token.
func (m *machine) waitLimit(slow bool, at moment) time.Duration {
	if slow || !m.valid(at.Reading) {
		return rungs(slow).top
	}
	return max(m.live.expires-m.live.lastPart()-at.Boot, 0) + urgentWait
}
