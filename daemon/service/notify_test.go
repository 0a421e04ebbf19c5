package service

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// manager is a service manager that is sent messages.
type manager struct {
	t    *testing.T
	conn *net.UnixConn
}

func newManager(t *testing.T) manager {
	t.Helper()
	address := &net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"), Net: "unixgram"}
	conn, err := net.ListenUnixgram("unixgram", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", address.Name)
	return manager{t, conn}
}

// hears returns the next message.
func (m manager) hears() string {
	m.t.Helper()
	if err := m.conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		m.t.Fatal(err)
	}
	b := make([]byte, 4096)
	n, err := m.conn.Read(b)
	if err != nil {
		m.t.Fatal(err)
	}
	return string(b[:n])
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestNotifier(t *testing.T) {
	m := newManager(t)
	n := NewNotifier(discard())
	for _, c := range []struct {
		tell func()
		want string
	}{
		{func() { n.Ready("healthy: 2 apps") }, `^READY=1\nSTATUS=healthy: 2 apps$`},
		{func() { n.Status("no\nREADY=1") }, `^STATUS=no READY=1$`},
		{n.Reloading, `^RELOADING=1\nMONOTONIC_USEC=[1-9][0-9]*$`},
		{n.Stopping, `^STOPPING=1$`},
	} {
		c.tell()
		if got := m.hears(); !regexp.MustCompile(c.want).MatchString(got) {
			t.Errorf("sent %q, not %s", got, c.want)
		}
	}
}

func TestNobodyToNotify(t *testing.T) {
	m := newManager(t)
	var n Notifier
	n.Ready("up")
	n.Reloading()
	n.Stopping()
	NewNotifier(discard()).Status("last")
	if got := m.hears(); got != "STATUS=last" {
		t.Errorf("the zero value sent %q", got)
	}
}

func TestWatchdogIsSilentWhileUnhealthy(t *testing.T) {
	m := newManager(t)
	t.Setenv("WATCHDOG_USEC", "20000")
	n := NewNotifier(discard())
	ctx, cancel := context.WithCancel(t.Context())
	asked, done := 0, make(chan struct{})
	go func() {
		n.Watchdog(ctx, func() bool {
			asked++
			n.Status("asked")
			return asked > 2
		})
		close(done)
	}()
	for _, want := range []string{"STATUS=asked", "STATUS=asked", "STATUS=asked", "WATCHDOG=1", "STATUS=asked",
		"WATCHDOG=1"} {
		if got := m.hears(); got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
	cancel()
	<-done
}

func TestNoWatchdogWanted(t *testing.T) {
	never := func() bool { t.Error("asked for its health"); return true }
	t.Setenv("WATCHDOG_USEC", "1")
	new(Notifier).Watchdog(t.Context(), never)
	newManager(t)
	t.Setenv("WATCHDOG_USEC", "")
	NewNotifier(discard()).Watchdog(t.Context(), never)
	t.Setenv("WATCHDOG_USEC", "1000")
	t.Setenv("WATCHDOG_PID", "1")
	NewNotifier(discard()).Watchdog(t.Context(), never)
}

// A manager may ask for any time. One that makes no sense is logged, and ends
// nothing.
func TestWatchdogTimes(t *testing.T) {
	newManager(t)
	for text, want := range map[string]time.Duration{
		"30000000": 30 * time.Second, "3600000000": time.Hour, // more than 32 bits
		"1": 20 * time.Millisecond, "18446744073709551615": 24 * time.Hour,
		"0": 0, "-1": 0, "soon": 0, "99999999999999999999": 0,
	} {
		t.Setenv("WATCHDOG_USEC", text)
		var log strings.Builder
		n := NewNotifier(slog.New(slog.NewTextHandler(&log, nil)))
		if got := n.watchdog(); got != want || (log.Len() > 0) != (want == 0) {
			t.Errorf("%s: %v, want %v; the log: %s", text, got, want, &log)
		}
	}
}

// A manager that reads nothing, with a queue that is full, delays a message and
// does not stop it; it is logged once, and once more when messages arrive again.
func TestManagerThatDoesNotRead(t *testing.T) {
	m := newManager(t)
	var log strings.Builder
	n := NewNotifier(slog.New(slog.NewTextHandler(&log, nil)))
	for log.Len() == 0 { // the kernel queues a few
		n.Status("busy")
	}
	n.Stopping()
	if text := log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "does not take messages") {
		t.Errorf("the log: %s", text)
	}
	m.hears()
	n.Status("again")
	if text := log.String(); strings.Count(text, "\n") != 2 || !strings.Contains(text, "again") {
		t.Errorf("the log, afterwards: %s", text)
	}
}

func TestManagerThatHasGone(t *testing.T) {
	m := newManager(t)
	var log strings.Builder
	n := NewNotifier(slog.New(slog.NewTextHandler(&log, nil)))
	m.conn.Close()
	n.Status("anybody?")
	if text := log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "code=notify_failed") {
		t.Errorf("the log: %s", text)
	}
}
