package main

import (
	"errors"

	"golang.org/x/sys/unix"
)

// opens counts how often a file is opened, by any process.
type opens struct {
	inotify int
	seen    int
}

func watchOpens(file string) (*opens, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, err
	}
	if _, err := unix.InotifyAddWatch(fd, file, unix.IN_OPEN); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return &opens{inotify: fd}, nil
}

// count returns how often the file was opened since the watch began. Events of
// one file have one size.
func (o *opens) count() int {
	events := make([]byte, 64*unix.SizeofInotifyEvent)
	for {
		n, err := unix.Read(o.inotify, events)
		if err != nil || n <= 0 {
			return o.seen
		}
		o.seen += n / unix.SizeofInotifyEvent
	}
}

func (o *opens) close() { _ = unix.Close(o.inotify) } // nothing was written
