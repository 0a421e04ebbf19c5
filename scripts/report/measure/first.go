package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"time"
)

// firstRuns is how often each start is measured.
const firstRuns = 20

// firstStart is a start of the daemon, the first one in its boot.
type firstStart struct {
	what    string
	others  []string // apps beside the first one
	expired bool     // the state holds expired tokens; otherwise it is empty
	budget  float64  // seconds
}

// firstTokens measures how long after the start of the daemon players who wait
// have their first tokens. The simulator throttles nobody: the starts follow one
// another faster than those of a device.
func firstTokens(ctx context.Context, l *lab) (rows []row, err error) {
	first := &lab{files: l.files, socket: l.files.own("first.sock")}
	if err := first.simulate(ctx, "first", "-no-throttle"); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, first.passsim.stop()) }()
	others := []string{"b", "c", "d", "e"}
	for _, s := range []firstStart{
		{"first token, first start, one app", nil, false, 0.15},
		{"first token, expired one, one app", nil, true, 0.08},
		{"first token, first start, mean of five apps", others, false, 3.8},
		{"first token, expired ones, mean of five apps", others, true, 0.7},
	} {
		r := row{what: s.what, unit: "%.3f s", budget: s.budget}
		var took []float64
		for range firstRuns {
			mean, err := first.arrivals(ctx, s)
			if err != nil {
				return rows, err
			}
			took = append(took, mean.Seconds())
		}
		slices.Sort(took)
		r.value = took[len(took)/2]
		r.note = fmt.Sprintf("half of %d runs from %.3f to %.3f s", firstRuns, took[len(took)/4], took[len(took)*3/4])
		rows = append(rows, r)
	}
	return rows, nil
}

// arrivals starts the daemon with a player of each app, and returns how long the
// players waited on average.
func (l *lab) arrivals(ctx context.Context, s firstStart) (mean time.Duration, err error) {
	if l.args, err = l.configure("first.toml", l.files.own("state-first"), s.others...); err != nil {
		return 0, err
	}
	if err := l.prepare(ctx, s); err != nil {
		return 0, err
	}
	apps := append([]string{app}, s.others...)
	began := time.Now()
	daemon, err := l.daemon(ctx, -1)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, daemon.stop()) }()
	type arrival struct {
		took time.Duration
		err  error
	}
	arrived := make(chan arrival, len(apps))
	for _, id := range apps {
		go func() {
			err := onSocket(ctx, l.socket, http.MethodGet, "/v1/apps/"+id+"/token?wait=25s", nil)
			arrived <- arrival{time.Since(began), err}
		}()
	}
	for range apps {
		a := <-arrived
		mean += a.took / time.Duration(len(apps))
		err = errors.Join(err, a.err)
	}
	return mean, err
}

// prepare makes the state that a start finds, as after a reboot: without what
// the gate remembers of this boot. The tokens that expire are those of the last
// start.
func (l *lab) prepare(ctx context.Context, s firstStart) error {
	state, gate := l.files.own("state-first"), l.socket+".gate"
	if !s.expired {
		return errors.Join(os.RemoveAll(state), os.RemoveAll(gate))
	}
	apps := append([]string{app}, s.others...)
	age := exec.CommandContext(ctx, l.files.own("wear"), append([]string{"-age", "24h", "-dir", state, "-endpoint",
		l.endpoint}, apps...)...)
	if said, err := age.CombinedOutput(); err != nil {
		return fmt.Errorf("age the tokens: %w: %s", err, said)
	}
	return os.RemoveAll(gate)
}
