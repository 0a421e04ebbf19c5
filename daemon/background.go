package daemon

import (
	"context"
	"sync"
	"time"

	"github.com/tvpassd/tvpassd/device"
	"github.com/tvpassd/tvpassd/ipc"
)

// followAgain is how long the daemon waits before it follows the network again
// after a failure, such as a lack of memory or files.
const followAgain = time.Minute

// followNetwork probes the device again when the network changes, and retries
// calls that failed because the network was down. While it can't be followed,
// the daemon looks once a minute.
func (d *Daemon) followNetwork(ctx context.Context) error {
	for told := false; ; told = true {
		err := device.Watch(ctx, func() {
			d.probe()
			d.linkUp(ctx)
		})
		if ctx.Err() != nil {
			return nil
		}
		if !told {
			d.cfg.Log.Warn("changes of the network are noticed late", "code", "network_unfollowed", "err", err)
		}
		select {
		case <-time.After(followAgain):
		case <-ctx.Done():
			return nil
		}
		if d.probe() {
			d.linkUp(ctx)
		}
	}
}

// probe probes the device again and reports whether the network changed.
func (d *Daemon) probe() bool {
	changed := d.hardware.Probe()
	if changed {
		d.upstream.Load().Drop()
		d.changed()
	}
	return changed
}

// linkUp retries calls that failed because the network was down.
func (d *Daemon) linkUp(ctx context.Context) {
	if !d.hardware.Connected() {
		return
	}
	if err := d.broker.LinkUp(ctx); err != nil && ctx.Err() == nil {
		d.cfg.Log.Warn("the network is back, but the broker does not answer", "code", ipc.CodeInternal, "err", err)
	}
}

// changed makes followChanges look again. It never waits.
func (d *Daemon) changed() {
	select {
	case d.changes <- struct{}{}:
	default: // it has yet to look
	}
}

// followChanges updates the service manager's status line, and the dates of the
// warnings.
func (d *Daemon) followChanges(ctx context.Context) {
	last := ""
	for {
		select {
		case <-d.changes:
			d.logMended()
			if now := d.api.Summary(); now != last {
				last = now
				d.cfg.Notifier.Status(now)
			}
		case <-ctx.Done():
			return
		}
	}
}

// followHangups reads the configuration again at each signal.
func (d *Daemon) followHangups(ctx context.Context) error {
	for {
		select {
		case <-d.cfg.Hangup:
			_ = d.Reload(ctx, "") // Reload has logged the error
		case <-ctx.Done():
			return nil
		}
	}
}

// settleAfter is how long a start puts off what can wait: the players of a device
// that boots come first. Whoever asks for the device before has it probed at once.
const settleAfter = 100 * time.Millisecond

// settle does the work that can wait until players are being served, and then
// follows what changes until ctx is done.
func (d *Daemon) settle(ctx context.Context) {
	d.hardware.Settle()
	if err := d.store.Flush(); err != nil {
		d.cfg.Log.Error("the state can be read, but not written", "code", ipc.CodeStorage, "err", err)
	}
	d.located.Do(d.locate)
	d.changed()
	var parts sync.WaitGroup
	parts.Go(func() { d.writeLater(ctx) })
	parts.Go(func() { d.readLater(ctx) })
	d.followChanges(ctx)
	parts.Wait()
}

// writeAgain is how long the daemon waits between attempts to write a state
// that could not be written at the start.
const writeAgain = 30 * time.Second

// writeLater retries what the start could not write, until it is written. The
// broker itself retries writes that fail later.
func (d *Daemon) writeLater(ctx context.Context) {
	for d.store.Unwritten() != nil || d.hardware.Unkept() || d.keepHolders() != nil {
		select {
		case <-time.After(writeAgain):
		case <-ctx.Done():
			return
		}
		if d.store.Flush() == nil && d.hardware.Keep() == nil {
			d.cfg.Log.Info("the state could be written at last", "code", ipc.CodeStorage)
			d.changed()
		}
	}
}

// readAgain is how long the daemon waits before it reads a configuration again
// that took too long at the start, twice as long each time: flash may be slow
// at boot, and a file system that hangs keeps a thread of each attempt.
const readAgain = 30 * time.Second

// readLater reads the configuration again until all files of it answer.
func (d *Daemon) readLater(ctx context.Context) {
	for wait := readAgain; d.conf.Load().Late; wait *= 2 {
		select {
		case <-time.After(wait):
			_ = d.readAgain(ctx, "") // it has logged the error
		case <-ctx.Done():
			return
		}
	}
}

// aliveWithin is how long the broker's loop may take to answer; a write to worn
// flash takes seconds.
const aliveWithin = 20 * time.Second

// alive reports whether the broker's loop still runs, or waits for the disk: a
// restart would wait for it too, and hand out no tokens meanwhile.
func (d *Daemon) alive() bool {
	ctx, cancel := context.WithTimeout(context.Background(), aliveWithin)
	defer cancel()
	if d.store.Busy() {
		d.changed() // its health does
		return true
	}
	return d.broker.Ping(ctx) == nil || d.store.Busy()
}
