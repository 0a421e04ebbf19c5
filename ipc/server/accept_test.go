package server

import (
	"errors"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"testing"
)

// failing accepts a connection after these errors.
func failing(errs ...error) func() (int, error) {
	return func() (int, error) {
		if len(errs) == 0 {
			return 5, nil
		}
		err := errs[0]
		errs = errs[1:]
		return -1, os.NewSyscallError("accept4", err)
	}
}

func TestAcceptWaitsOutWhatMayPass(t *testing.T) {
	t.Parallel()
	pass := []error{syscall.ENOMEM, syscall.ENOBUFS, syscall.EPERM, syscall.EPROTO, syscall.ECONNABORTED,
		syscall.EMFILE, syscall.ENFILE, errors.New("new")}
	var log strings.Builder
	p := &patient{accept: failing(pass[:3]...), log: slog.New(slog.NewTextHandler(&log, nil))}
	if fd, err := p.next(); err != nil || fd != 5 {
		t.Fatalf("%d, %v", fd, err)
	}
	if text := log.String(); strings.Count(text, "\n") != 2 || !strings.Contains(text, "cannot allocate") {
		t.Errorf("the log: %s", text)
	}
	for _, err := range pass {
		p.accept = failing(err)
		if _, got := p.next(); got != nil {
			t.Errorf("%v ends it", err)
		}
	}
	for _, err := range []error{syscall.EBADF, syscall.EINVAL, syscall.ENOTSOCK, os.ErrClosed} {
		p.accept = failing(err)
		if _, got := p.next(); !errors.Is(got, err) {
			t.Errorf("%v does not end it", err)
		}
	}
}

func TestAcceptEndsInAPause(t *testing.T) {
	done := make(chan struct{})
	close(done)
	p := &patient{accept: failing(syscall.EMFILE), log: discard(), done: done}
	if _, err := p.next(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("%v", err)
	}
}
