package main

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// journald is a socket at journald's path, in a mount namespace, and what came.
type journald struct {
	mu      sync.Mutex
	entries []string
}

func (j *journald) all() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.entries)
}

// journaled starts a daemon whose standard error is a file that JOURNAL_STREAM
// names, or another one.
func (l *lab) journaled(listens, named bool) *journald {
	l.t.Helper()
	needRoot(l.t)
	needMounts(l.t)
	j := &journald{}
	l.must(os.Mkdir(l.path("journal"), 0o755))
	if listens {
		socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: l.path("journal/socket"), Net: "unixgram"})
		l.must(err)
		l.t.Cleanup(func() { socket.Close() })
		go func() {
			for buffer := make([]byte, 64<<10); ; {
				n, err := socket.Read(buffer)
				if err != nil {
					return
				}
				j.mu.Lock()
				j.entries = append(j.entries, string(buffer[:n]))
				j.mu.Unlock()
			}
		}()
	}
	stderr, err := os.Create(l.path("stderr"))
	l.must(err)
	l.t.Cleanup(func() { stderr.Close() })
	stream := "1:1"
	if named {
		var st syscall.Stat_t
		l.must(syscall.Fstat(int(stderr.Fd()), &st))
		stream = fmt.Sprintf("%d:%d", st.Dev, st.Ino)
	}
	l.daemon = l.startTo(stderr, "unshare", "--mount", "--propagation", "private", "sh", "-euc",
		`mount -t tmpfs tmpfs /run; mkdir -p /run/systemd/journal; mount --bind "$1" /run/systemd/journal
		JOURNAL_STREAM=$2 exec "$3" run --config "$4"`,
		"sh", l.path("journal"), stream, programs.tvpassd, l.path("config.toml"))
	l.t.Cleanup(l.daemon.kill)
	l.daemon.until("the socket", func() bool { return l.exists("sock") })
	return j
}

// In the journal an app and a code can be filtered by, and no line is there twice.
func TestJournalFields(t *testing.T) {
	l := newLab(t)
	l.order("POST", "/fault", `{"path":"token","kind":"error","code":"unauthorized_client"}`)
	j := l.journaled(true, true)
	want := "SYSLOG_IDENTIFIER=tvpassd\nPRIORITY=4\nAPP=ref30\nCODE=rejected\nMESSAGE=msg=\"no new token\" app=ref30 "
	l.daemon.until("an entry", func() bool {
		return slices.ContainsFunc(j.all(), func(e string) bool { return strings.HasPrefix(e, want) })
	})
	for _, e := range j.all() {
		fields := strings.Split(strings.TrimSuffix(e, "\n"), "\n")
		for _, f := range fields {
			if name, _, ok := strings.Cut(f, "="); !ok || name != strings.ToUpper(name) {
				t.Errorf("not a field: %q in %q", f, e)
			}
		}
		if strings.Contains(e, "level=") || strings.Contains(e, "time=") {
			t.Errorf("the journal knows it by itself: %q", e)
		}
	}
	l.daemon.stop()
	if said := l.read("stderr"); said != "" {
		t.Errorf("standard error has it too:\n%s", said)
	}
}

// If the journal does not listen, or standard error is not the journal's, lines go
// to standard error.
func TestStandardErrorInPlaceOfTheJournal(t *testing.T) {
	for name, tc := range map[string]struct {
		listens, named bool
		line           string
	}{
		"deaf":         {false, true, "\n<4>msg=\"no new token\" app=ref30 "},
		"another file": {true, false, "level=WARN msg=\"no new token\" app=ref30 "},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.order("POST", "/fault", `{"path":"token","kind":"error","code":"unauthorized_client"}`)
			j := l.journaled(tc.listens, tc.named)
			l.daemon.until("a line", func() bool { return strings.Contains(l.read("stderr"), tc.line) })
			if got := j.all(); len(got) > 0 {
				t.Errorf("the journal has %q", got)
			}
		})
	}
}
