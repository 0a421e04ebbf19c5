// Command abuse attacks a tvpassd on its socket, as other users of the device
// might, and prints what that costs: a player's time for a cached token, and
// the memory of the daemon. It must run as root: each attacker is a user of its
// own.
//
// It judges by the socket and by what the kernel reports of the process, never
// by the daemon's packages.
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
	"text/tabwriter"
	"time"
)

func main() {
	if role := os.Getenv(roleVariable); role != "" {
		os.Exit(play(role))
	}
	var p programs
	flag.StringVar(&p.tvpassd, "tvpassd", "bin/tvpassd", "the daemon")
	flag.StringVar(&p.passsim, "passsim", "bin/passsim", "the simulator of the server")
	only := flag.String("only", "", "attacks or floods; both if this is empty")
	each := flag.Duration("for", 5*time.Second, "how long each attack lasts")
	flag.Parse()
	if flag.NArg() > 0 {
		flag.Usage()
		os.Exit(64)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := report(ctx, p, *only, *each, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "abuse:", err)
		os.Exit(1)
	}
}

// The bars of docs: a cached token within 150 ms, the daemon below 48 MB.
const (
	barP99 = 150 * time.Millisecond
	barRSS = 48 << 20
)

// report runs attacks and floods, each on a daemon of its own.
func report(ctx context.Context, p programs, only string, each time.Duration, out io.Writer) (err error) {
	l, err := newLab(ctx, p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	if only != "floods" {
		err = reportAttacks(ctx, l, each, out)
	}
	if err == nil && only != "attacks" {
		err = reportFloods(ctx, l, each, out)
	}
	return err
}

// reportAttacks prints a table of what the victim notices of each attack.
func reportAttacks(ctx context.Context, l *lab, each time.Duration, out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "attack\ttoken p50\tp99\ta connection each p50\tp99\tnot answered\tRSS\t"+
		"attackers: answered\tturned away\t")
	missed := 0
	for _, a := range attacks {
		r, err := l.run(ctx, a, "victim", each)
		if err != nil {
			return fmt.Errorf("%s: %w", a.name, err)
		}
		verdict := ""
		if r.victim.Kept.P99 > barP99 || r.victim.Each.P99 > barP99 || r.rss > barRSS || r.victim.Failed > 0 {
			verdict = "OVER"
			missed++
		}
		fmt.Fprintf(table, "%s\t%v\t%v\t%v\t%v\t%d\t%.1f MB\t%d\t%d\t%s\n", a.name, r.victim.Kept.P50,
			r.victim.Kept.P99,
			r.victim.Each.P50, r.victim.Each.P99, r.victim.Failed, float64(r.rss)/1e6, r.attackers.Answered,
			r.attackers.Refused, verdict)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out,
		"bars: p99 %v on two processors, RSS %d MB, every request answered; %d of %d attacks are over\n",
		barP99, barRSS>>20, missed, len(attacks))
	return err
}
