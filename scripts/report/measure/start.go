package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// startRuns is how often daemon and hello are started, in turns.
const startRuns = 15

// startUp compares the way from the start of the daemon to its first cached
// token with a Go program that says hello.
func startUp(ctx context.Context, l *lab) (row, error) {
	r := row{what: "start to first cached token over a Go hello", unit: "%.2f", budget: 3.5, stretch: 2.7}
	var ratios, took []float64
	for range startRuns {
		floor, err := l.hello(ctx)
		if err != nil {
			return r, err
		}
		ours, err := l.firstToken(ctx)
		if err != nil {
			return r, err
		}
		ratios = append(ratios, ours.Seconds()/floor.Seconds())
		took = append(took, ours.Seconds()*1e3)
	}
	slices.Sort(ratios)
	slices.Sort(took)
	r.value = ratios[len(ratios)/2]
	r.note = fmt.Sprintf("half of %d runs from %.2f to %.2f; here %.1f ms",
		startRuns, ratios[len(ratios)/4], ratios[len(ratios)*3/4], took[len(took)/2])
	return r, nil
}

// hello returns how long the Go hello takes from its start to its end.
func (l *lab) hello(ctx context.Context) (time.Duration, error) {
	cmd := exec.CommandContext(ctx, l.files.own("hello"))
	cmd.Env = append(os.Environ(), bootPath)
	began := time.Now()
	err := cmd.Run()
	return time.Since(began), err
}

// firstToken returns how long a daemon takes from its start to its answer to a
// player that waits for its socket. The kernel says when the socket is there: a
// wait in steps would be measured as well.
func (l *lab) firstToken(ctx context.Context) (took time.Duration, err error) {
	news, err := watchFolder(filepath.Dir(l.socket))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, news.Close()) }()
	began := time.Now()
	daemon, err := start(ctx, l.files.own("tvpassd.log"), -1, l.files.tvpassd(), l.args...)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, daemon.stop()) }()
	player := &http.Client{Timeout: patience, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialFirst(ctx, news, l.socket)
		},
		DisableKeepAlives: true,
	}}
	err = call(ctx, player, http.MethodGet, "http://tvpassd"+tokenPath+"?wait=0s", "", new(token))
	return time.Since(began), err
}

// watchFolder returns a file that can be read when a name in a folder was made.
func watchFolder(folder string) (*os.File, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, err
	}
	news := os.NewFile(uintptr(fd), "inotify")
	if _, err := unix.InotifyAddWatch(fd, folder, unix.IN_CREATE); err != nil {
		return nil, errors.Join(err, news.Close())
	}
	return news, news.SetReadDeadline(time.Now().Add(patience))
}

// dialFirst connects to a socket as soon as it listens.
func dialFirst(ctx context.Context, news *os.File, socket string) (net.Conn, error) {
	buffer := make([]byte, 4096)
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
		switch {
		case errors.Is(err, unix.ECONNREFUSED): // the name is there, and the daemon listens at once
		case !errors.Is(err, unix.ENOENT):
			return conn, err
		default:
			if _, err := news.Read(buffer); err != nil {
				return nil, fmt.Errorf("wait for %s: %w", socket, err)
			}
		}
	}
}
