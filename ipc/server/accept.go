package server

import (
	"errors"
	"log/slog"
	"net"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// patient is a listener whose Accept waits out every error that may pass, such
// as a lack of memory or of files.
type patient struct {
	net.Listener
	log     *slog.Logger
	done    <-chan struct{} // ends a wait
	failing bool            // the last Accept failed
}

// What the kernel answers for a socket that will never accept anything.
var hopeless = []error{unix.EBADF, unix.EINVAL, unix.ENOTSOCK, unix.EOPNOTSUPP, unix.EFAULT, unix.ENOSYS}

// Accept returns an error only if the socket is closed or out of order. The
// first error of several in a row is logged, and so is their end.
func (p *patient) Accept() (net.Conn, error) {
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		c, err := p.Listener.Accept()
		if err == nil {
			if p.failing {
				p.log.Info("connections are accepted again")
			}
			p.failing = false
			return c, nil
		}
		if errors.Is(err, net.ErrClosed) || slices.ContainsFunc(hopeless,
			func(e error) bool { return errors.Is(err, e) }) {
			return nil, err
		}
		if !p.failing {
			p.log.Warn("no connection can be accepted for now", "code", "accept_failed", "err", err)
		}
		p.failing = true
		select {
		case <-time.After(pause):
		case <-p.done:
			return nil, net.ErrClosed
		}
	}
}
