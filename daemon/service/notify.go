// Package service is what tvpassd and the system's service manager say to each other: it installs and controls the service,
// tells the manager how the daemon is, and takes a socket that the manager holds. How the daemon is, others decide.
package service

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// Notifier tells the service manager how the daemon is (sd_notify). The zero value is where there is no manager: it does
// nothing. A message that does not arrive is lost without a word, for nobody could do anything about it.
type Notifier struct {
	on bool
}

// NewNotifier is for the manager that started this process, if one did.
func NewNotifier() *Notifier {
	return &Notifier{on: os.Getenv("NOTIFY_SOCKET") != ""}
}

func (n *Notifier) send(lines ...string) {
	if n.on {
		_, _ = daemon.SdNotify(false, strings.Join(lines, "\n"))
	}
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

// Status is the line that `systemctl status` shows.
func (n *Notifier) Status(text string) { n.send(statusLine(text)) }

// Stopping says that the daemon is about to end, and means to.
func (n *Notifier) Stopping() { n.send(daemon.SdNotifyStopping) }

// statusLine keeps a line break from becoming a message of its own.
func statusLine(text string) string { return "STATUS=" + strings.ReplaceAll(text, "\n", " ") }

// Watchdog tells the manager that the daemon is alive, twice in the time that the manager waits for it, until ctx ends, as
// often as healthy answers true. It returns at once where no watchdog is wanted.
func (n *Notifier) Watchdog(ctx context.Context, healthy func() bool) error {
	if !n.on {
		return nil
	}
	patience, err := daemon.SdWatchdogEnabled(false)
	if err != nil || patience == 0 {
		return err
	}
	tick := time.NewTicker(patience / 2)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if healthy() {
				n.send(daemon.SdNotifyWatchdog)
			}
		}
	}
}
