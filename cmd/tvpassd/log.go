package main

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// newLogger returns the daemon's log: one line of text for each transition, to
// standard error. If that is the journal, entries with fields to filter by go
// to the journal itself, without a time, which the journal adds. toJournal
// sends an entry; it is nil if standard error is not the journal.
func newLogger(stderr io.Writer, toJournal func(string) error) (*slog.Logger, *slog.LevelVar) {
	level := new(slog.LevelVar)
	if toJournal == nil {
		return slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level})), level
	}
	untimed := func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
			return slog.Attr{}
		}
		return a
	}
	j := &journal{stderr: stderr, send: toJournal}
	text := slog.NewTextHandler(j, &slog.HandlerOptions{Level: level, ReplaceAttr: untimed})
	return slog.New(journalHandler{text, j, ""}), level
}

// journalHandler writes a record as text, and notes the fields that go with it.
type journalHandler struct {
	slog.Handler // writes to journal
	journal      *journal
	fields       string // of attributes that all records have
}

// Handle is part of slog.Handler.
func (h journalHandler) Handle(ctx context.Context, r slog.Record) error {
	h.journal.mu.Lock()
	defer h.journal.mu.Unlock()
	h.journal.priority = [...]string{"7", "6", "4", "3"}[min(max((int(r.Level)-int(slog.LevelDebug))/4, 0), 3)]
	h.journal.fields = h.fields
	r.Attrs(func(a slog.Attr) bool {
		h.journal.fields += journalField(a)
		return true
	})
	return h.Handler.Handle(ctx, r)
}

// WithAttrs is part of slog.Handler.
func (h journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	for _, a := range attrs {
		h.fields += journalField(a)
	}
	h.Handler = h.Handler.WithAttrs(attrs)
	return h
}

// WithGroup is part of slog.Handler.
func (h journalHandler) WithGroup(name string) slog.Handler {
	h.Handler = h.Handler.WithGroup(name)
	return h
}

// journalField returns the field of an attribute that people filter by; "" for any
// other.
func journalField(a slog.Attr) string {
	value := a.Value.String()
	if a.Key != "app" && a.Key != "code" || strings.Contains(value, "\n") {
		return ""
	}
	return strings.ToUpper(a.Key) + "=" + value + "\n"
}

// journal takes lines of text for the journal.
type journal struct {
	mu     sync.Mutex // guards what follows
	stderr io.Writer
	send   func(string) error

	priority, fields string    // of the line that comes next
	deaf             time.Time // when the journal last took no entry
}

// silence is how long a journal that took no entry gets none: each attempt
// could wait.
const silence = 10 * time.Second

// Write takes one line. If the journal does not take it, standard error gets it,
// with the priority in front (sd-daemon(3)).
func (j *journal) Write(line []byte) (int, error) {
	if time.Since(j.deaf) > silence {
		message := strings.TrimSuffix(string(line), "\n") // the text handler quotes others
		entry := "SYSLOG_IDENTIFIER=tvpassd\nPRIORITY=" + j.priority + "\n" + j.fields + "MESSAGE=" + message + "\n"
		if j.send(entry) == nil {
			return len(line), nil
		}
		j.deaf = time.Now()
	}
	n, err := j.stderr.Write(append([]byte("<"+j.priority+">"), line...))
	return max(n-len("<n>"), 0), err
}

// libraryLog takes what the standard library logs by itself. net/http, for
// example, logs a server that sends an answer without a request.
type libraryLog struct{ log *slog.Logger }

// Write takes one line. It drops everything from the first quote on: what others
// sent stands in quotes there, and may be a token.
func (l libraryLog) Write(line []byte) (int, error) {
	text, _, _ := strings.Cut(string(line), `"`)
	l.log.Warn("the standard library complains", "code", "library", "err", strings.TrimSpace(text))
	return len(line), nil
}
