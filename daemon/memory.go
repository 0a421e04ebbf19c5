package daemon

import (
	"runtime"
	"runtime/debug"
	"time"
)

// quiet is how long after the last request memory is given back: a burst of
// players is over by then, and none of them waits for it.
const quiet = 2 * time.Second

// janitor gives memory back to the device once nothing has happened for a while.
// Only requests and calls arm its timer: it never wakes an idle daemon, and one
// that has just started has less garbage than a collection costs.
type janitor struct {
	timer *time.Timer
	idle  chan struct{} // holds a value unless a clean-up runs
}

// newJanitor returns a janitor that also calls forget, to drop what the calls to
// the server needed.
func newJanitor(forget func()) *janitor {
	j := &janitor{idle: make(chan struct{}, 1)}
	j.idle <- struct{}{}
	j.timer = time.AfterFunc(quiet, func() {
		<-j.idle
		defer func() { j.idle <- struct{}{} }()
		forget()
		runtime.GC() // net/http's pools of buffers are only emptied by the second collection
		debug.FreeOSMemory()
	})
	j.timer.Stop()
	return j
}

// busy puts the clean-up off.
func (j *janitor) busy() { j.timer.Reset(quiet) }

// close stops the janitor and waits for it.
func (j *janitor) close() {
	j.timer.Stop()
	<-j.idle
}
