package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tvpassd/tvpassd/ipc"
	"github.com/tvpassd/tvpassd/ipc/client"
)

// Exit statuses of tvpassd status.
const (
	exitDegraded     = 1
	exitFailed       = 2
	exitNotRunning   = 3
	exitNoPermission = 4
)

// redraw is the interval of --watch.
const redraw = time.Second

// view is how a status is shown.
type view struct {
	json  bool
	rows  int              // of the screen; 0 means no limit
	above string           // printed before it
	clock func() time.Time // shown on it; nil shows none
}

func statusCommand(set *flag.FlagSet) func(*env, []string) error {
	asJSON := set.Bool("json", false, "print JSON")
	watch := set.Bool("watch", false, "print it again every second, until interrupted")
	all := set.Bool("all", false, "print every detail, however many lines that takes")
	return alone(func(e *env) error {
		v := view{json: *asJSON}
		if !*all {
			v.rows = rowsOf(e.screen)
		}
		if *watch {
			return e.watchStatus(v, *all)
		}
		return e.status(v)
	})
}

// watchStatus prints the status again and again. On a terminal it stays within the
// screen, unless all of it is wanted.
func (e *env) watchStatus(v view, all bool) error {
	v.above, v.clock = "\n", time.Now
	if isTerminal(e.screen) {
		v.above = "\x1b[H\x1b[J" // to the top, and clear what is below
		fmt.Fprint(e.screen, "\x1b[2J")
	}
	tick := time.NewTicker(redraw)
	defer tick.Stop()
	for {
		if !all {
			v.rows = rowsOf(e.screen) // the window may have another size by now
		}
		err := e.status(v)
		if _, shown := errors.AsType[*exitStatus](err); err != nil && !shown {
			return err
		}
		select {
		case <-tick.C:
		case <-e.ctx.Done():
			return nil
		}
	}
}

// status asks the daemon once and prints the answer. The error has the exit status.
func (e *env) status(v view) error {
	var st ipc.Status
	err := e.ask(answerWithin, func(ctx context.Context, c *client.Client) (err error) {
		st, err = c.Status(ctx)
		return err
	})
	switch {
	case e.ctx.Err() != nil:
		return &exitStatus{code: exitFailure}
	case errors.Is(err, client.ErrPermission):
		return e.noStatus("no_permission", "no permission", exitNoPermission, err, v)
	case errors.Is(err, errSocketGone):
		return e.noStatus(ipc.NotRunning, "socket gone", exitNotRunning, err, v)
	case err != nil: // 1 and 2 mean that a daemon answered
		return e.noStatus(ipc.NotRunning, "not running", exitNotRunning, err, v)
	}
	if v.json {
		err = printJSON(e, st)
	} else {
		text := printable(statusScreen(st, v.now()).text(v.rows))
		if isTerminal(e.screen) {
			health := printable(st.Health)
			text = strings.Replace(text, ": "+health+", up ", ": "+coloured(health)+", up ", 1)
		}
		_, err = fmt.Fprint(e.screen, v.above, text)
	}
	switch {
	case err != nil:
		return err
	case st.Health == ipc.Degraded:
		return &exitStatus{code: exitDegraded}
	case st.Health == ipc.Failed:
		return &exitStatus{code: exitFailed}
	}
	return nil
}

func (v view) now() time.Time {
	if v.clock == nil {
		return time.Time{}
	}
	return v.clock()
}

// noStatus prints why there is no status.
func (e *env) noStatus(health, words string, code int, why error, v view) error {
	var err error
	if v.json {
		err = json.NewEncoder(e.stdout).Encode(map[string]string{"health": health, "detail": why.Error()})
	} else {
		_, err = fmt.Fprint(e.screen, v.above, clocked(words, v.now()), "\n", printable(wrap(why.Error(), "  ")))
	}
	return errors.Join(err, &exitStatus{code: code})
}

// rowsOf returns the height of a terminal, and that of a serial console for
// anything that does not know its own.
func rowsOf(w any) int {
	if f, ok := w.(*os.File); ok {
		if size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil && size.Row > 0 {
			return int(size.Row)
		}
	}
	return height
}

// isTerminal reports whether w is a terminal.
func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
