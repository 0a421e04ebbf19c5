package daemon

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestTheJanitorDropsNothingInTheMiddleOfACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		forgotten := 0
		j := newJanitor(func() { forgotten++ })
		defer j.close()
		end, other := j.call(), j.call()
		j.busy()
		time.Sleep(5 * quiet)
		end()
		time.Sleep(5 * quiet)
		if forgotten != 0 {
			t.Fatal("a call lost its connection")
		}
		other()
		time.Sleep(quiet - time.Millisecond)
		if forgotten != 0 {
			t.Error("the connection is dropped right after the call")
		}
		time.Sleep(2 * quiet)
		if forgotten != 1 {
			t.Errorf("cleaned up %d times after the last call", forgotten)
		}
	})
}
