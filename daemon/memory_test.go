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
		cleaned := 0
		j := newJanitor(func() { cleaned++ })
		defer j.close()
		for round := range 3 {
			for range 100 {
				j.busy()
				time.Sleep(quiet / 10)
			}
			if cleaned != round {
				t.Fatalf("cleaned up %d times during burst %d", cleaned, round)
			}
			time.Sleep(2 * quiet)
			if synctest.Wait(); cleaned != round+1 {
				t.Fatalf("cleaned up %d times after burst %d", cleaned, round)
			}
			time.Sleep(time.Hour)
		}
		if synctest.Wait(); cleaned != 3 {
			t.Errorf("cleaned up %d times after three bursts", cleaned)
		}
	})
}
