package service

import (
	"context"
	"os/exec"
	"strconv"
	"strings"

	"github.com/kardianos/service"
)

// State is the state of the service, as far as the service manager reports it:
// only systemd reports all of it.
type State struct {
	Manager    string // "systemd", or the name of another init system; "" if nothing is installed
	Installed  bool
	Broken     string // why systemd can't start what is installed: masked, bad-setting, error; "" if it can
	HoldsPath  bool   // systemd listens on the socket, and passes it to the daemon
	Enabled    bool   // the boot starts it, or a player that connects
	Active     string // in systemd's words: active, activating, inactive, failed; "" if unknown
	Result     string // of its last end: success, exit-code, signal, watchdog, oom-kill, ...
	ExitStatus int    // the same
	Restarts   int    // by the manager, since it was started
	User       string // it runs as; "" is root, or unknown
}

// Look asks the service manager. An error means that it could not be asked.
func Look(ctx context.Context) (State, error) {
	// A unit that systemctl does not know has LoadState=not-found. systemctl fails
	// only if systemd does not run.
	var out strings.Builder
	show := exec.CommandContext(ctx, "systemctl", "show",
		"--property=LoadState,UnitFileState,ActiveState,Result,ExecMainStatus,NRestarts,User",
		name+".service", name+".socket")
	show.Stdout = &out
	if show.Run() == nil {
		return parseShow(out.String()), nil
	}
	if ctx.Err() != nil {
		return State{}, ctx.Err()
	}
	return lookElsewhere(ctx)
}

// parseShow reads the properties of service and socket, with an empty line between them.
func parseShow(text string) State {
	unit, socketUnit, _ := strings.Cut(text, "\n\n")
	of, socket := properties(unit), properties(socketUnit)
	enabled, load := of["UnitFileState"], of["LoadState"]
	broken := load
	if load == "loaded" || load == "not-found" {
		broken = ""
	}
	exit, _ := strconv.Atoi(of["ExecMainStatus"])
	restarts, _ := strconv.Atoi(of["NRestarts"]) // systemd before 235 has none
	return State{
		Manager: "systemd", Installed: load == "loaded" || broken != "", Broken: broken,
		HoldsPath: socket["ActiveState"] == "active",
		Enabled: strings.HasPrefix(enabled, "enabled") || enabled == "static" ||
			strings.HasPrefix(socket["UnitFileState"], "enabled"),
		Active: of["ActiveState"], Result: of["Result"], ExitStatus: exit, Restarts: restarts, User: of["User"],
	}
}

func properties(text string) map[string]string {
	of := map[string]string{}
	for _, line := range strings.Split(text, "\n") {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		of[key] = value
	}
	return of
}

// lookElsewhere looks at any other init system.
func lookElsewhere(ctx context.Context) (State, error) {
	path := ours()
	if path == "" {
		return State{}, nil
	}
	i := otherInit()
	if i == nil {
		return State{Manager: service.ChosenSystem().String(), Installed: true, Enabled: true}, nil
	}
	st := State{Manager: i.name, Installed: path == i.path, Enabled: path == i.path && i.boots() == nil, User: "tvpass"}
	if st.Installed {
		st.Active = "inactive"
		if exec.CommandContext(ctx, i.path, "status").Run() == nil {
			st.Active = "active"
		}
	}
	return st, ctx.Err()
}
