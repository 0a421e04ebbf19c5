package daemon

import (
	"context"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/tvpassd/tvpassd/daemon/broker"
	"github.com/tvpassd/tvpassd/daemon/dcr"
	"github.com/tvpassd/tvpassd/storage"
)

// quiet is how long after a request memory is given back, and up to twice as long
// after the last one of many: a burst of players is over by then, and none of
// them waits for it.
const quiet = 2 * time.Second

// The states of a janitor.
const (
	atRest  int32 = iota
	armed         // the timer runs
	delayed       // and something has happened since it was armed
)

// janitor gives memory back to the device once nothing has happened for a
// while. Only requests and calls arm its timer: it never wakes an idle daemon,
// and one that has just started has less garbage than a collection costs.
type janitor struct {
	state atomic.Int32
	timer *time.Timer
	idle  chan struct{} // holds a value unless a clean-up runs
	calls atomic.Int32  // under way: what they need is not dropped
	waits func() bool   // reports whether players' calls wait

	collect func()
}

// newJanitor returns a janitor that also calls forget, to drop what the calls
// to the server needed.
func newJanitor(forget func()) *janitor {
	j := &janitor{idle: make(chan struct{}, 1), waits: func() bool { return false }, collect: collect}
	j.idle <- struct{}{}
	j.timer = time.AfterFunc(quiet, func() {
		<-j.idle
		defer func() { j.idle <- struct{}{} }()
		if !j.state.CompareAndSwap(armed, atRest) {
			j.state.Store(armed)
			j.timer.Reset(quiet)
			return
		}
		switch {
		case j.calls.Load() == 0:
			forget()
		case !j.waits():
			return // the end of the call arms the timer again
		}
		j.collect()
	})
	j.timer.Stop()
	return j
}

// The runtime sets free pages aside for its processor, and gives those back to
// the device only once they have been used: up to so many, of that size.
const (
	setAside = 64
	pageSize = 8 << 10
)

// collect gives memory back. It uses the pages that are set aside up once all
// other free pages are given back: those that are set aside next are of these.
// net/http's pools of buffers are emptied by the second collection.
func collect() {
	debug.FreeOSMemory()
	use(setAside, pageSize)
	debug.FreeOSMemory()
}

// use allocates pieces of memory and drops them.
//
//go:noinline
func use(pieces, size int) {
	kept := make([][]byte, pieces)
	for i := range kept {
		kept[i] = make([]byte, size)
	}
	runtime.KeepAlive(kept)
}

// busy puts the clean-up off. It is called for each request, and setting the
// timer anew would cost more than looking up a token.
func (j *janitor) busy() {
	if j.state.Load() == delayed || j.state.CompareAndSwap(armed, delayed) {
		return
	}
	if j.state.CompareAndSwap(atRest, armed) {
		j.timer.Reset(quiet)
	}
}

// call puts the clean-up off until the returned function is called. That
// function then does what busy does.
func (j *janitor) call() (end func()) {
	j.calls.Add(1)
	return func() {
		j.calls.Add(-1)
		j.busy()
	}
}

// careful is an Upstream that puts the clean-up off during a call. Before a call
// it makes sure that the credentials are on the disk.
type careful struct {
	broker.Upstream
	janitor *janitor
	store   *storage.Store
}

func (c careful) Register(ctx context.Context, r dcr.RegisterRequest) (dcr.Credentials, error) {
	defer c.janitor.call()()
	return c.Upstream.Register(ctx, r)
}

func (c careful) Token(ctx context.Context, r dcr.TokenRequest) (dcr.Token, error) {
	defer c.janitor.call()()
	_ = c.store.Flush() // a failure shows in the status, and the token is needed all the same
	return c.Upstream.Token(ctx, r)
}

// close stops the janitor and waits for it.
func (j *janitor) close() {
	j.timer.Stop()
	<-j.idle
	j.timer.Stop() // the clean-up that was under way may have armed it
}
