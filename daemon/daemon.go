// Package daemon builds the parts of tvpassd, joins them, runs them and stops
// them.
//
// A token's way is a straight line. A player asks package ipc/server on the
// socket, which asks localapi, which asks the broker, which answers from
// memory. Behind the players' backs the broker has dcr fetch the next token,
// and storage keep it.
//
// This package decides nothing about tokens, and reads neither flags nor the
// environment: that is the command's job.
package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tvpassd/tvpassd/daemon/broker"
	"github.com/tvpassd/tvpassd/daemon/clock"
	"github.com/tvpassd/tvpassd/daemon/config"
	"github.com/tvpassd/tvpassd/daemon/dcr"
	"github.com/tvpassd/tvpassd/daemon/gateway"
	"github.com/tvpassd/tvpassd/daemon/hardware"
	"github.com/tvpassd/tvpassd/daemon/localapi"
	"github.com/tvpassd/tvpassd/daemon/throttle"
	"github.com/tvpassd/tvpassd/ipc"
	"github.com/tvpassd/tvpassd/ipc/server"
	"github.com/tvpassd/tvpassd/storage"
)

// Manager is the service manager; a *service.Notifier is one.
type Manager interface {
	Ready(status string)
	Reloading()
	Status(text string)
	Stopping()
	// Watchdog reports to the manager at intervals that the daemon is alive, as long
	// as alive says so, until ctx is done.
	Watchdog(ctx context.Context, alive func() bool)
}

// Config is what a Daemon needs beside its configuration file. Fields that may
// be left out say so.
type Config struct {
	ConfigFile string             // "" is config.DefaultFile
	SocketPath string             // replaces the configuration's; "" leaves it
	Listener   net.Listener       // a socket that the service manager passed; nil: the daemon makes its own
	RuntimeDir string             // of the privileged step and the gate; "" if there is none
	Findings   *hardware.Findings // of the privileged step, if this process ran it; nil: they are in RuntimeDir

	Version   string
	BuildDate time.Time // a clock before this is unset
	Undated   bool      // the program does not know when it was built: BuildDate is a guess
	UID       uint32    // the daemon's own user

	Clock    clock.Clock
	Alarm    broker.Alarm
	Random   *rand.Rand
	Log      *slog.Logger
	Level    *slog.LevelVar // of Log; the configuration sets it
	Notifier Manager
	Hangup   <-chan os.Signal // each asks to read the configuration again
}

// Daemon is a whole tvpassd.
type Daemon struct {
	cfg      Config
	first    *config.Config // the configuration at the start
	store    *storage.Store
	located  sync.Once
	loss     string // why the state does not last, and what to do, once located; "" if it lasts
	mended   string // what was logged of its repairs; for New, then for followChanges
	hardware *hardware.Hardware
	broker   *broker.Broker
	gateway  *gateway.Gateway
	api      *localapi.API
	socket   *server.Socket
	janitor  *janitor
	slow     *time.Timer   // during the start: see next
	changes  chan struct{} // something may have changed that the service manager shows

	reloading sync.Mutex // one reload at a time
	conf      atomic.Pointer[config.Config]
	disk      config.Disk // of the configurations
	upstream  atomic.Pointer[dcr.Client]
}

