// Command measure prints each figure of tvpassd beside its budget.
// scripts/report/run builds what it needs and starts it.
//
// It owns the order of the measurements, the servers they need and the table.
// It judges tvpassd by its binary, its socket and what the kernel reports of
// the process, never by its packages; only what 1,000 refreshes do to the
// database is measured on package storage, by the program wear. It judges
// ratios, counts and bytes, and only shows microseconds.
//
// The exit status is 0 if everything was measured for which the machine has the
// tools, over budget or not.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	var f files
	flag.StringVar(&f.project, "project", ".", "the checkout, with bin and dist")
	flag.StringVar(&f.work, "work", "", "a short path to a directory of this run, with the programs of scripts/report")
	watch := flag.Duration("idle", 180*time.Second, "how long the idle daemon is watched")
	only := flag.String("only", "", "measure what has this `name` alone")
	flag.Parse()
	if f.work == "" || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(64)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, f, *watch, *only, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
}

// measurement is some rows of the table. It may return rows together with an
// error.
type measurement struct {
	name string
	rows func(context.Context, *lab) ([]row, error)
}

func run(ctx context.Context, f files, watch time.Duration, only string, stdout, stderr io.Writer) (err error) {
	l, err := newLab(ctx, f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.passsim.stop()) }()
	var (
		rows   []row
		failed error
	)
	for _, m := range append([]measurement{
		{"what is shipped", shipped},
		{"memory and wake-ups", func(ctx context.Context, l *lab) ([]row, error) { return idle(ctx, l, watch) }},
		{"latency", latency},
		{"instructions", instructions},
		{"start", func(ctx context.Context, l *lab) ([]row, error) { return one(startUp(ctx, l)) }},
		{"first tokens", firstTokens},
		{"upstream calls", upstream}, // before the refreshes that the last one asks for
		{"flash", flash},
	}, gateway(watch)...) {
		if only != "" && only != m.name {
			continue
		}
		fmt.Fprintf(stderr, "report: measuring %s\n", m.name)
		got, err := m.rows(ctx, l)
		rows = append(rows, got...)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			rows = append(rows, row{what: m.name, missing: "failed, for the reason at the end"})
			failed = errors.Join(failed, fmt.Errorf("%s could not be measured: %w", m.name, err))
		}
	}
	return errors.Join(writeTable(stdout, rows), failed)
}

func one(r row, err error) ([]row, error) {
	if err != nil {
		return nil, err
	}
	return []row{r}, nil
}
