package daemon

import (
	"runtime"
	"runtime/debug"
	"time"
)

// quiet is how long after the last request memory is given back: a burst of players is over by then, and none of them
// waits for it.
const quiet = 2 * time.Second

// janitor gives memory back to the box once nothing has happened for a while. Its timer is armed by requests alone, players'
// and the daemon's own: an idle daemon is never woken by it, and one that has only just started has less garbage than a
// collection costs.
type janitor struct {
	timer *time.Timer
	idle  chan struct{} // holds a value while nobody cleans up
}

// newJanitor makes one that also lets go of what the calls to the server needed.
func newJanitor(forget func()) *janitor {
	j := &janitor{idle: make(chan struct{}, 1)}
	j.idle <- struct{}{}
	j.timer = time.AfterFunc(quiet, func() {
		<-j.idle
		defer func() { j.idle <- struct{}{} }()
		forget()
		runtime.GC() // net/http's pools of buffers let go at the second collection only
		debug.FreeOSMemory()
	})
	j.timer.Stop()
	return j
}

// busy puts the cleaning off.
func (j *janitor) busy() { j.timer.Reset(quiet) }

// close ends the janitor, and waits for it.
func (j *janitor) close() {
	j.timer.Stop()
	<-j.idle
}
