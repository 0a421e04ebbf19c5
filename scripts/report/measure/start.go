package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"time"
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
	began := time.Now()
	err := cmd.Run()
	return time.Since(began), err
}

// firstToken returns how long a daemon takes from its start to its answer to a
// player that waits for it.
func (l *lab) firstToken(ctx context.Context) (took time.Duration, err error) {
	began := time.Now()
	daemon, err := l.daemon(ctx, -1)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, daemon.stop()) }()
	_, err = getToken(ctx, l.socket, "?wait=0s")
	return time.Since(began), err
}
