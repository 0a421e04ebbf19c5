package service

import (
	"fmt"
	"io"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// LogWriter writes the lines of the log. Its reader may stop reading: somebody
// pauses a serial console with Ctrl-S, or the process at the other end of a pipe
// hangs. The daemon must not stop with it: a LogWriter waits a moment, and then
// drops lines until the reader goes on. It says how many were lost.
type LogWriter struct {
	w       io.Writer
	fd      int // behind w
	journal bool

	mu   sync.Mutex // guards what follows
	lost int        // lines since the last one that was written whole
}

// NewLogWriter returns a writer to w, whose file descriptor is fd. journal says
// that lines begin with their priority, as systemd's journal takes them.
func NewLogWriter(w io.Writer, fd int, journal bool) *LogWriter {
	return &LogWriter{w: w, fd: fd, journal: journal}
}

// pipeBuf is how many bytes a pipe takes without a pause once it is writable
// (PIPE_BUF).
const pipeBuf = 4096

// Write writes one line or drops it. It never fails: the error could not be
// logged.
func (l *LogWriter) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	wait := patience
	if l.lost > 0 {
		wait = 0
	}
	if l.lost > 0 && l.put(l.gap(), wait) {
		l.lost = 0
	}
	if l.lost > 0 || !l.put(line, wait) {
		l.lost++
	}
	return len(line), nil
}

// gap returns the line that stands for the lost ones.
func (l *LogWriter) gap() []byte {
	begin := "\ntime=" + time.Now().Format(time.RFC3339) + " level=WARN" // after a line that was cut
	if l.journal {
		begin = "\n<4>"
	}
	return fmt.Appendf(nil, "%s msg=\"lines of the log were lost: nobody read it\" code=log_lost lines=%d\n",
		begin, l.lost)
}

// put writes a line in pieces that the file takes at once, and reports whether
// all were written.
func (l *LogWriter) put(line []byte, wait time.Duration) bool {
	for len(line) > 0 {
		n := min(len(line), pipeBuf)
		for n < len(line) && n > 1 && !utf8.RuneStart(line[n]) {
			n--
		}
		if !l.ready(wait) {
			return false
		}
		if _, err := l.w.Write(line[:n]); err != nil {
			return false
		}
		line = line[n:]
	}
	return true
}

// ready reports whether the file takes a piece within a time. Regular files
// always do.
func (l *LogWriter) ready(wait time.Duration) bool {
	deadline := time.Now().Add(wait)
	for {
		fds := []unix.PollFd{{Fd: int32(l.fd), Events: unix.POLLOUT}}
		n, err := unix.Poll(fds, int(max(time.Until(deadline), 0).Milliseconds()))
		if err != unix.EINTR {
			return n > 0 || err != nil // a kernel without poll has the write itself wait
		}
	}
}
