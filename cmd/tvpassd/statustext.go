package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/tvpassd/tvpassd/ipc"
)

// noApps says what to do if there is no app to show.
func noApps(warnings []ipc.Warning) string {
	has := func(code string) bool {
		return slices.ContainsFunc(warnings, func(w ipc.Warning) bool { return w.Code == code })
	}
	switch {
	case has(ipc.WarnAppDisabled):
		return "mend what the warning app_disabled names, then `tvpassd reload`"
	case has(ipc.WarnReloadNeeded):
		return "`tvpassd config check`, then `tvpassd reload`: the configuration on disk was not read yet"
	case os.Geteuid() != 0:
		return "try as root: there may be apps that allow_users and allow_groups do not let you see"
	}
	return "put a file with [[app]] into apps.d beside config.toml and run `tvpassd reload`"
}

// transitionLines returns the recent transitions of an app; nil if all went well
// from the start.
func transitionLines(a ipc.AppStatus) []string {
	const shown = 5 // --json has all
	if !slices.ContainsFunc(a.Transitions, func(t ipc.Transition) bool { return t.Code != "" }) {
		return nil
	}
	all := []string{"recent transitions of " + a.App + ":"}
	for _, t := range a.Transitions[max(len(a.Transitions)-shown, 0):] {
		line := fmt.Sprintf("  %s  %-11s  %s %s", stamp(t.At), t.State, t.Code, t.ServerCode)
		all = append(all, strings.TrimRight(line, " "))
	}
	return all
}

// appLines returns the details of an app, its trouble first.
func appLines(a ipc.AppStatus) []string {
	all := []string{a.App + ":"}
	if e := a.LastError; e != nil {
		at := ""
		if !e.At.IsZero() {
			at = ", " + stamp(e.At)
		}
		all[0] = fmt.Sprintf("%s: %s%s", a.App, errorCode(e), at)
		all = append(all, lines(e.Detail, "  ")...)
		if todo := todos[e.Code]; todo != "" {
			all = append(all, lines("To do: "+todo, "  ")...)
		}
	}
	if a.RegisteredAt != nil {
		line := fmt.Sprintf("  registered %s as %s", stamp(*a.RegisteredAt), a.ClientID)
		if a.Registrations > 1 {
			line += fmt.Sprintf(", %d times in all", a.Registrations)
		}
		all = append(all, line)
	}
	if a.LastContactAt != nil {
		all = append(all, "  last answer of the server "+stamp(*a.LastContactAt))
	}
	if len(all) == 1 && a.LastError == nil {
		return nil
	}
	return all
}

func errorCode(e *ipc.LastError) string {
	if e.ServerCode == "" {
		return e.Code
	}
	return e.Code + " (" + e.ServerCode + ")"
}

// todos say what to do about errors that come from outside. The details of the
// other errors say it themselves.
var todos = map[string]string{
	ipc.CodeThrottled: "nothing, the daemon asks again when the throttle opens; " +
		"if this happens often, something else on this network calls too often",
	ipc.CodeServerError: "nothing, the daemon asks again; if this lasts, `tvpassd doctor` finds the cause",
	ipc.CodeOffline:     "nothing, the daemon asks again; if this lasts, `tvpassd doctor` finds where the way ends",
}

// stateWords returns what the state of an app means for a viewer, why, and what
// comes next.
func stateWords(a ipc.AppStatus) string {
	next, left, why := "", "", ""
	if a.NextRefreshIn != nil && *a.NextRefreshIn > 0 {
		next = ", next try in " + short(*a.NextRefreshIn)
	}
	if a.TokenExpiresIn != nil {
		left = " for " + short(*a.TokenExpiresIn)
	}
	if e := a.LastError; e != nil {
		why = ": " + errorCode(e)
		if e.Code == a.State && e.ServerCode != "" { // the line is short
			why = ": " + e.ServerCode
		}
	}
	switch a.State {
	case ipc.StateReady:
		return "ready, token good" + left + strings.Replace(next, "try", "one", 1)
	case ipc.StateStale:
		return "stale, token good" + left + " but not renewed" + why + next
	case ipc.StateRegistering:
		return "NO TOKEN, registering the device" + why
	case ipc.StateRefreshing:
		return "NO TOKEN, fetching one" + why
	case ipc.StateWaiting:
		return "NO TOKEN, waiting" + why + next
	case ipc.StateRejected:
		return "NO TOKEN, a person must act" + why + next
	default: // a state of a newer daemon
		return a.State + why + next
	}
}

func coloured(health string) string {
	if os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return health
	}
	colour := map[string]string{ipc.Healthy: "32", ipc.Degraded: "33"}[health]
	if colour == "" {
		colour = "31"
	}
	return "\x1b[" + colour + "m" + health + "\x1b[0m"
}

func deviceLine(d ipc.Device) string {
	var info struct{ Model, PrimaryHardwareType string }
	if json.Unmarshal(d.Info, &info) != nil || info.Model == "" {
		info.Model = "unknown"
	}
	line := info.Model
	if info.PrimaryHardwareType != "" {
		line += " (" + info.PrimaryHardwareType + ")"
	}
	if d.Identifier != nil {
		line += ", identifier from " + d.Identifier.Source
	}
	return line
}

func clockLine(c ipc.Clock) string {
	skew := time.Duration(c.SkewMS) * time.Millisecond
	switch {
	case !c.Set:
		return "NOT SET"
	case skew.Abs() < time.Second:
		return "set"
	case skew > 0:
		return "set, " + short(int64(skew/time.Second)) + " behind the server's"
	default:
		return "set, " + short(int64(-skew/time.Second)) + " ahead of the server's"
	}
}

func throttleLine(t ipc.Throttle) string {
	if t.OpensInMS < 1000 {
		return "open"
	}
	return "shut for " + short(t.OpensInMS/1000)
}

func storageLine(s ipc.Storage) string {
	if s.OK {
		return "ok"
	}
	return "FAILS"
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

// short returns seconds as a person says them: 45s, 3m20s, 5h10m, 2d4h.
func short(seconds int64) string {
	switch {
	case seconds < 60:
		return fmt.Sprintf("%ds", seconds)
	case seconds < 3600:
		return fmt.Sprintf("%dm%ds", seconds/60, seconds%60)
	case seconds < 86400:
		return fmt.Sprintf("%dh%dm", seconds/3600, seconds%3600/60)
	default:
		return fmt.Sprintf("%dd%dh", seconds/86400, seconds%86400/3600)
	}
}
