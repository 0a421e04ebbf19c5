// Package daemon is tvpassd put together: it builds the parts, joins them, runs them and stops them.
//
// A token's way is a straight line. A player asks package ipc on the socket; the methods in backend.go pass that on to
// package broker, which answers from memory; behind the players' backs the broker has package dcr fetch the next token, and
// package storage keep it. The rest of this package tells people how things stand (status.go, health.go, metrics.go), knows
// the device (box.go), and takes over a changed configuration (reload.go).
//
// It decides nothing about tokens, and reads neither flags nor the environment: that is the command's.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tvpassd/tvpassd/daemon/broker"
	"github.com/tvpassd/tvpassd/daemon/clock"
	"github.com/tvpassd/tvpassd/daemon/config"
	"github.com/tvpassd/tvpassd/daemon/dcr"
	"github.com/tvpassd/tvpassd/device"
	"github.com/tvpassd/tvpassd/ipc"
	"github.com/tvpassd/tvpassd/ipc/server"
	"github.com/tvpassd/tvpassd/storage"
)

// Manager is the service manager; service.Notifier is one.
type Manager interface {
	Ready(status string)
	Reloading()
	Status(text string)
	Stopping()
	// Watchdog tells the manager every now and then that the daemon is alive, while alive says so, until ctx ends.
	Watchdog(ctx context.Context, alive func() bool) error
}

// Config is what a Daemon needs from outside of its configuration file. Fields that may be left out say so.
type Config struct {
	ConfigFile string       // "" is config.DefaultFile
	SocketPath string       // in place of the configuration's; "" leaves it
	Listener   net.Listener // a socket that the service manager passed; nil: the daemon makes its own
	RuntimeDir string       // where the privileged step leaves what it found; "" where there is none
	Root       string       // file tree of the device; "" is this machine

	Version   string
	BuildDate time.Time // a clock before this is unset
	UID       uint32    // the daemon's own user

	Clock    clock.Clock
	Alarm    broker.Alarm
	Random   *rand.Rand
	Log      *slog.Logger
	Level    *slog.LevelVar // of Log; the configuration sets it
	Notifier Manager
	Hangup   <-chan os.Signal // each is a wish to read the configuration again
}

// Daemon is a whole tvpassd.
type Daemon struct {
	cfg      Config
	first    *config.Config // what the daemon was started with
	started  time.Duration  // of the boot clock
	store    *storage.Store
	box      *box
	broker   *broker.Broker
	listener net.Listener
	since    since
	served   served
	cleaner  *janitor
	news     chan struct{} // something changed that people are told

	reloading sync.Mutex // one reload at a time
	conf      atomic.Pointer[config.Config]
	policy    atomic.Pointer[server.Policy]
	upstream  atomic.Pointer[dcr.Client]
	reloaded  atomic.Pointer[[]item] // what the last reading of the configuration left to be said
}

// New reads the configuration, opens the state and makes the socket. Its error is for a person, who must mend the one or the
// other: trying again does not help.
func New(cfg Config) (_ *Daemon, err error) {
	conf, err := config.Load(cfg.ConfigFile)
	if err != nil {
		return nil, err
	}
	cfg.Level.Set(conf.LogLevel)
	d := &Daemon{
		cfg: cfg, first: conf, started: cfg.Clock.Now().Boot,
		served: served{counts: map[servedKey]int64{}, waits: map[string]broker.Durations{}}, news: make(chan struct{}, 1),
	}
	d.cleaner = newJanitor(func() { d.upstream.Load().Forget() })
	if d.store, err = storage.Open(storage.Config{Dir: conf.StateDir, Now: d.wall}); err != nil {
		return nil, fmt.Errorf("open the state: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.store.Close())
		}
	}()
	if mended := d.store.Mended(); mended != "" {
		cfg.Log.Error("the state was damaged: "+mended, "code", codeMended)
	}
	if err := d.store.Unwritten(); err != nil {
		cfg.Log.Error("the state can be read, but not written", "code", ipc.CodeStorage, "err", err)
	}
	d.box = newBox(cfg, conf.Device, d.store)
	setup, up, err := d.setup(conf)
	if err != nil {
		return nil, err
	}
	if d.broker, err = broker.New(d.brokerConfig(), setup); err != nil {
		return nil, err
	}
	d.adopt(conf, up)
	d.listener, err = d.listen(conf.Socket)
	return d, err
}

func (d *Daemon) brokerConfig() broker.Config {
	return broker.Config{
		Clock: d.cfg.Clock, Alarm: d.cfg.Alarm, Store: d.store, Random: d.cfg.Random,
		BuildDate: d.cfg.BuildDate, Log: d.cfg.Log, Changed: d.changed, Waited: d.served.waited,
	}
}