// New reads the configuration, opens the state and makes the socket. An error
// means that the configuration or the state is unusable; unless [fserr.MayPass]
// says otherwise, retrying does not help.
func New(cfg Config) (_ *Daemon, err error) {
	d := &Daemon{cfg: cfg, changes: make(chan struct{}, 1)}
	conf, err := d.disk.Load(cfg.ConfigFile)
	if err != nil {
		return nil, err
	}
	d.first = conf
	cfg.Level.Set(conf.LogLevel)
	d.janitor = newJanitor(func() { d.upstream.Load().Forget() })
	defer d.next("")
	state := storage.Config{Dir: conf.StateDir, Now: d.wall, Boot: d.boot, Opening: d.next}
	if d.store, err = storage.Open(state); err != nil {
		return nil, fmt.Errorf("open the state: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.store.Close())
		}
	}()
	d.logMended()
	d.next("") // the state is open: a later wait has another cause
	if err := d.resolve(conf, ""); err != nil {
		return nil, err
	}
	d.hardware = hardware.New(hardware.Config{
		Findings: cfg.Findings, RuntimeDir: cfg.RuntimeDir, Overrides: conf.Device,
		Store: d.store, Log: cfg.Log,
	})
	setup, up, err := d.setup(conf)
	if err != nil {
		return nil, err
	}
	d.next(d.socketPath(conf.Socket))
	if d.socket, err = d.listen(conf.Socket); err != nil {
		return nil, err
	}
	d.next(cmp.Or(cfg.RuntimeDir, d.socketPath(conf.Socket)))
	gate := d.gate(conf.Socket)
	d.next("")
	if d.broker, err = broker.New(d.brokerConfig(gate), setup); err != nil {
		return nil, errors.Join(err, d.socket.Close())
	}
	d.join(gate)
	d.adopt(conf, up)
	return d, nil
}

// locate finds out whether the state lasts, and logs why it does not. Nobody who
// wants a token waits for that: it takes a tenth of a start, and may hang.
func (d *Daemon) locate() {
	place, err := storage.Locate(d.first.StateDir)
	if err != nil {
		d.cfg.Log.Warn("it is unknown whether the state lasts", "code", ipc.WarnStateVolatile, "err", err)
	}
	detail, advice := place.Loss()
	if detail == "" {
		return
	}
	d.loss = detail + ": " + advice
	if !d.first.AcceptVolatileState {
		d.cfg.Log.Warn(d.loss, "code", ipc.WarnStateVolatile)
	}
}

// volatile returns what status says of a state that does not last.
func (d *Daemon) volatile() string {
	if d.conf.Load().AcceptVolatileState {
		return ""
	}
	d.located.Do(d.locate)
	return d.loss
}

// logMended logs what had to be repaired since the last call.
func (d *Daemon) logMended() {
	mended := d.store.Mended()
	if mended != d.mended {
		more := strings.TrimPrefix(strings.TrimPrefix(mended, d.mended), "; ")
		d.cfg.Log.Error("the state had to be mended: "+more, "code", ipc.WarnStateMended)
		d.mended = mended
	}
}

// join puts the gateway and the local API in front of the broker.
func (d *Daemon) join(gate *throttle.Gate) {
	line := throttle.NewLine(gate, d.boot, func(d time.Duration, f func()) throttle.Timer { return time.AfterFunc(d, f) })
	d.janitor.waits = func() bool { return line.Total() != (throttle.Load{}) }
	d.gateway = gateway.New(gateway.Config{
		Tokens: &localapi.GatewayTokens{Broker: d.broker}, Line: line, Version: d.cfg.Version, Now: d.boot,
		Identifier: func() string { return d.hardware.Identifier().Header() },
		Awake:      d.janitor.call,
		Ended:      func(o *gateway.Outcome) { d.api.Ended(o) },
	})
	d.api = localapi.New(localapi.Config{
		Broker: d.broker, Hardware: d.hardware, Store: d.store, Line: line, Log: d.cfg.Log,
		Version: d.cfg.Version, Undated: d.cfg.Undated,
		Started: d.boot(), Reload: d.Reload, Socket: d.socket.Gone,
		Volatile: d.volatile,
		Changed:  func() string { return d.disk.Changed(d.conf.Load()) },
	})
}

func (d *Daemon) brokerConfig(gate *throttle.Gate) broker.Config {
	return broker.Config{
		Clock: d.cfg.Clock, Alarm: d.alarm(), Store: d.store, Gate: gate, Random: d.cfg.Random,
		BuildDate: d.cfg.BuildDate, Log: d.cfg.Log, Changed: d.changed,
		Waited: func(app string, wait time.Duration) { d.api.Waited(app, wait) },
	}
}

