package broker

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tvpassd/tvpassd/daemon/dcr"
	"github.com/tvpassd/tvpassd/storage"
)

func (l *lab) transitions() storage.Transitions { return l.view().Transitions() }

// states returns an app's transitions in words.
func (l *lab) states() []string {
	var states []string
	for _, t := range l.transitions() {
		states = append(states, t.State+" "+t.Code+t.ServerCode)
	}
	return states
}

// A night without the server, a restart in it, a refusal in the morning: each
// is one transition, and stays afterwards.
func TestRetriesAreNoTransitions(t *testing.T) {
	l := newLab(t)
	l.pass(time.Minute)
	l.answer = func(request) (any, error) { return nil, &dcr.Error{Kind: dcr.Offline, Detail: "no network"} }
	l.pass(8 * time.Hour)
	l.start()
	l.pass(time.Hour)
	l.answer = l.healthy
	l.pass(time.Hour)
	want := []string{"ready ", "stale offline", "waiting offline", "ready "}
	if diff := cmp.Diff(want, l.states()); diff != "" {
		t.Errorf("the story (-want +got):\n%s", diff)
	}
	at := l.transitions()[1].At
	if night := at.Sub(labStart); night < time.Hour || night > 4*time.Hour+time.Minute {
		t.Errorf("the trouble is dated %v after the start", night)
	}

	// A healthy week adds no transition.
	l.pass(7 * 24 * time.Hour)
	if diff := cmp.Diff(want, l.states()); diff != "" {
		t.Errorf("after a week (-want +got):\n%s", diff)
	}
}

func TestTransitionsStayFew(t *testing.T) {
	l := newLab(t)
	for n := range 3 * transitionsKept {
		kind := dcr.Offline
		if n%2 == 0 {
			kind = dcr.ServerError
		}
		l.answer = func(request) (any, error) { return nil, &dcr.Error{Kind: kind} }
		l.pass(time.Hour)
	}
	if n := len(l.transitions()); n != transitionsKept {
		t.Errorf("%d transitions are kept, want %d", n, transitionsKept)
	}
}