// listen makes the socket, unless it was passed in.
func (d *Daemon) listen(s config.Socket) (net.Listener, error) {
	if d.cfg.Listener != nil {
		return d.cfg.Listener, nil
	}
	path := s.Path
	if d.cfg.SocketPath != "" {
		path = d.cfg.SocketPath
	}
	return server.Listen(server.SocketOptions{Path: path, Mode: s.Mode, Group: s.Group})
}

// Run serves players until ctx ends, which is no error. Whatever the server does never ends it.
func (d *Daemon) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	socket := server.New(server.Config{
		Policy: d.Policy, Tokens: d, Views: d, Orders: d, Log: d.cfg.Log, Now: d.wall, Busy: d.cleaner.busy,
	})

	var parts sync.WaitGroup
	start := func(run func(context.Context) error) {
		parts.Go(func() {
			if err := run(ctx); err != nil {
				cancel(err)
			}
		})
	}
	start(d.broker.Run)
	start(func(ctx context.Context) error { return socket.Run(ctx, d.listener) })
	start(d.followNetwork)
	start(d.lookAround)
	start(d.followHangups)
	start(func(ctx context.Context) error { return d.cfg.Notifier.Watchdog(ctx, d.alive) })

	d.cfg.Log.Info("tvpassd is running", "version", d.cfg.Version, "socket", d.listener.Addr().String(),
		"endpoint", d.endpoint(), "apps", len(d.conf.Load().Apps))
	d.cfg.Notifier.Ready("serving")

	<-ctx.Done()
	d.cfg.Notifier.Stopping()
	parts.Wait()
	d.cleaner.close()
	err := d.store.Close()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		err = errors.Join(cause, err)
	}
	d.cfg.Log.Info("tvpassd has stopped")
	return err
}

// followNetwork looks at the device again when the network changes, and has calls that failed for want of it made again.
// Without that news the daemon does its job all the same, only later.
func (d *Daemon) followNetwork(ctx context.Context) error {
	err := device.Watch(ctx, func() {
		if d.box.lookAgain() {
			d.changed()
		}
		if d.box.now().report.Interface == "" {
			return
		}
		if err := d.broker.LinkUp(ctx); err != nil && ctx.Err() == nil {
			d.cfg.Log.Warn("the network is back, but the broker is not", "code", ipc.CodeInternal, "err", err)
		}
	})
	if err != nil {
		d.cfg.Log.Warn("changes of the network are not followed", "code", "network_unfollowed", "err", err)
	}
	return nil
}

// changed says that there is news. It never waits.
func (d *Daemon) changed() {
	select {
	case d.news <- struct{}{}:
	default: // it is known already
	}
}

// followNews keeps the service manager's status line true, and dates the warnings.
func (d *Daemon) followNews(ctx context.Context) {
	last := ""
	for {
		select {
		case <-d.news:
			if now := summary(d.Status(server.Viewer{Admin: true})); now != last {
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
			_ = d.Reload(ctx) // it has logged why not
		case <-ctx.Done():
			return nil
		}
	}
}

// lookAfter is how long after a start the device is looked at, unless somebody asks for it: the players of a box that boots
// come first, and no call to the server leaves for a second.
const lookAfter = 100 * time.Millisecond

// lookAround does what need not be done before players are served, and goes on with what follows from it.
func (d *Daemon) lookAround(ctx context.Context) error {
	select {
	case <-time.After(lookAfter):
	case <-ctx.Done():
		return nil
	}
	d.box.first()
	d.changed()
	var parts sync.WaitGroup
	parts.Go(func() { d.writeLater(ctx) })
	d.followNews(ctx)
	parts.Wait()
	return nil
}

// writeAgain is how long after a start on a full disk the state is tried to be written again.
const writeAgain = 30 * time.Second

// writeLater tries again what the start could not write, until it is written. What can't be written later on the broker
// tries again itself.
func (d *Daemon) writeLater(ctx context.Context) {
	for d.store.Unwritten() != nil || d.box.unkept.Load() {
		select {
		case <-time.After(writeAgain):
		case <-ctx.Done():
			return
		}
		if d.store.Flush() == nil && d.box.keep() == nil {
			d.cfg.Log.Info("the state could be written at last", "code", ipc.CodeStorage)
			d.changed()
		}
	}
}

// aliveWithin is how long the broker's loop may take to answer; a write to worn flash takes seconds.
const aliveWithin = 20 * time.Second

// alive tells whether the broker's loop still goes round.
func (d *Daemon) alive() bool {
	ctx, cancel := context.WithTimeout(context.Background(), aliveWithin)
	defer cancel()
	return d.broker.Ping(ctx) == nil
}

func (d *Daemon) wall() time.Time { return d.cfg.Clock.Now().Wall }

func (d *Daemon) endpoint() string { return d.conf.Load().Endpoint }
