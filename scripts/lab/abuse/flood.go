package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
)

// flood is a user who connects in tight loops, each in a process of its own.
type flood struct {
	name      string
	role      string
	processes int
}

var floods = []flood{
	{name: "nobody connects"},
	{name: "1 process connects without a pause", role: "storm", processes: 1},
	{name: "4 processes", role: "storm", processes: 4},
	{name: "16 processes", role: "storm", processes: 16},
	{name: "4 processes that wait for their turn", role: "queue", processes: 4},
	{name: "4 processes that keep 200 connections each", role: "hoard", processes: 4},
}

func (f flood) attack() attack {
	a := attack{name: f.name}
	for range f.processes {
		a.parts = append(a.parts, part{stranger, f.role, 1})
	}
	return a
}

// reportFloods prints what a player notices of a queue that somebody fills: how
// many of its connects the kernel refuses, and how long one waits that does not
// take no for an answer.
func reportFloods(ctx context.Context, l *lab, each time.Duration, out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "flood\tconnects refused\tconnect and token p50\tp99\tnot answered\tRSS\tprocessor\t"+
		"attackers: connected\trefused\t")
	for _, f := range floods {
		r, err := l.run(ctx, f.attack(), "caller", each)
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		fmt.Fprintf(table, "%s\t%.1f %%\t%v\t%v\t%d\t%.1f MB\t%v\t%d\t%d\t\n", f.name,
			100*float64(r.victim.Refused)/float64(max(r.victim.Connects, 1)), r.victim.Each.P50, r.victim.Each.P99,
			r.victim.Failed, float64(r.rss)/1e6, r.cpu, r.attackers.Answered, r.attackers.Refused)
	}
	return table.Flush()
}

// storm connects in a tight loop. It counts the connections that the kernel made,
// and those that it refused because the queue was full.
func (p *player) storm(role string) (t tally) {
	const most = 200
	var open []int
	for time.Now().Before(p.end) {
		for range 100 {
			fd, err := dial(p.socket, role == "queue")
			if err != nil {
				t.Refused++
				continue
			}
			t.Answered++
			if role != "hoard" {
				unix.Close(fd)
				continue
			}
			if open = append(open, fd); len(open) > most {
				unix.Close(open[0])
				open = open[1:]
			}
		}
	}
	return t
}

// dial connects past Go's net, which costs as much as the attack. It waits for a
// place in the daemon's queue or takes no for an answer.
func dial(path string, wait bool) (int, error) {
	kind := unix.SOCK_STREAM | unix.SOCK_CLOEXEC
	if !wait {
		kind |= unix.SOCK_NONBLOCK
	}
	fd, err := unix.Socket(unix.AF_UNIX, kind, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// caller asks for the token on a connection each. First it counts the connects
// that the kernel refuses, then it waits for its place.
func (p *player) caller() (t tally) {
	half := time.Now().Add(time.Until(p.end) / 2)
	for time.Now().Before(half) {
		fd, err := dial(p.socket, false)
		t.Connects++
		if err != nil {
			t.Refused++
		} else {
			unix.Close(fd)
		}
		time.Sleep(5 * time.Millisecond)
	}
	var each []time.Duration
	for time.Now().Before(p.end) {
		began := time.Now()
		if err := p.fetch(); err != nil {
			t.Failed++
			fmt.Fprintln(os.Stderr, err)
		} else {
			t.Answered++
		}
		each = append(each, time.Since(began))
		time.Sleep(5 * time.Millisecond)
	}
	t.Each = percentiles(each)
	return t
}

// fetch connects, however long that takes, and asks for the token.
func (p *player) fetch() error {
	fd, err := dial(p.socket, true)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	f := os.NewFile(uintptr(fd), p.socket)
	defer f.Close()
	if _, err := io.WriteString(f, "GET /v1/apps/"+app+"/token?wait=0s HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		return err
	}
	line, err := bufio.NewReader(f).ReadString('\n')
	if err == nil && !strings.Contains(line, " 200 ") {
		err = fmt.Errorf("the answer is %q", line)
	}
	return err
}

// cpuTime returns what the threads of a process have had of the processors.
func cpuTime(pid int) (total time.Duration) {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid)) // the pattern is right
	for _, thread := range threads {
		content, err := os.ReadFile(thread)
		var ns int64
		if err == nil {
			_, err = fmt.Sscan(string(content), &ns)
		}
		if err == nil {
			total += time.Duration(ns)
		}
	}
	return total
}
