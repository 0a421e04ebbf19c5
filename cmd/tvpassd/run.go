package main

import (
	"crypto/rand"
	"encoding/binary"
	"flag"
	"fmt"
	stdlog "log"
	mathrand "math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/tvpassd/tvpassd/daemon"
	"github.com/tvpassd/tvpassd/daemon/clock"
	"github.com/tvpassd/tvpassd/daemon/service"
)

func runCommand(*flag.FlagSet) func(*env, []string) error {
	return func(e *env, args []string) error {
		if err := noArguments(args); err != nil {
			return err
		}
		return e.runDaemon()
	}
}

// runDaemon gives the daemon this machine: its clocks, its chance, its service manager.
func (e *env) runDaemon() (err error) {
	signal.Ignore(syscall.SIGPIPE) // a log that nobody reads any longer is no reason to end
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)

	built, err := buildTime()
	if err != nil {
		return err
	}
	var seed [16]byte
	if _, err := rand.Read(seed[:]); err != nil {
		return fmt.Errorf("get a seed: %w", err)
	}
	listener, err := service.Listener()
	if err != nil {
		return exitStatus{exitConfig, err}
	}
	log, level := newLogger(e.stderr, service.Journal())
	stdlog.SetFlags(0)
	stdlog.SetOutput(libraryLog{log})
	system := clock.NewSystem()
	alarm := clock.NewAlarm(system, log)
	defer alarm.Close()
	d, err := daemon.New(daemon.Config{
		ConfigFile: e.configFile, SocketPath: e.socket, Listener: listener, RuntimeDir: os.Getenv("RUNTIME_DIRECTORY"),
		Version: version, BuildDate: built, UID: uint32(os.Geteuid()),
		Clock: system, Alarm: alarm,
		Random: mathrand.New(mathrand.NewPCG(binary.NativeEndian.Uint64(seed[:]), binary.NativeEndian.Uint64(seed[8:]))),
		Log:    log, Level: level, Notifier: service.NewNotifier(log), Hangup: hangup,
	})
	if err != nil {
		return exitStatus{exitConfig, err}
	}
	return d.Run(e.ctx)
}

// buildTime is the moment before which a clock is unset. A build without one, such as `go run` makes, believes any clock.
func buildTime() (time.Time, error) {
	if buildDate == "" {
		return time.Time{}, nil
	}
	built, err := time.Parse(time.RFC3339, buildDate)
	if err != nil {
		return time.Time{}, fmt.Errorf("this build has a wrong date: %w", err)
	}
	return built, nil
}
