package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tvpassd/tvpassd/ipc"
)

// sampleStatus is a status with many apps of each state, in the order of their
// names.
func sampleStatus(states ...string) ipc.Status {
	at := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	st := ipc.Status{Version: "1.2.3", Health: ipc.Failed, Endpoint: "https://sp.example",
		Device: ipc.Device{Info: json.RawMessage(`{"model":"Box"}`)}, Clock: ipc.Clock{Set: true},
		Storage: ipc.Storage{OK: true}}
	for i, state := range states {
		a := ipc.AppStatus{App: fmt.Sprintf("app%02d", i), State: state, RegisteredAt: &at, ClientID: "4f3a****",
			LastContactAt: &at, NextRefreshIn: new(int64(734))}
		if state != ipc.StateReady {
			a.LastError = &ipc.LastError{Code: ipc.CodeRejected, ServerCode: "unapproved_software_statement", At: at,
				Detail: "the software statement is not approved or was revoked: have the registered application " +
					"approved in the TVE Dashboard"}
			a.Transitions = []ipc.Transition{{At: at, State: state, Code: ipc.CodeRejected}}
		}
		st.Apps = append(st.Apps, a)
	}
	return st
}

// A serial console shows what is broken without scrolling.
func TestWhatIsBrokenComesFirst(t *testing.T) {
	st := sampleStatus(ipc.StateReady, ipc.StateStale, ipc.StateRejected, ipc.StateReady, ipc.StateWaiting)
	for i := range 3 {
		st.Warnings = append(st.Warnings, ipc.Warning{Code: "app_disabled",
			Detail: fmt.Sprintf("/etc/tvpassd/apps.d/player-%d.toml:3: unknown key \"statement\": see the manual", i)})
	}
	text := statusScreen(st, time.Time{}).text(24)
	if n := strings.Count(text, "\n"); n > 23 {
		t.Errorf("%d lines:\n%s", n, text)
	}
	at := -1
	for _, words := range []string{
		"tvpassd 1.2.3: failed", "\napp app02: NO TOKEN, a person must act: unapproved_software_statement",
		"\napp app04: NO TOKEN, waiting", "\napp app01: stale", "\nwarning app_disabled (3): /etc/tvpassd/apps.d/player-0",
		"\napp app00: ready", "\napp app03: ready", "\n  endpoint  https://sp.example\n", "\napp02: rejected",
		"approved in the TVE Dashboard", "more lines: tvpassd status --all\n",
	} {
		next := strings.Index(text, words)
		if next <= at {
			t.Errorf("%q is not there, or too early, in\n%s", words, text)
		}
		at = next
	}
	all := statusScreen(st, time.Time{}).text(0)
	for _, words := range []string{"player-0.toml", "player-1.toml", "player-2.toml", "recent transitions of app04"} {
		if !strings.Contains(all, words) {
			t.Errorf("--all has no %q:\n%s", words, all)
		}
	}
	if strings.Count(all, "warning app_disabled") != 1 {
		t.Errorf("equal warnings are not together:\n%s", all)
	}
}

// With any number of apps and any height, the head stays on the screen, which
// says what it leaves out.
func TestTheScreenIsNeverTooHigh(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	states := []string{ipc.StateReady, ipc.StateStale, ipc.StateRejected, ipc.StateWaiting, ipc.StateRegistering, "new"}
	for range 2000 {
		var list []string
		for range random.IntN(40) {
			list = append(list, states[random.IntN(len(states))])
		}
		st := sampleStatus(list...)
		for i := range random.IntN(6) {
			st.Warnings = append(st.Warnings, ipc.Warning{Code: fmt.Sprint("code", i),
				Detail: strings.Repeat("a word ", random.IntN(60)) + strings.Repeat("/a/path", random.IntN(30))})
		}
		rows := 3 + random.IntN(60)
		text := statusScreen(st, time.Now()).text(rows)
		taken := 0
		for line := range strings.Lines(text) {
			taken += 1 + max(len(line)-2, 0)/80
		}
		all := statusScreen(st, time.Now()).text(0)
		left := strings.Contains(text, " more") && strings.Contains(text, ": tvpassd status --all\n")
		if taken > rows-1 || left == (strings.Count(all, "\n") == strings.Count(text, "\n")) {
			t.Fatalf("%d rows taken of %d, %d apps:\n%s", taken, rows, len(list), text)
		}
		for _, a := range st.Apps {
			if !strings.Contains(all, "app "+a.App+": ") {
				t.Fatalf("%s is missing in --all:\n%s", a.App, all)
			}
		}
	}
}

// terminal is a pseudo terminal of 80x24; whoever reads master sees what a
// person sees.
func terminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	fd := int(master.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80}); err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatalf("%v: this test needs /dev/pts: mount -t devpts devpts /dev/pts", err)
	}
	t.Cleanup(func() { slave.Close() })
	return master, slave
}

// --watch stays within the terminal, shows the time, and puts what is broken on
// top.
func TestWatchFitsTheTerminal(t *testing.T) {
	l := newLab(t)
	l.up()
	l.token()
	l.order("POST", "/statement", `{"approved":false}`)
	for i := range 25 {
		l.addApp(fmt.Sprintf("app%02d", i), "")
	}
	l.run("reload").expect(t, 0)
	l.daemon.until("a refusal", func() bool { return strings.Contains(l.run("status").stdout, "a person must act") })
	master, slave := terminal(t)
	w := l.startOn(slave, programs.tvpassd, "status", "--watch", "--config", l.path("config.toml"))
	const top = "\x1b[H\x1b[J"
	seen, buffer := "", make([]byte, 4096)
	for strings.Count(seen, top) < 3 {
		n, err := master.Read(buffer)
		l.must(err)
		seen += string(buffer[:n])
	}
	l.must(w.cmd.Process.Signal(syscall.SIGINT))
	w.exit()
	screens := strings.Split(seen, top)
	shown := screens[2] // a whole one
	lines := strings.Split(strings.TrimSuffix(shown, "\r\n"), "\r\n")
	if len(lines) > 23 || !strings.HasPrefix(lines[0], "tvpassd 1.2.3: ") || !strings.HasSuffix(lines[0], "Z") ||
		!strings.Contains(lines[1], "a person must act") || !strings.Contains(lines[len(lines)-1], "tvpassd status --all") {
		t.Errorf("%d lines:\n%s", len(lines), shown)
	}
	for _, line := range lines[1:] {
		if len(line) > 80 {
			t.Errorf("wider than the terminal: %q", line)
		}
	}
}
