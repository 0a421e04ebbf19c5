// fleet asks what a million boxes do to the server. It runs the real policy of package broker for each of them in one
// event-driven process, without goroutines of their own or real time, through five incidents that strike a whole fleet at once;
// and a naive player beside it. The same seed gives the same figures.
//
//	scripts/fleet/run               a million boxes, and the pictures in docs/
//	go run ./scripts/fleet -boxes 20000
//
// For each scenario it prints a row of figures, and with -out writes requests a second to DIR/SCENARIO.csv, which
// scripts/fleet/plot draws.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"text/tabwriter"
	"time"
)

func main() {
	f := fleet{}
	flag.IntVar(&f.boxes, "boxes", 1_000_000, "how many boxes there are")
	flag.Uint64Var(&f.seed, "seed", 1, "where chance begins")
	flag.DurationVar(&f.life, "life", 6*time.Hour, "how long a token lives")
	flag.IntVar(&f.capacity, "capacity", 10_000, "requests a second that the server takes, for a million boxes; it answers more with 503")
	flag.DurationVar(&f.starts, "starts", 3*time.Hour, "how often a naive box starts a player, on average")
	only := flag.String("only", "", "one scenario")
	out := flag.String("out", "", "directory for the requests of each second")
	flag.Parse()
	debug.SetGCPercent(400) // most of what a call makes is thrown away at once
	if err := run(f, *only, *out); err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
}

func run(f fleet, only, out string) error {
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "%d boxes, token life %v: %.0f requests a second when all is well\n", f.boxes, f.life, f.calm())
	fmt.Fprintln(table, "scenario\tpeak/s\tnaive\trequests\tnaive\tlater/min\tof calm\tserved 50 %\t99 %\tall\t(in)")
	for _, s := range scenarios() {
		if only != "" && only != s.name {
			continue
		}
		began := time.Now()
		r, err := f.run(s)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		later := peak(r.tvpassd[seconds(s.over):], 60)
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%.0f\t%.1f\t%v\t%v\t%v\t%v\n", s.name, int(peak(r.tvpassd, 1)), int(peak(r.naive, 1)),
			sum(r.tvpassd), sum(r.naive), later, later/f.calm(), r.served(0.5), r.served(0.99), r.served(1), time.Since(began).Round(time.Second))
		if err := table.Flush(); err != nil {
			return err
		}
		if out != "" {
			if err := r.write(filepath.Join(out, s.name+".csv"), f.calm()); err != nil {
				return err
			}
		}
	}
	return nil
}

// write puts down the requests of each second, below a line that says what is drawn.
func (r *result) write(path string, calm float64) (err error) {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	w := bufio.NewWriter(file)
	fmt.Fprintf(w, "%s,%.1f,%d,%d\n", r.title, calm, seconds(r.from), seconds(r.ends()+max(r.start, r.push)))
	for i := range r.tvpassd {
		fmt.Fprintf(w, "%d,%d\n", r.tvpassd[i], r.naive[i])
	}
	return w.Flush()
}

func seconds(d time.Duration) int { return int(d / time.Second) }

func sum(series []uint32) (n uint64) {
	for _, v := range series {
		n += uint64(v)
	}
	return n
}

// peak is the highest mean of so many seconds in a row.
func peak(series []uint32, width int) float64 {
	var window, most uint64
	for i, v := range series {
		window += uint64(v)
		if i >= width {
			window -= uint64(series[i-width])
		}
		most = max(most, window)
	}
	return float64(most) / float64(width)
}
