package broker

import (
	"time"

	"github.com/tvpassd/tvpassd/daemon/clock"
	"github.com/tvpassd/tvpassd/ipc"
	"github.com/tvpassd/tvpassd/storage"
)

// transitionsKept is how many transitions are kept for each app: enough for a
// night's incident.
const transitionsKept = 20

// noted is everything that transitions depend on: while it is unchanged there
// is nothing to record, and no view need be made.
type noted struct {
	token             *storage.Token
	retry             *storage.Retry
	valid, clockUnset bool
}

// noteTransitions adds each app's transitions to its record. They are stored
// together with the change that caused them.
func (e *engine) noteTransitions(now clock.Reading) {
	clockUnset := e.clockUnset(now)
	for _, m := range e.machines {
		n := noted{m.rec.Token, m.rec.Retry, m.valid(now), clockUnset}
		if m.active && n != m.noted {
			m.noted = n
			m.noteTransition(e.view(m, now), now)
		}
	}
}

// noteTransition adds a transition if a view shows another state or another
// trouble than the last one. A call that is under way or waits for its turn
// makes no difference: retries of the same trouble, or the seconds after each
// start, would push the beginning of an incident out of the list.
func (m *machine) noteTransition(v AppView, now clock.Reading) {
	code := v.core.failure.Code
	if v.core.failing && !v.valid(now) {
		v.core.flight, v.core.next = callNone, never
	}
	state := v.State(now)
	if state == ipc.StateRegistering || state == ipc.StateRefreshing || state == ipc.StateWaiting && code == "" {
		return
	}
	next := storage.Transition{State: state, Code: code, ServerCode: v.core.failure.ServerCode}
	kept := v.Transitions()
	if n := len(kept); n > 0 {
		last := kept[n-1]
		if last.At = (time.Time{}); last == next {
			return
		}
	}
	next.At = now.Wall.UTC().Truncate(time.Second)
	kept = append(kept[max(len(kept)+1-transitionsKept, 0):len(kept):len(kept)], next)
	m.rec.Transitions = &kept
}
