package server

import (
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/tvpassd/tvpassd/ipc"
)

const (
	maxLeaving = 1024 // connections that wait for their refusal
	fewLeave   = 16   // of them are refused before others have their turn
)

// leavingFor returns how many of so many open files may be connections that wait
// for their refusal, beside those that the server has.
func leavingFor(files uint64, total int) int {
	used := uint64(total) + min(files/8, adminConns) + 64 // calls to the server and the state have some, too
	return int(min((files-min(files, used))/2, maxLeaving))
}

// leaving are connections too many. To refuse one and to close it costs more than
// to accept the next one: while callers wait, the refused ones wait instead.
type leaving struct {
	fds   []int // the oldest first
	most  int
	word  []byte       // the answer; nil before the first
	close func(fd int) // does not wait
}

// add refuses a connection later, and the oldest one now if there are too many.
// The answer fits the socket's buffer, so nobody waits for its reader.
func (l *leaving) add(fd int) {
	l.fds = append(l.fds, fd)
	l.refuse(len(l.fds) - l.most)
}

// refuse answers and closes the n oldest connections.
func (l *leaving) refuse(n int) {
	for n = min(n, len(l.fds)); n > 0; n-- {
		_, _ = syscall.SendmsgN(l.fds[0], l.answer(), nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		l.close(l.fds[0])
		l.fds = l.fds[1:]
	}
}

// answer returns the answer to one connection too many. A start has no time to
// make it.
func (l *leaving) answer() []byte {
	if l.word == nil {
		p := ipc.NewProblem(ipc.CodeTooManyRequests,
			"too many connections are open: close some, or keep one alive and use it again")
		p.RetryAfterMS = 1000
		l.word = lastWord(p, nil)
	}
	return l.word
}

// next accepts a connection, and refuses others while no caller waits.
func (d *door) next() (fd int, err error) {
	for len(d.leaving.fds) > 0 {
		if fd, ok := d.socket.try(); ok {
			return fd, nil
		}
		d.leaving.refuse(fewLeave)
		runtime.Gosched()
	}
	return d.callers.next()
}
