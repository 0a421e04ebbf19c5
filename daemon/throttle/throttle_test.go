package throttle

import (
	"errors"
	"io/fs"
	"testing"
	"time"
)

// memory is a Memory that fails when told to.
type memory struct {
	state State
	loads error
	saves error
	wrote int
}

func empty() *memory { return &memory{loads: fs.ErrNotExist} }

func (m *memory) Load() (State, error) { return m.state, m.loads }
func (m *memory) Save(s State) error {
	if m.saves == nil {
		m.state, m.loads = s, nil
		m.wrote++
	}
	return m.saves
}

const start = 30 * time.Second

// What a start finds saved already it does not save again.
func TestStartSavesOnlyWhatIsNew(t *testing.T) {
	m := empty()
	for n, tc := range []struct {
		bootID string
		wrote  int // in all
	}{{"b", 1}, {"b", 1}, {"another", 2}, {"another", 2}} {
		if New(tc.bootID, start, m); m.wrote != tc.wrote {
			t.Errorf("start %d: %d saves, want %d", n, m.wrote, tc.wrote)
		}
	}
}

// burst is how many calls leave at once.
func burst(g *Gate, now time.Duration) (n int) {
	for ; g.Opens(now) == now; n++ {
		g.Leave(now)
	}
	return n
}

func TestBurstAtAStart(t *testing.T) {
	failing := errors.New("no space left on device")
	for _, tc := range []struct {
		name   string
		bootID string
		memory memory
		want   int
	}{
		{"first start of a boot", "b", memory{loads: fs.ErrNotExist}, 3},
		{"another boot", "b", memory{state: State{BootID: "a", Last: start}}, 3},
		{"a call just left", "b", memory{state: State{BootID: "b", Last: start}}, 0},
		{"half a second ago", "b", memory{state: State{BootID: "b", Last: start - 500*time.Millisecond}}, 0},
		{"two seconds ago", "b", memory{state: State{BootID: "b", Last: start - 2*time.Second}}, 2},
		{"a minute ago", "b", memory{state: State{BootID: "b", Last: start - time.Minute}}, 3},
		{"in the future", "b", memory{state: State{BootID: "b", Last: start + 1}}, 0},
		{"damaged", "b", memory{loads: errors.New("it is damaged")}, 0},
		{"nothing can be remembered", "b", memory{loads: fs.ErrNotExist, saves: failing}, 0},
		{"no boot id", "", memory{loads: fs.ErrNotExist}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := New(tc.bootID, start, &tc.memory)
			if got := burst(g, start); got != tc.want {
				t.Errorf("%d calls leave at once, want %d", got, tc.want)
			}
			if opens := g.Opens(start); opens <= start || opens > start+time.Second {
				t.Errorf("the next one leaves after %v", opens-start)
			}
		})
	}
}

func TestOneCallASecond(t *testing.T) {
	g := New("b", start, empty())
	sent := 0
	for now := start; now < start+20*time.Second; now += 50 * time.Millisecond {
		sent += burst(g, now)
	}
	if sent != 3+19 {
		t.Errorf("%d calls in 20 s", sent)
	}
}

func TestACrashLoopGetsNoNewBurst(t *testing.T) {
	m := empty()
	sent := 0
	for now := start; now < start+60*time.Second; now += 300 * time.Millisecond {
		sent += burst(New("b", now, m), now)
	}
	if sent > 3+60 {
		t.Errorf("%d calls in a minute of restarts", sent)
	}
}

func TestAShutGate(t *testing.T) {
	for _, tc := range []struct{ asks, want time.Duration }{
		{0, time.Second}, {40 * time.Second, 40 * time.Second}, {5 * time.Hour, time.Hour},
	} {
		m := empty()
		g := New("b", start, m)
		if wait := g.Throttled(start, tc.asks, start); wait != tc.want {
			t.Errorf("Retry-After %v shuts it for %v, want %v", tc.asks, wait, tc.want)
		}
		g.Throttled(start, 0, start+time.Millisecond) // which does not shorten it
		for name, g := range map[string]*Gate{"this run": g, "the next one": New("b", start+10*time.Millisecond, m)} {
			left := g.Opens(start+10*time.Millisecond) - start
			if left < tc.want || left > tc.want+time.Second+time.Millisecond {
				t.Errorf("%s: it opens after %v, want %v", name, left, tc.want)
			}
			if at := g.Opens(start); burst(g, at) != 1 {
				t.Errorf("%s: the bucket was not empty", name)
			}
		}
	}
}

func TestWhatAnEarlierBootWasAskedFor(t *testing.T) {
	g := New("b", start, empty())
	g.ShutUntil(start + time.Hour)
	g.ShutUntil(start + time.Minute)
	if got := g.Shut(); got != start+time.Hour {
		t.Errorf("it is shut until %v", got)
	}
	g.OpenFrom(start + time.Minute)
	g.OpenFrom(start + 2*time.Minute)
	if got := g.Shut(); got != start+time.Minute {
		t.Errorf("it is shut until %v", got)
	}
}

func TestAGateThatOpensEarlierAfterARestart(t *testing.T) {
	m := empty()
	New("b", start, m).ShutUntil(start + time.Hour)
	g := New("b", start+time.Second, m)
	g.OpenFrom(start + 2*time.Second)
	if at := g.Opens(start + 2*time.Second); at > start+3*time.Second {
		t.Errorf("it opens after %v", at-start)
	}
}

func TestUnansweredCalls(t *testing.T) {
	m := empty()
	g := New("b", start, m)
	g.LeaveNamed("a", start+5*time.Second, start)
	g = New("b", start+time.Second, m)
	g.LeaveNamed("a", start+time.Minute, start+2*time.Second)
	g.LeaveNamed("c", start+time.Hour, start+3*time.Second)
	g = New("b", start+4*time.Second, m)
	if got, want := g.Unanswered("a"), (Unanswered{2, start + time.Minute}); got != want {
		t.Errorf("unanswered calls are %v, want %v", got, want)
	}
	g.Answered("a")
	writes := m.wrote
	g.Answered("a")
	if m.wrote != writes {
		t.Error("written, though nothing changed")
	}
	g = New("b", start+5*time.Second, m)
	if got := g.Unanswered("a"); got.Count != 0 {
		t.Errorf("unanswered calls after an answer: %v", got)
	}
	if got := g.Unanswered("c"); got.Count != 1 {
		t.Errorf("unanswered calls of another name: %v", got)
	}
	if got := New("another", start, m).Unanswered("c"); got.Count != 0 {
		t.Error("a call of another boot counts")
	}
}

func TestErrSaysWhetherTheNextRunKnows(t *testing.T) {
	m := &memory{loads: errors.New("damaged")}
	g := New("b", start, m)
	g.Leave(start + time.Second)
	if err := g.Err(); err != nil {
		t.Errorf("after a call was remembered: %v", err)
	}
	m.saves = errors.New("no space left on device")
	g.Leave(start + 2*time.Second)
	if g.Err() == nil {
		t.Error("a call that can't be remembered goes unnoticed")
	}
	if g := New("", start, empty()); g.Err() == nil {
		t.Error("a boot without an id goes unnoticed")
	}
}
