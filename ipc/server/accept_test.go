package server

import (
	"errors"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"testing"
)

// failing is a listener that fails a few times.
type failing struct {
	net.Listener
	errs []error
}

func (f *failing) Accept() (net.Conn, error) {
	if len(f.errs) == 0 {
		return &net.UnixConn{}, nil
	}
	err := f.errs[0]
	f.errs = f.errs[1:]
	return nil, &net.OpError{Op: "accept", Net: "unix", Err: err}
}

func TestAcceptWaitsOutWhatMayPass(t *testing.T) {
	t.Parallel()
	pass := []error{syscall.ENOMEM, syscall.ENOBUFS, syscall.EPERM, syscall.EPROTO, syscall.ECONNABORTED,
		syscall.EMFILE, syscall.ENFILE, errors.New("new")}
	var log strings.Builder
	p := &patient{Listener: &failing{errs: pass[:3]}, log: slog.New(slog.NewTextHandler(&log, nil))}
	if c, err := p.Accept(); err != nil || c == nil {
		t.Fatalf("%v", err)
	}
	if text := log.String(); strings.Count(text, "\n") != 2 || !strings.Contains(text, "cannot allocate") {
		t.Errorf("the log: %s", text)
	}
	for _, err := range pass {
		p.Listener = &failing{errs: []error{err}}
		if _, got := p.Accept(); got != nil {
			t.Errorf("%v ends it", err)
		}
	}
	for _, err := range []error{syscall.EBADF, syscall.EINVAL, syscall.ENOTSOCK, net.ErrClosed} {
		p.Listener = &failing{errs: []error{err}}
		if _, got := p.Accept(); !errors.Is(got, err) {
			t.Errorf("%v does not end it", err)
		}
	}
}

func TestAcceptEndsInAPause(t *testing.T) {
	done := make(chan struct{})
	close(done)
	p := &patient{Listener: &failing{errs: []error{syscall.EMFILE}}, log: discard(), done: done}
	if _, err := p.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v", err)
	}
}
