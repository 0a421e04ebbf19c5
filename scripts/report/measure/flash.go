package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	getStrace = "install strace (apt-get install strace)"

	wearRefreshes = 1000
	tokenSize     = 2048
	// A server grants a call a second, after a burst that the daemon's start has
	// drawn on.
	betweenRefreshes = 1100 * time.Millisecond
)

// tracing are the flags of strace that write the given system calls into a
// file. Strings are left out: among what is written are tokens.
func tracing(file, calls string) []string {
	return []string{"-f", "-q", "-y", "-s", "0", "-e", "trace=" + calls, "-e", "signal=none", "-o", file}
}

const writing = "write,writev,pwrite64,pwritev,pwritev2,fsync,fdatasync,sync_file_range,msync"

// launchTraced starts a daemon on the lab's state under strace. With -D strace
// is the child: signals go to the daemon, and nobody needs a right to trace
// others.
func (l *lab) launchTraced(ctx context.Context, file, calls string) (*process, error) {
	command := append([]string{"strace", "-D"}, tracing(file, calls)...)
	return l.launch(ctx, -1, append(append(command, l.files.tvpassd()), l.args...)...)
}

// systemCalls is how many system calls a cached token takes.
func systemCalls(ctx context.Context, l *lab) (r row, err error) {
	r = row{what: "system calls per cached token, in their place", unit: "%.1f"}
	if !installed("strace") {
		r.missing = getStrace
		return r, nil
	}
	file := l.files.own("calls.trace")
	daemon, err := l.launchTraced(ctx, file, "all")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, daemon.stop()) }()
	r.value, err = l.perRequest(ctx, func() (float64, error) {
		lines, err := os.ReadFile(file)
		return float64(countCalls(lines)), err
	})
	return r, err
}

// countCalls counts the calls in a trace; one that another thread's interrupted
// stands there twice.
func countCalls(trace []byte) int {
	return bytes.Count(trace, []byte("\n")) - bytes.Count(trace, []byte(" resumed>"))
}

// flash measures what a refresh writes, once through the daemon and once by the
// storage alone with a token of the budget's size, and how far the database
// grows.
func flash(ctx context.Context, l *lab) ([]row, error) {
	what := fmt.Sprintf("database file after %d refreshes", wearRefreshes)
	size := row{what: what, unit: "%.0f KiB", budget: 64, stretch: 32}
	state := l.files.own("state-wear")
	out, err := exec.CommandContext(ctx, l.files.own("wear"), "-dir", state, "-n", strconv.Itoa(wearRefreshes),
		"-size", strconv.Itoa(tokenSize)).Output()
	if err != nil {
		return nil, fmt.Errorf("wear out a database: %w", err)
	}
	if size.value, err = strconv.ParseFloat(strings.TrimSpace(string(out)), 64); err != nil {
		return nil, err
	}
	size.value /= 1024
	stored, err := l.storedRefreshes(ctx, state)
	if err != nil {
		return nil, err
	}
	served, err := l.servedRefreshes(ctx)
	return append(append(stored, served...), size), err
}

// flashRows are the two rows of what n refreshes wrote.
func flashRows(what string, w writes, n float64, note string) []row {
	return []row{
		{what: "flash bytes per refresh, " + what, unit: "%.0f", value: float64(w.bytes) / n,
			budget: 16400, stretch: 12300, note: note},
		{what: "syncs per refresh, " + what, unit: "%.1f", value: float64(w.syncs) / n, budget: 2, stretch: 2},
	}
}

func withoutStrace(rows []row) []row {
	for i := range rows {
		rows[i].missing = getStrace
	}
	return rows
}

// storedRefreshes drives the storage alone, on a database that has seen some
// life.
func (l *lab) storedRefreshes(ctx context.Context, state string) ([]row, error) {
	const n, what = 20, "2 KB token"
	if !installed("strace") {
		return withoutStrace(flashRows(what, writes{}, n, "")), nil
	}
	opened, err := l.traceWear(ctx, state, 0)
	if err != nil {
		return nil, err
	}
	w, err := l.traceWear(ctx, state, n)
	if err != nil {
		return nil, err
	}
	w.bytes, w.syncs = w.bytes-opened.bytes, w.syncs-opened.syncs
	return flashRows(what, w, n, "by package storage, as the daemon calls it"), nil
}

