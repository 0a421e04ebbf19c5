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

func statusCommand(set *flag.FlagSet) func(*env, []string) error {
	asJSON := set.Bool("json", false, "print JSON")
	watch := set.Bool("watch", false, "print it again every second, until interrupted")
	return func(e *env, args []string) error {
		if err := noArguments(args); err != nil {
			return err
		}
		if !*watch {
			return e.status(*asJSON, "")
		}
		above := "\n"
		if isTerminal(e.screen) {
			above = "\x1b[H\x1b[J" // to the top, and clear what is below
			fmt.Fprint(e.screen, "\x1b[2J")
		}
		tick := time.NewTicker(redraw)
		defer tick.Stop()
		for {
			err := e.status(*asJSON, above)
			if _, unwell := errors.AsType[exitStatus](err); err != nil && !unwell {
				return err
			}
			select {
			case <-tick.C:
			case <-e.ctx.Done():
				return nil
			}
		}
	}
}

// status asks the daemon once and prints the answer. The error has the exit status.
func (e *env) status(asJSON bool, above string) error {
	var st ipc.Status
	err := e.ask(answerWithin, func(ctx context.Context, c *client.Client) (err error) {
		st, err = c.Status(ctx)
		return err
	})
	switch {
	case e.ctx.Err() != nil:
		return exitStatus{code: exitFailure}
	case errors.Is(err, client.ErrPermission):
		return e.noStatus("no_permission", "no permission", exitNoPermission, err, asJSON, above)
	case err != nil: // 1 and 2 mean that a daemon answered
		return e.noStatus(ipc.NotRunning, "not running", exitNotRunning, err, asJSON, above)
	}
	if asJSON {
		err = printJSON(e, st)
	} else {
		text := printable(statusText(st))
		if isTerminal(e.screen) {
			health := printable(st.Health)
			text = strings.Replace(text, ": "+health+", up ", ": "+coloured(health)+", up ", 1)
		}
		_, err = fmt.Fprint(e.screen, above, text)
	}
	switch {
	case err != nil:
		return err
	case st.Health == ipc.Degraded:
		return exitStatus{code: exitDegraded}
	case st.Health == ipc.Failed:
		return exitStatus{code: exitFailed}
	}
	return nil
}

// noStatus prints why there is no status.
func (e *env) noStatus(health, words string, code int, why error, asJSON bool, above string) error {
	if asJSON {
		return errors.Join(json.NewEncoder(e.stdout).Encode(map[string]string{"health": health, "detail": why.Error()}), exitStatus{code: code})
	}
	_, err := fmt.Fprint(e.screen, above, words, "\n", printable(wrap(why.Error(), "  ")))
	return errors.Join(err, exitStatus{code: code})
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
