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

// width is the width of a serial console, in columns.
const width = 80

// statusText returns a screen for a person without a manual: plain ASCII, and
// colour only on a terminal.
func statusText(st ipc.Status) string {
	var b strings.Builder
	fmt.Fprintf(&b, "tvpassd %s: %s, up %s\n", st.Version, st.Health, short(st.UptimeS))
	fmt.Fprintf(&b, "  endpoint  %s\n  device    %s\n  clock     %s\n  throttle  %s\n  storage   %s\n",
		st.Endpoint, deviceLine(st.Device), clockLine(st.Clock), throttleLine(st.Throttle), storageLine(st.Storage))
	for _, a := range st.Apps {
		appText(&b, a)
	}
	if len(st.Apps) == 0 {
		b.WriteString("\nno apps\n" + wrap("To do: put a file with [[app]] into /etc/tvpassd/apps.d and run `tvpassd reload`. If there is one, "+
			"its allow_users and allow_groups do not let you see it: try as root.", "  "))
	}
	for _, w := range st.Warnings {
		fmt.Fprintf(&b, "\nwarning %s, since %s\n%s", w.Code, stamp(w.Since), wrap(w.Detail, "  "))
	}
	for _, a := range st.Apps {
		storyText(&b, a)
	}
	return b.String()
}

// storyLines is how many transitions of an app fit the screen; --json has all.
const storyLines = 5

// storyText returns the recent transitions of an app; "" if all went well from the
// start.
func storyText(b *strings.Builder, a ipc.AppStatus) {
	if !slices.ContainsFunc(a.Transitions, func(t ipc.Transition) bool { return t.Code != "" }) {
		return
	}
	fmt.Fprintf(b, "\nrecent transitions of %s:\n", a.App)
	for _, t := range a.Transitions[max(len(a.Transitions)-storyLines, 0):] {
		line := fmt.Sprintf("  %s  %-11s  %s %s", stamp(t.At), t.State, t.Code, t.ServerCode)
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
}

// appText writes the paragraph of an app.
func appText(b *strings.Builder, a ipc.AppStatus) {
	fmt.Fprintf(b, "\napp %s: %s\n", a.App, stateWords(a))
	if a.RegisteredAt != nil {
		fmt.Fprintf(b, "  registered %s as %s", stamp(*a.RegisteredAt), a.ClientID)
		if a.Registrations > 1 {
			fmt.Fprintf(b, ", %d times in all", a.Registrations)
		}
		b.WriteString("\n")
	}
	if a.LastContactAt != nil {
		fmt.Fprintf(b, "  last answer of the server %s\n", stamp(*a.LastContactAt))
	}
	if e := a.LastError; e != nil {
		code := e.Code
		if e.ServerCode != "" {
			code += " (" + e.ServerCode + ")"
		}
		at := ""
		if !e.At.IsZero() {
			at = " " + stamp(e.At)
		}
		fmt.Fprintf(b, "  last error%s: %s\n%s", at, code, wrap(e.Detail, "  "))
		if todo := todos[e.Code]; todo != "" {
			b.WriteString(wrap("To do: "+todo, "  "))
		}
	}
}

// todos say what to do about errors that come from outside. The details of the
// other errors say it themselves.
var todos = map[string]string{
	ipc.CodeThrottled:   "nothing, the daemon asks again when the throttle opens; if this happens often, something else on this network calls too often",
	ipc.CodeServerError: "nothing, the daemon asks again; if this lasts, `tvpassd doctor` finds the cause",
	ipc.CodeOffline:     "nothing, the daemon asks again; if this lasts, `tvpassd doctor` finds where the way ends",
}

// stateWords returns what the state of an app means for a viewer, and what comes
// next.
func stateWords(a ipc.AppStatus) string {
	next := ""
	if a.NextRefreshIn != nil && *a.NextRefreshIn > 0 {
		next = ", next try in " + short(*a.NextRefreshIn)
	}
	left := ""
	if a.TokenExpiresIn != nil {
		left = " for " + short(*a.TokenExpiresIn)
	}
	switch a.State {
	case ipc.StateReady:
		return "ready, token good" + left + strings.Replace(next, "try", "one", 1)
	case ipc.StateStale:
		return "stale, token good" + left + " but not renewed" + next
	case ipc.StateRegistering:
		return "registering the device, no token yet"
	case ipc.StateRefreshing:
		return "fetching a token"
	case ipc.StateWaiting:
		return "NO TOKEN, waiting" + next
	case ipc.StateRejected:
		return "NO TOKEN, the server refuses, a person must act" + next
	default: // a state of a newer daemon
		return a.State + next
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

// wrap breaks a text into lines of the screen's width. A longer word stays whole.
func wrap(text, indent string) string {
	var b strings.Builder
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = indent + word
		case len(line)+1+len(word) > width:
			b.WriteString(line + "\n")
			line = indent + word
		default:
			line += " " + word
		}
	}
	if line != "" {
		b.WriteString(line + "\n")
	}
	return b.String()
}
