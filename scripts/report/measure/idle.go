package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"time"
)

// settle is how long a daemon is left alone before its memory is read: a moment
// after the last request it frees what the requests needed.
const settle = 10 * time.Second

// idle measures a daemon that has a token and nothing to do: its memory, what
// wakes it, and its memory after a rush.
func idle(ctx context.Context, l *lab, watch time.Duration) (rows []row, err error) {
	daemon, err := l.daemon(ctx, -1)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, daemon.stop()) }()
	if err := sleep(ctx, settle); err != nil {
		return nil, err
	}
	r, err := memory(daemon, "memory idle", 1.5, 1.2)
	if err != nil {
		return nil, err
	}
	threads, err := wakeUps(daemon.pid())
	if err != nil {
		return nil, err
	}
	rows = append(rows, r, row{what: "threads idle", unit: "%.0f", value: float64(len(threads))})
	if r, err = wakes(ctx, daemon, watch); err != nil {
		return rows, err
	}
	rows = append(rows, r)
	for _, rush := range []struct {
		clients         int
		budget, stretch float64
	}{{4, 2.5, 2.2}, {64, 3.5, 3.0}} {
		loaded, err := l.load(ctx, "-clients", strconv.Itoa(rush.clients), "-for", "10s", l.target("http"))
		if err == nil {
			err = sleep(ctx, settle)
		}
		if err != nil {
			return rows, err
		}
		r, err = memory(daemon, fmt.Sprintf("memory idle after %d clients", rush.clients), rush.budget, rush.stretch)
		if err != nil {
			return rows, err
		}
		r.note = fmt.Sprintf("they asked %d times in 10 s, and were gone for 10 s", loaded[0].Requests)
		rows = append(rows, r)
	}
	// A daemon that had no token would have been measured doing less.
	_, err = getToken(ctx, l.socket, "?wait=0s")
	return rows, err
}

func memory(p *process, what string, budget, stretch float64) (row, error) {
	bytes, err := anonymous(p.pid())
	return row{what: what, unit: "%.2f MB", value: bytes / 1e6, budget: budget, stretch: stretch}, err
}

func wakes(ctx context.Context, p *process, watch time.Duration) (row, error) {
	what := fmt.Sprintf("wake-ups idle, over %.0f s", watch.Seconds())
	r := row{what: what, unit: "%.3f/s", budget: 0.05, stretch: 0.034}
	before, err := wakeUps(p.pid())
	if err != nil {
		return r, err
	}
	if err := sleep(ctx, watch); err != nil {
		return r, err
	}
	after, err := wakeUps(p.pid())
	if err != nil {
		return r, err
	}
	n := added(before, after)
	r.value = n / watch.Seconds()
	armed, err := timers(p.pid())
	r.note = fmt.Sprintf("%.0f of %d threads; %s", n, len(after), armed)
	return r, err
}

// upstream counts the calls to the server: one registration and one token,
// however often the daemon was started and asked.
func upstream(ctx context.Context, l *lab) ([]row, error) {
	c, err := l.counts(ctx)
	if err != nil {
		return nil, err
	}
	if c.Register == 0 || c.Token == 0 {
		return nil, errors.New("the simulator was never asked: the tokens came from somewhere else")
	}
	return []row{
		{what: "upstream registrations", unit: "%.0f", value: float64(c.Register), budget: 1,
			note: "by the simulator's count, over all the starts and requests above"},
		{what: "upstream token calls", unit: "%.0f", value: float64(c.Token), budget: 1},
	}, nil
}

// installed reports whether a program is there.
func installed(name string) bool {
	_, err := exec.LookPath(name)
	return err == nil
}
