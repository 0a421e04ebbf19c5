package main

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"flag"
	"fmt"
	stdlog "log"
	mathrand "math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/tvpassd/tvpassd/daemon"
	"github.com/tvpassd/tvpassd/daemon/clock"
	"github.com/tvpassd/tvpassd/daemon/config"
	"github.com/tvpassd/tvpassd/daemon/hardware"
	"github.com/tvpassd/tvpassd/daemon/service"
	"github.com/tvpassd/tvpassd/ipc"
	"github.com/tvpassd/tvpassd/storage/fserr"
)

func runCommand(set *flag.FlagSet) func(*env, []string) error {
	user := set.String("user", "", "started by root: prepare the directories, then become user `name` for good")
	return alone(func(e *env) error {
		return e.runDaemon(*user)
	})
}

// runDaemon gives the daemon the clocks, the randomness and the service manager of
// this device.
func (e *env) runDaemon(user string) (err error) {
	e.stage.Store(starting)
	signal.Ignore(syscall.SIGPIPE) // the daemon goes on when nobody reads its log
	syscall.Umask(0o077)           // whoever started it may have another, even one that shuts itself out
	service.Prefer(user != "")
	var found *hardware.Findings
	switch {
	case user != "":
		if found, err = e.giveUpRoot(user); err != nil {
			if fserr.MayPass(err) {
				return err
			}
			return &exitStatus{exitConfig, err}
		}
	case service.Managed():
		if err := service.Seal(); err != nil {
			return err
		}
	}
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)

	this := thisProgram()
	listener, err := service.Listener()
	if err != nil {
		return &exitStatus{exitConfig, err}
	}
	journal := service.Journal()
	log, level := newLogger(service.NewLogWriter(e.stderr, unix.Stderr, journal != nil), journal)
	stdlog.SetFlags(0)
	stdlog.SetOutput(libraryLog{log})
	system := clock.NewSystem()
	alarm := clock.NewAlarm(system, log)
	defer alarm.Close()
	d, err := daemon.New(daemon.Config{
		ConfigFile: e.configFile, SocketPath: e.socket, Listener: listener,
		RuntimeDir: os.Getenv("RUNTIME_DIRECTORY"), Findings: found,
		Version: this.Version, BuildDate: this.builtAfter(), Undated: this.BuildDate == nil,
		UID:   uint32(os.Geteuid()),
		Clock: system, Alarm: alarm,
		Random: mathrand.New(random{}),
		Log:    log, Level: level, Notifier: service.NewNotifier(log), Hangup: hangup,
	})
	if fserr.MayPass(err) {
		return err // a restart may help
	}
	if err != nil {
		return &exitStatus{exitConfig, err}
	}
	e.stage.Store(serving)
	return d.Run(e.ctx)
}

// random is a source of random numbers that asks the kernel for each of them. They
// are seldom drawn, and no start with a token at hand waits for the kernel to have
// gathered randomness after its boot.
type random struct{}

func (random) Uint64() uint64 {
	var drawn [8]byte
	_, _ = rand.Read(drawn[:]) // it never fails
	return binary.NativeEndian.Uint64(drawn[:])
}

// giveUpRoot does what takes root, in a safe order: it makes the missing
// directories, reads the hardware's serial numbers, and becomes the user for
// good. Configuration, statements and certificates are read afterwards, so that
// a reload can read whatever the start could.
func (e *env) giveUpRoot(name string) (*hardware.Findings, error) {
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("only root can run as another user: leave out --user %s, or start it as root", name)
	}
	account, err := service.FindAccount(name)
	if err != nil {
		return nil, err
	}
	part, _ := config.LoadPart(e.configFile) // faults are reported when the whole file is read
	socketDir := filepath.Dir(cmp.Or(e.socket, part.SocketPath))
	folders := []service.Folder{
		{Path: part.StateDir, Mode: 0o700, HandOver: true},
		{Path: socketDir, Mode: 0o755, HandOver: socketDir == filepath.Dir(ipc.DefaultSocket)},
	}
	if dir := os.Getenv("RUNTIME_DIRECTORY"); dir != "" {
		folders = append(folders, service.Folder{Path: dir, Mode: 0o755})
	}
	for _, f := range folders {
		if err := f.Make(account); err != nil {
			return nil, err
		}
	}
	found, err := hardware.Find()
	if err != nil {
		return nil, fmt.Errorf("read the hardware: %w", err)
	}
	if err := account.Become(); err != nil {
		return nil, err
	}
	return &found, service.Seal()
}
