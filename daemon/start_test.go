package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tvpassd/tvpassd/daemon/clock"
)

// noManager is no service manager.
type noManager struct{}

func (noManager) Ready(string)                          {}
func (noManager) Reloading()                            {}
func (noManager) Status(string)                         {}
func (noManager) Stopping()                             {}
func (noManager) Watchdog(context.Context, func() bool) {}

// onBench is the configuration of a daemon on this machine, with a state and a
// socket of its own.
func onBench(tb testing.TB, statement string) Config {
	tb.Helper()
	dir, err := os.MkdirTemp("", "bench") // tb.TempDir's paths are too long for a socket
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { os.RemoveAll(dir) })
	file := filepath.Join(dir, "config.toml")
	text := fmt.Sprintf("endpoint = \"http://127.0.0.1:1\"\nstate_dir = \"state\"\naccept_volatile_state = true\n"+
		"[socket]\npath = \"sock\"\ngroup = \"\"\n"+
		"[[app]]\nid = \"ref30\"\nsoftware_statement = %q\n", statement)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	system := clock.NewSystem()
	alarm := clock.NewAlarm(system, slog.New(slog.DiscardHandler))
	tb.Cleanup(func() { alarm.Close() })
	return Config{
		ConfigFile: file, Version: "1.2.3", BuildDate: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		UID:   uint32(os.Geteuid()),
		Clock: system, Alarm: alarm, Random: rand.New(rand.NewPCG(1, 2)),
		Log: slog.New(slog.DiscardHandler), Level: new(slog.LevelVar), Notifier: noManager{},
	}
}

// BenchmarkStart is what a start costs up to the socket, with a state that is
// there already.
func BenchmarkStart(b *testing.B) {
	cfg := onBench(b, "eyJhbGciOiJub25lIn0.e30.c2ln")
	b.ReportAllocs()
	for b.Loop() {
		d, err := New(cfg)
		if err != nil {
			b.Fatal(err)
		}
		d.shut(b)
	}
}

// shut releases what New took, if there was no Run.
func (d *Daemon) shut(tb testing.TB) {
	tb.Helper()
	if err := errors.Join(d.socket.Close(), d.store.Close()); err != nil {
		tb.Fatal(err)
	}
}
