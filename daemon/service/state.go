package service

import (
	"context"
	"errors"
	"os/exec"
	"strconv"
	"strings"

	"github.com/kardianos/service"
)

// State is how the service stands, as far as the service manager tells: only systemd tells all of it.
type State struct {
	Manager    string // "systemd", or what kardianos/service calls the other; "" unknown
	Installed  bool
	Enabled    bool   // it starts at boot, or when a player comes
	Active     string // in systemd's words: active, activating, inactive, failed; "" not told
	Result     string // of its last end: success, exit-code, signal, watchdog, oom-kill, ...
	ExitStatus int    // the same
	Restarts   int    // by the manager, since it was started
	User       string // that it runs as; "" root, or not told
}

// Look asks the service manager. The error is that of asking.
func Look(ctx context.Context) (State, error) {
	// For what it does not know systemctl answers too, with LoadState=not-found; it fails where systemd does not run.
	out, err := exec.CommandContext(ctx, "systemctl", "show", "--property=LoadState,UnitFileState,ActiveState,Result,ExecMainStatus,NRestarts,User",
		name+".service", name+".socket").Output()
	if err == nil {
		return parseShow(string(out)), nil
	}
	if ctx.Err() != nil {
		return State{}, ctx.Err()
	}
	return lookElsewhere(ctx)
}

// parseShow reads the properties of service and socket, with an empty line between them.
func parseShow(text string) State {
	unit, socket, _ := strings.Cut(text, "\n\n")
	of := properties(unit)
	enabled := of["UnitFileState"]
	exit, _ := strconv.Atoi(of["ExecMainStatus"])
	restarts, _ := strconv.Atoi(of["NRestarts"]) // systemd before 235 has none
	return State{
		Manager: "systemd", Installed: of["LoadState"] == "loaded" || of["LoadState"] == "masked",
		Enabled: strings.HasPrefix(enabled, "enabled") || enabled == "static" || strings.HasPrefix(properties(socket)["UnitFileState"], "enabled"),
		Active:  of["ActiveState"], Result: of["Result"], ExitStatus: exit, Restarts: restarts, User: of["User"],
	}
}

func properties(text string) map[string]string {
	of := map[string]string{}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		of[key] = value
	}
	return of
}

// lookElsewhere asks any other service manager, by way of the script that an installation made.
func lookElsewhere(ctx context.Context) (State, error) {
	if ours() == "" {
		return State{}, nil
	}
	s, err := (&Options{}).service()
	if err != nil {
		return State{}, err
	}
	st := State{Manager: s.Platform(), Installed: true, Enabled: true} // installing enables there
	told := make(chan error, 1)
	go func() {
		status, err := s.Status()
		st.Active = map[service.Status]string{service.StatusRunning: "active", service.StatusStopped: "inactive"}[status]
		told <- err
	}()
	select {
	case err := <-told:
		if errors.Is(err, service.ErrNotInstalled) { // what it says of an answer that it does not know, too
			err = nil
		}
		return st, err
	case <-ctx.Done():
		return State{}, ctx.Err()
	}
}
