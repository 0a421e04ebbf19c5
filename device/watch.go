package device

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// burst is how long changes are gathered: plugging in a cable makes a dozen
// messages.
const burst = 200 * time.Millisecond

// Watch calls changed after links, addresses or routes of this device change,
// once for all changes within a fifth of a second. changed runs on Watch's
// goroutine, which sleeps in between. Watch returns nil when ctx is done.
func Watch(ctx context.Context, changed func()) error {
	events, err := openRouteEvents()
	if err != nil {
		return fmt.Errorf("watch the network: %w", err)
	}
	defer events.Close()
	stop := context.AfterFunc(ctx, func() { events.Close() })
	defer stop()

	buf := make([]byte, 8<<10) // a longer message is cut: its content does not matter
	for {
		err := nextChange(events, buf)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("watch the network: %w", err)
		}
		changed()
	}
}

// nextChange waits for a message and for the end of the burst that it begins.
func nextChange(events *os.File, buf []byte) error {
	if err := events.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	if err := readEvent(events, buf); err != nil {
		return err
	}
	if err := events.SetReadDeadline(time.Now().Add(burst)); err != nil {
		return err
	}
	for {
		if err := readEvent(events, buf); errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// readEvent waits for a message. ENOBUFS means that messages were lost: something
// did change.
func readEvent(events *os.File, buf []byte) error {
	if _, err := events.Read(buf); err != nil && !errors.Is(err, unix.ENOBUFS) {
		return err
	}
	return nil
}

// openRouteEvents subscribes to rtnetlink. The file does not block, so Go's poller
// serves it and no thread waits.
func openRouteEvents() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	groups := uint32(unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_IFADDR |
		unix.RTMGRP_IPV6_ROUTE)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "rtnetlink"), nil
}
