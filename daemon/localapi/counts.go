package localapi

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/tvpassd/tvpassd/daemon/broker"
)

// counts counts the answers to players, and how long players waited who were
// not answered from memory.
type counts struct {
	mu      sync.Mutex
	answers map[answerKey]int64
	waits   map[string]broker.Durations // by app
}

type answerKey struct{ app, outcome string }

func (c *counts) count(app string, err error) {
	key := answerKey{app, "success"}
	none, ok := errors.AsType[*broker.NoTokenError](err)
	switch {
	case err == nil:
	case ok:
		key.outcome = none.Code
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		key.outcome = "gone" // the player did not wait for the answer
	default:
		return // the app is gone, or the daemon is stopping
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answers[key]++
}

func (c *counts) waited(app string, d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.waits[app]
	all.Add(d)
	c.waits[app] = all
}

func (c *counts) write(m *metrics, views []*broker.AppView) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m.family("tvpassd_token_requests_total", "counter",
		"Requests of players for a token or headers since the start, by how they ended.")
	for _, v := range views {
		outcomes := map[string]int64{}
		for key, n := range c.answers {
			if key.app == v.App.ID {
				outcomes[key.outcome] = n
			}
		}
		for _, o := range slices.Sorted(maps.Keys(outcomes)) {
			m.sample(float64(outcomes[o]), "app", v.App.ID, "outcome", o)
		}
	}
	m.family("tvpassd_token_wait_seconds", "histogram",
		"How long players waited for a token who were not answered from memory.")
	for _, v := range views {
		if d, waited := c.waits[v.App.ID]; waited {
			m.histogram(d, "app", v.App.ID)
		}
	}
}
