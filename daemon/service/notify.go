package service

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// Notifier tells the service manager the daemon's state (sd_notify). The zero
// value is for a process that no manager started: it does nothing.
type Notifier struct {
	socket string // "" if nobody listens
	log    *slog.Logger

	mu   sync.Mutex // guards what follows
	deaf bool       // the last message did not arrive
}

// NewNotifier returns a Notifier for the manager that started this process, if
// one did.
func NewNotifier(log *slog.Logger) *Notifier {
	return &Notifier{socket: os.Getenv("NOTIFY_SOCKET"), log: log}
}

// patience is the longest time for one message. A manager that does not read
// must not keep the daemon from reloading or stopping.
const patience = time.Second

// send sends a message. The first of several that do not arrive is logged.
func (n *Notifier) send(lines ...string) {
	if n.socket == "" {
		return
	}
	err := deliver(n.socket, strings.Join(lines, "\n"))
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case err != nil && !n.deaf:
		n.log.Warn("the service manager does not take messages", "code", "notify_failed", "err", err)
	case err == nil && n.deaf:
		n.log.Info("the service manager takes messages again")
	}
	n.deaf = err != nil
}

// deliver does what go-systemd's SdNotify does, in limited time.
func deliver(socket, message string) error {
	c, err := net.Dial("unixgram", socket)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err = c.Write([]byte(message))
	return err
}

// Ready says that the socket answers, after a start or a reload.
func (n *Notifier) Ready(status string) { n.send(daemon.SdNotifyReady, statusLine(status)) }

// Reloading says that the configuration is being read again; Ready ends it.
func (n *Notifier) Reloading() {
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) == nil {
		n.send(daemon.SdNotifyReloading, fmt.Sprintf("MONOTONIC_USEC=%d", now.Nano()/1000))
	}
}

// Status sets the line that `systemctl status` shows.
func (n *Notifier) Status(text string) { n.send(statusLine(text)) }

// Stopping says that the daemon is about to end.
func (n *Notifier) Stopping() { n.send(daemon.SdNotifyStopping) }

// statusLine keeps a line break from starting another message.
func statusLine(text string) string { return "STATUS=" + strings.ReplaceAll(text, "\n", " ") }

// Watchdog tells the manager that the daemon is alive, twice in the time that
// the manager allows, as often as healthy returns true, until ctx is done. It
// returns at once if no watchdog is wanted.
func (n *Notifier) Watchdog(ctx context.Context, healthy func() bool) {
	limit := n.watchdog()
	if limit == 0 {
		return
	}
	tick := time.NewTicker(limit / 2)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if healthy() {
				n.send(daemon.SdNotifyWatchdog)
			}
		}
	}
}

// watchdog returns the time that the manager allows, 0 if it wants no watchdog.
// (go-systemd's SdWatchdogEnabled takes no more than 35 minutes on a 32-bit
// device, and overflows.)
func (n *Notifier) watchdog() time.Duration {
	const least, most = 20 * time.Millisecond, 24 * time.Hour
	text, pid := os.Getenv("WATCHDOG_USEC"), os.Getenv("WATCHDOG_PID")
	if n.socket == "" || text == "" || pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0
	}
	usec, err := strconv.ParseUint(text, 10, 64)
	if err != nil || usec == 0 {
		n.log.Warn("the WATCHDOG_USEC of the service manager is not a time: no watchdog runs",
			"code", "watchdog_invalid", "err", err)
		return 0
	}
	return max(time.Duration(min(usec, uint64(most.Microseconds())))*time.Microsecond, least)
}