// alarm returns the alarm, which also drops connections at a resume: they may
// be dead by then.
func (d *Daemon) alarm() broker.Alarm {
	started := time.Now() // Go's monotonic clock stands still in a suspend
	return &wakeful{
		Alarm: d.cfg.Alarm, boot: d.boot, awake: func() time.Duration { return time.Since(started) },
		slept: d.boot(), resumed: func() { d.upstream.Load().Drop() },
	}
}

// gate returns the gate to the server as an earlier run of this boot left it.
// Its memory is in the runtime directory, otherwise beside the socket: nothing
// there survives a reboot or wears flash.
func (d *Daemon) gate(s config.Socket) *throttle.Gate {
	file := d.socketPath(s) + ".gate"
	dir, _, _ := strings.Cut(d.cfg.RuntimeDir, ":") // systemd separates several by colons
	if fi, err := os.Stat(dir); err == nil && fi.IsDir() {
		file = filepath.Join(dir, "gate")
	}
	g := throttle.New(d.cfg.Clock.BootID(), d.cfg.Clock.Now().Boot, &throttle.File{Path: file})
	if err := g.Err(); err != nil {
		d.cfg.Log.Warn("the calls since the boot are not known: the first call waits a second",
			"code", ipc.LogGateForgetful, "err", err)
	}
	return g
}

func (d *Daemon) socketPath(s config.Socket) string { return cmp.Or(d.cfg.SocketPath, s.Path) }

// listen makes the socket, unless it was passed in.
func (d *Daemon) listen(s config.Socket) (*server.Socket, error) {
	if d.cfg.Listener != nil {
		return server.Passed(d.cfg.Listener)
	}
	return server.Listen(server.SocketOptions{Path: d.socketPath(s), Mode: s.Mode, Group: s.Group})
}

// Run serves players until ctx is done and then returns nil. No failure of the
// server stops it.
func (d *Daemon) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	api := server.New(server.Config{
		Policy: d.api.Policy, Tokens: d.api, Views: d.api, Orders: d.api, Gateway: d.gateway, Log: d.cfg.Log,
		Now: d.wall, Busy: d.janitor.busy,
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
	start(d.followHangups)
	parts.Go(func() { d.cfg.Notifier.Watchdog(ctx, d.alive) })
	start(func(ctx context.Context) error { return api.Run(ctx, d.socket) }) // last: Go runs it next
	runtime.Gosched()                                                        // a token may be at hand

	conf := d.conf.Load()
	d.cfg.Log.Info("tvpassd is running", "version", d.cfg.Version, "socket", d.socket.Addr().String(),
		"endpoint", conf.Endpoint, "apps", len(conf.Apps))
	if d.cfg.Undated {
		d.cfg.Log.Warn(localapi.UndatedDetail, "code", ipc.WarnBuildDateMissing)
	}
	d.cfg.Notifier.Ready("serving")
	start(d.followNetwork) // soon: a link that comes up before is not noticed

	parts.Add(1)
	context.AfterFunc(ctx, func() {
		defer parts.Done()
		d.cfg.Notifier.Stopping()
	})
	select {
	case <-time.After(settleAfter):
		start(func(ctx context.Context) error { return d.socket.Keep(ctx, d.cfg.Log, d.changed) })
		d.settle(ctx) // here, because this goroutine's stack is large already
	case <-ctx.Done():
	}
	parts.Wait()
	d.janitor.close()
	err := d.store.Close()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		err = errors.Join(cause, err)
	}
	d.cfg.Log.Info("tvpassd has stopped")
	return err
}

func (d *Daemon) wall() time.Time { return d.cfg.Clock.Now().Wall }

func (d *Daemon) boot() time.Duration { return d.cfg.Clock.Now().Boot }