// traceWear returns what the storage writes when it is opened and refreshed n
// times.
func (l *lab) traceWear(ctx context.Context, state string, n int) (writes, error) {
	file := l.files.own("wear.trace")
	args := append(tracing(file, writing), l.files.own("wear"), "-dir", state, "-n", strconv.Itoa(n),
		"-size", strconv.Itoa(tokenSize))
	if said, err := exec.CommandContext(ctx, "strace", args...).CombinedOutput(); err != nil {
		return writes{}, fmt.Errorf("trace the storage: %w\n%s", err, said)
	}
	return writesUnder(file, 0, state)
}

// servedRefreshes makes the daemon fetch new tokens and watches what it writes.
func (l *lab) servedRefreshes(ctx context.Context) (rows []row, err error) {
	const n, what = 5, "by the daemon"
	if !installed("strace") {
		return withoutStrace(flashRows(what, writes{}, n, "")), nil
	}
	file := l.files.own("refresh.trace")
	daemon, err := l.launchTraced(ctx, file, writing)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, daemon.stop()) }()
	current, err := getToken(ctx, l.socket, "")
	if err != nil {
		return nil, err
	}
	begun, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	for range n {
		if current, err = l.renewed(ctx, daemon, current); err != nil {
			return nil, err
		}
		if err := sleep(ctx, betweenRefreshes); err != nil {
			return nil, err
		}
	}
	w, err := writesUnder(file, begun.Size(), l.state)
	if err != nil {
		return nil, err
	}
	return flashRows(what, w, n, fmt.Sprintf("the simulator's token has %d bytes", len(current.AccessToken))), nil
}

// renewed makes the daemon replace its token, and returns the new one.
func (l *lab) renewed(ctx context.Context, daemon *process, old token) (token, error) {
	if err := refresh(ctx, l.socket); err != nil {
		return token{}, err
	}
	var (
		now    token
		getErr error
	)
	err := daemon.until("the refresh is done", func() bool {
		now, getErr = getToken(ctx, l.socket, "")
		return getErr != nil || now != old
	})
	return now, errors.Join(err, getErr)
}

// writes are what went to files.
type writes struct {
	bytes int64
	syncs int
}

var (
	writeCall = regexp.MustCompile(`\bp?write(?:64)?\(\d+<([^>]*)>, "[^"]*"(?:\.\.\.)?, (\d+)`)
	syncCall  = regexp.MustCompile(`\b(?:fsync|fdatasync)\(\d+<([^>]*)>`)
	otherCall = regexp.MustCompile(`\b(?:writev|pwritev2?|sync_file_range|msync)\((?:\d+<([^>]*)>)?`)
)

// writesUnder adds up what a trace, from an offset on, shows of writes and
// syncs of a directory and the files in it.
func writesUnder(trace string, from int64, dir string) (writes, error) {
	all, err := os.ReadFile(trace)
	if err != nil {
		return writes{}, err
	}
	w, err := parseWrites(bytes.NewReader(all[min(from, int64(len(all))):]), dir)
	if err == nil && w == (writes{}) { // a store that writes nothing would pass every budget
		err = fmt.Errorf("the trace shows no write to %s", dir)
	}
	return w, err
}

func parseWrites(trace io.Reader, dir string) (w writes, err error) {
	text, err := io.ReadAll(trace)
	if err != nil {
		return writes{}, err
	}
	under := func(path string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }
	for line := range strings.Lines(string(text)) {
		if call := writeCall.FindStringSubmatch(line); call != nil && under(call[1]) {
			n, err := strconv.ParseInt(call[2], 10, 64)
			if err != nil {
				return writes{}, fmt.Errorf("read the trace: %w", err)
			}
			w.bytes += n
		}
		if call := syncCall.FindStringSubmatch(line); call != nil && under(call[1]) {
			w.syncs++
		}
		if call := otherCall.FindStringSubmatch(line); call != nil && under(call[1]) {
			return writes{}, fmt.Errorf("the trace has a call whose bytes this program can't tell: %s", strings.TrimSpace(line))
		}
	}
	return w, nil
}
