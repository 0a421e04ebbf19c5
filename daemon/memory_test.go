package daemon

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestTheJanitorDropsNothingInTheMiddleOfACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var forgotten atomic.Int32
		j := newJanitor(func() { forgotten.Add(1) })
		defer j.close()
		end, other := j.call(), j.call()
		j.busy()
		time.Sleep(5 * quiet)
		end()
		time.Sleep(5 * quiet)
		if forgotten.Load() != 0 {
			t.Fatal("a call lost its connection")
		}
		other()
		time.Sleep(quiet - time.Millisecond)
		if forgotten.Load() != 0 {
			t.Error("the connection is dropped right after the call")
		}
		time.Sleep(2 * quiet)
		if n := forgotten.Load(); n != 1 {
			t.Errorf("cleaned up %d times after the last call", n)
		}
	})
}

func TestTheJanitorWaitsForTheEndOfABurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var cleaned atomic.Int32
		j := newJanitor(func() { cleaned.Add(1) })
		defer j.close()
		for round := range 3 {
			for range 100 {
				j.busy()
				time.Sleep(quiet / 10)
			}
			if n := int(cleaned.Load()); n != round {
				t.Fatalf("cleaned up %d times during burst %d", n, round)
			}
			time.Sleep(2 * quiet)
			if n := int(cleaned.Load()); n != round+1 {
				t.Fatalf("cleaned up %d times after burst %d", n, round)
			}
			time.Sleep(time.Hour)
		}
		if n := cleaned.Load(); n != 3 {
			t.Errorf("cleaned up %d times after three bursts", n)
		}
	})
}

// A call that waits keeps what it needs, but no garbage.
func TestTheJanitorCollectsWhileCallsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var forgotten atomic.Int32
		j := newJanitor(func() { forgotten.Add(1) })
		defer j.close()
		waits := false
		j.waits = func() bool { return waits }
		var collected atomic.Int32
		j.collect = func() { collected.Add(1) }
		end := j.call()
		defer end()
		time.Sleep(2 * quiet)
		if collected.Load() > 0 {
			t.Error("each poll is followed by a collection")
		}
		waits = true
		j.busy()
		time.Sleep(2 * quiet)
		if collected.Load() != 1 || forgotten.Load() > 0 {
			t.Errorf("%d collections, forgotten %d times", collected.Load(), forgotten.Load())
		}
	})
}
