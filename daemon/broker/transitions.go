package broker

import (
	"time"

	"github.com/tvpassd/tvpassd/daemon/clock"
	"github.com/tvpassd/tvpassd/ipc"
	"github.com/tvpassd/tvpassd/storage"
)

// storyLength is how many transitions are kept for each app: enough for a night's incident.
const storyLength = 20

// told is all that news depends on: while it stays the same there is none, and no view need be made to see that.
type told struct {
	token             *storage.Token
	retry             *storage.Retry
	valid, clockUnset bool
}

// narrate adds to each app's story what is news. It goes to the disk with the change that it tells of.
func (e *engine) narrate(now clock.Reading) {
	clockUnset := e.clockUnset(now)
	for _, m := range e.machines {
		if n := (told{m.rec.Token, m.rec.Retry, m.valid(now), clockUnset}); m.active && n != m.told {
			m.told = n
			m.narrate(e.view(m, now), now)
		}
	}
}

// narrate adds a transition if a view tells of one: another state, or another trouble. That a call is under way, or
// waits for its turn, is none: retries of the same trouble, or the seconds after each start, would push the story's
// beginning out.
func (m *machine) narrate(v *AppView, now clock.Reading) {
	still := *v
	if still.core.failing && !still.valid(now) {
		still.core.flight, still.core.next = callNone, never
	}
	state := still.State(now)
	if state == ipc.StateRegistering || state == ipc.StateRefreshing || state == ipc.StateWaiting && v.core.failure.Code == "" {
		return
	}
	next := storage.Transition{State: string(state), Code: v.core.failure.Code, ServerCode: v.core.failure.ServerCode}
	var story storage.Transitions
	if m.rec.Transitions != nil {
		story = *m.rec.Transitions
	}
	if n := len(story); n > 0 {
		last := story[n-1]
		if last.At = (time.Time{}); last == next {
			return
		}
	}
	next.At = now.Wall.UTC().Truncate(time.Second)
	story = append(story[max(len(story)+1-storyLength, 0):len(story):len(story)], next)
	m.rec.Transitions = &story
}
