// Command load sends requests to servers on Unix sockets as fast as they
// answer, and prints a line of JSON with the figures of each.
//
//	load [-clients N] [-rounds N] [-for DURATION] [-requests N] [-cpu K]
//		NAME:MODE:SOCKET[:PATH]...
//
// Every client keeps one thread, one request under way and, but for the modes
// that end in "-each", one connection. A round runs every target in turn;
// ratios are taken within a round against the first target, because two rounds
// of one machine may differ by more than two targets do.
//
//	echo, echo-each    96 bytes out, 1.5 KB back
//	http, http-each    GET PATH, answered with 200 and a Content-Length
//	oidc-each          oidc-agent's request for the account PATH, until it hangs up
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// options say how much load there is.
type options struct {
	clients  int
	rounds   int
	length   time.Duration // of a target's turn in a round
	requests int           // of a client in its turn, in place of length; 0: length counts
}

// result is how a target did. Of latencies and ratios it holds the median over
// rounds.
type result struct {
	Name     string  `json:"name"`
	Requests int     `json:"requests"`
	Bytes    int     `json:"bytes"` // of one answer
	P50      float64 `json:"p50_us"`
	P99      float64 `json:"p99_us"`
	Ratio    float64 `json:"ratio"` // P50 over that of the first target, taken round by round
	RatioQ1  float64 `json:"ratio_q1"`
	RatioQ3  float64 `json:"ratio_q3"`
}

func main() {
	var o options
	flag.IntVar(&o.clients, "clients", 1, "clients at once")
	flag.IntVar(&o.rounds, "rounds", 1, "rounds")
	flag.DurationVar(&o.length, "for", time.Second, "a target's turn in a round")
	flag.IntVar(&o.requests, "requests", 0, "requests of each client in its turn, in place of -for")
	cpu := flag.Int("cpu", -1, "stay on this processor")
	flag.Parse()
	if flag.NArg() == 0 || o.clients < 1 || o.rounds < 1 {
		flag.Usage()
		os.Exit(64)
	}
	if err := run(o, *cpu, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func run(o options, cpu int, args []string) error {
	var targets []*target
	for _, arg := range args {
		t, err := parseTarget(arg)
		if err != nil {
			return err
		}
		targets = append(targets, t)
	}
	if cpu >= 0 {
		var set unix.CPUSet
		set.Set(cpu)
		if err := unix.SchedSetaffinity(0, &set); err != nil { // threads that start from here inherit it
			return fmt.Errorf("stay on processor %d: %w", cpu, err)
		}
	}
	// Neither the scheduler nor the collector may show in the latencies: a P for
	// each client, and nothing is collected.
	runtime.GOMAXPROCS(o.clients + 1)
	debug.SetGCPercent(-1)
	results, err := measure(o, targets)
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	for _, r := range results {
		if err := out.Encode(r); err != nil {
			return err
		}
	}
	return nil
}

// measure runs all rounds. The order of the targets changes from round to
// round, so that none always follows the same one.
func measure(o options, targets []*target) ([]result, error) {
	results := make([]result, len(targets))
	p50, p99 := make([][]float64, len(targets)), make([][]float64, len(targets))
	for round := range o.rounds {
		for i := range targets {
			at := (i + round) % len(targets)
			took, bytes, err := o.turn(targets[at])
			if err != nil {
				return nil, err
			}
			slices.Sort(took)
			results[at].Requests += len(took)
			results[at].Bytes = bytes
			p50[at] = append(p50[at], quantile(took, 0.5).Seconds()*1e6)
			p99[at] = append(p99[at], quantile(took, 0.99).Seconds()*1e6)
		}
	}
	for i, t := range targets {
		ratios := make([]float64, o.rounds)
		for round := range ratios {
			ratios[round] = p50[i][round] / p50[0][round]
		}
		slices.Sort(ratios)
		r := &results[i]
		r.Name, r.P50, r.P99 = t.name, median(p50[i]), median(p99[i])
		r.Ratio, r.RatioQ1, r.RatioQ3 = quantile(ratios, 0.5), quantile(ratios, 0.25), quantile(ratios, 0.75)
	}
	return results, nil
}

// turn lets every client ask t for a while and returns how long each answer
// took, in no order, and the size of one.
func (o options) turn(t *target) (took []time.Duration, bytes int, err error) {
	var (
		mu sync.Mutex // guards the results
		wg sync.WaitGroup
	)
	end := time.Now().Add(o.length)
	for range o.clients {
		wg.Go(func() {
			runtime.LockOSThread() // and the thread ends with the client
			c := client{target: t, fd: -1}
			mine, theErr := c.ask(o.requests, end)
			mu.Lock()
			defer mu.Unlock()
			took, bytes = append(took, mine...), c.size
			if err == nil {
				err = theErr
			}
		})
	}
	wg.Wait()
	return took, bytes, err
}

// quantile is the q-th quantile of sorted values.
func quantile[T any](sorted []T, q float64) T { return sorted[int(q*float64(len(sorted)-1)+0.5)] }

func median(values []float64) float64 { return quantile(slices.Sorted(slices.Values(values)), 0.5) }
