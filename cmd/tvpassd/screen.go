package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tvpassd/tvpassd/ipc"
)

// The size of a serial console.
const (
	width  = 80
	height = 24
)

// screen is a status in the order of what a person needs first.
type screen struct {
	head    string
	summary []string   // a line for each app and each kind of warning, what is wrong first
	facts   []string   // of the daemon and the device
	details [][]string // a paragraph each, what is wrong first
}

// text returns at most rows-1 lines, so that the head stays on a terminal of that
// many rows, and says what it left out; 0 means no limit. Only details and facts are
// left out, unless there are too many apps and warnings.
func (s screen) text(rows int) string {
	const all = "tvpassd status --all"
	room := rows - 1
	lines := append([]string{s.head}, s.summary...)
	if rows > 0 && len(lines) >= room {
		shown := max(room-1, 1)
		return joined(append(lines[:shown], fmt.Sprintf("... %s more: %s", plural(len(lines)-shown, "app or warning",
			"apps or warnings"), all)))
	}
	missing := 0
	room -= len(lines) + 1 // a line stays free to say what is missing
	for _, p := range append([][]string{s.facts}, s.details...) {
		taken := 1 + rowsTaken(p)
		if rows > 0 && taken > room {
			missing += len(p)
			continue
		}
		room -= taken
		lines = append(append(lines, ""), p...)
	}
	if missing > 0 {
		lines = append(lines, fmt.Sprintf("... %s: %s", plural(missing, "more line", "more lines"), all))
	}
	return joined(lines)
}

// rowsTaken returns how many rows of a terminal the lines take.
func rowsTaken(lines []string) int {
	n := 0
	for _, line := range lines {
		n += 1 + max(utf8.RuneCountInString(line)-1, 0)/width
	}
	return n
}

func joined(lines []string) string { return strings.Join(lines, "\n") + "\n" }

// statusScreen returns the screen of a status. It is plain ASCII. The screen
// shows the time unless now is zero.
func statusScreen(st ipc.Status, now time.Time) screen {
	s := screen{
		head: clocked(fmt.Sprintf("tvpassd %s: %s, up %s", st.Version, st.Health, short(st.UptimeS)), now),
		facts: []string{
			"  endpoint  " + st.Endpoint,
			"  device    " + deviceLine(st.Device),
			"  clock     " + clockLine(st.Clock),
			"  throttle  " + throttleLine(st.Throttle),
			"  storage   " + storageLine(st.Storage),
		},
	}
	troubled, ready := byUrgency(st.Apps)
	s.apps(troubled)
	if len(st.Apps) == 0 {
		s.summary = append(s.summary, "no apps")
		s.details = append(s.details, lines("To do: "+noApps(st.Warnings), "  "))
	}
	s.warnings(st.Warnings)
	s.apps(ready)
	for _, a := range append(troubled, ready...) {
		s.add(transitionLines(a))
	}
	return s
}

// byUrgency returns the apps that have a good token apart from the others, and of
// these first what a person must mend.
func byUrgency(apps []ipc.AppStatus) (troubled, ready []ipc.AppStatus) {
	order := []string{ipc.StateRejected, ipc.StateWaiting, ipc.StateRegistering, ipc.StateRefreshing, ipc.StateStale}
	for _, state := range order {
		for _, a := range apps {
			if a.State == state {
				troubled = append(troubled, a)
			}
		}
	}
	for _, a := range apps {
		if !slices.Contains(order, a.State) { // or a state of a newer daemon
			ready = append(ready, a)
		}
	}
	return troubled, ready
}

func (s *screen) add(paragraph []string) {
	if len(paragraph) > 0 {
		s.details = append(s.details, paragraph)
	}
}

func (s *screen) apps(apps []ipc.AppStatus) {
	for _, a := range apps {
		s.summary = append(s.summary, cut("app "+a.App+": "+stateWords(a)))
		s.add(appLines(a))
	}
}

// warnings adds a line for each code. What does not fit it follows in the details.
func (s *screen) warnings(list []ipc.Warning) {
	var codes []string
	of := map[string][]ipc.Warning{}
	for _, w := range list {
		if of[w.Code] == nil {
			codes = append(codes, w.Code)
		}
		of[w.Code] = append(of[w.Code], w)
	}
	for _, code := range codes {
		head := "warning " + code
		if n := len(of[code]); n > 1 {
			head += fmt.Sprintf(" (%d)", n)
		}
		s.summary = append(s.summary, cut(head+": "+of[code][0].Detail))
		paragraph := []string{code + ", since " + stamp(of[code][0].Since)}
		for _, w := range of[code] {
			paragraph = append(paragraph, lines(w.Detail, "  ")...)
		}
		s.add(paragraph)
	}
}

// clocked puts the time at the right end of a line.
func clocked(line string, now time.Time) string {
	if now.IsZero() {
		return line
	}
	return fmt.Sprintf("%s%*s", line, max(width-len(line), 2+len(stamp(now))), stamp(now))
}

// cut makes one line of a text, and shortens it to the screen's width.
func cut(text string) string {
	const more = "..."
	line := printable(strings.Join(strings.Fields(text), " "))
	if r := []rune(line); len(r) > width {
		return string(r[:width-len(more)]) + more
	}
	return line
}

// lines breaks a text into lines of the screen's width. A longer word stays whole.
func lines(text, indent string) []string {
	var all []string
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = indent + word
		case len(line)+1+len(word) > width:
			all = append(all, line)
			line = indent + word
		default:
			line += " " + word
		}
	}
	if line != "" {
		all = append(all, line)
	}
	return all
}

// wrap is lines as one text.
func wrap(text, indent string) string {
	if all := lines(text, indent); len(all) > 0 {
		return joined(all)
	}
	return ""
}
