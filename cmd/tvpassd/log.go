package main

import (
	"context"
	"io"
	"log/slog"
	"strings"
)

// newLogger returns the daemon's log: one line of text for each transition. The
// journal has a clock of its own, and takes the priority from the beginning of a line
// (sd-daemon(3)).
func newLogger(w io.Writer, journal bool) (*slog.Logger, *slog.LevelVar) {
	level := new(slog.LevelVar)
	if !journal {
		return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level})), level
	}
	untimed := func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
			return slog.Attr{}
		}
		return a
	}
	h := journalHandler{}
	for i, priority := range []string{"<7>", "<6>", "<4>", "<3>"} {
		h[i] = slog.NewTextHandler(prefixed{w, priority}, &slog.HandlerOptions{Level: level, ReplaceAttr: untimed})
	}
	return slog.New(h), level
}

// journalHandler has a handler for each level: debug, info, warning, error.
type journalHandler [4]slog.Handler

func (h journalHandler) at(l slog.Level) slog.Handler {
	return h[min(max((int(l)-int(slog.LevelDebug))/4, 0), len(h)-1)]
}

// Enabled is part of slog.Handler.
func (h journalHandler) Enabled(ctx context.Context, l slog.Level) bool {
	return h.at(l).Enabled(ctx, l)
}

// Handle is part of slog.Handler.
func (h journalHandler) Handle(ctx context.Context, r slog.Record) error {
	return h.at(r.Level).Handle(ctx, r)
}

// WithAttrs is part of slog.Handler.
func (h journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	for i := range h {
		h[i] = h[i].WithAttrs(attrs)
	}
	return h
}

// WithGroup is part of slog.Handler.
func (h journalHandler) WithGroup(name string) slog.Handler {
	for i := range h {
		h[i] = h[i].WithGroup(name)
	}
	return h
}

// libraryLog takes what the standard library logs by itself, as net/http does of a
// server that talks out of turn.
type libraryLog struct{ log *slog.Logger }

// Write takes one line. It drops everything from the first quote on: what others
// sent stands in quotes there, and may be a token.
func (l libraryLog) Write(line []byte) (int, error) {
	text, _, _ := strings.Cut(string(line), `"`)
	l.log.Warn("the standard library complains", "code", "library", "err", strings.TrimSpace(text))
	return len(line), nil
}

// prefixed writes lines behind a prefix, each in one write.
type prefixed struct {
	w      io.Writer
	prefix string
}

func (p prefixed) Write(line []byte) (int, error) {
	n, err := p.w.Write(append([]byte(p.prefix), line...))
	return max(n-len(p.prefix), 0), err
}
