package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Shown is a configuration file as a stranger may read it.
type Shown struct {
	Text    string   // TOML
	Secrets []string // values that Text leaves out, to be removed elsewhere too
}

const left = `"[left out]"`

// Show returns the part of a configuration file that can't be a secret: known
// keys with valid values. It leaves out comments, other keys, software statements,
// and the user of a proxy. A fault of the syntax ends it.
func Show(data []byte, inApps bool) Shown {
	nobody := func(string) (uint32, error) { return 0, nil }
	d := &document{file: "/", inApps: inApps, names: names{user: nobody, group: nobody}}
	err := d.parse(data)
	if inApps {
		d.claims(d.top())
	} else {
		d.config()
	}
	s := shower{doc: d}
	tables := slices.Clone(d.tables)
	slices.SortFunc(tables, func(a, b *table) int { return cmp.Or(a.line-b.line, strings.Compare(a.label, b.label)) })
	for _, t := range tables {
		s.table(t)
	}
	if fault, ok := errors.AsType[*Error](err); ok {
		s.line("# line %d: not valid TOML; the rest is left out", fault.Line)
	}
	return s.Shown
}

// shower writes a Shown.
type shower struct {
	Shown
	doc *document
}

func (s *shower) line(format string, args ...any) { s.Text += fmt.Sprintf(format, args...) + "\n" }

func (s *shower) table(t *table) {
	if t.line > 0 && t.label != "" {
		s.line("%s", t.label)
	}
	keys := slices.SortedFunc(maps.Keys(t.keys), func(a, b string) int {
		return cmp.Or(cmp.Compare(t.keys[a].line, t.keys[b].line), strings.Compare(a, b))
	})
	for _, key := range keys {
		e := t.keys[key]
		switch {
		case e.line == 0: // a default
		case !slices.Contains(t.known, key):
			s.line("# line %d: an unknown key is left out", e.line)
		case !s.holdsTables(t, key):
			s.line("%s = %s", key, s.value(t.name(key), e))
		}
	}
}

// holdsTables reports whether a key's value is shown by itself.
func (s *shower) holdsTables(t *table, key string) bool {
	return t.label == "" && slices.ContainsFunc(s.doc.tables, func(sub *table) bool {
		return strings.Trim(sub.label, "[]") == key
	})
}

// value returns the value of a known key, without what is secret in it.
func (s *shower) value(name string, e *entry) string {
	text, _ := e.value.(string)
	switch name {
	case "[[app]] software_statement":
		s.Secrets = append(s.Secrets, text)
		s.Secrets = append(s.Secrets, strings.Split(text, ".")...)
		return left
	case "[http] proxy":
		if at := strings.LastIndexByte(text, '@'); at >= 0 {
			_, password, _ := strings.Cut(text[strings.Index(text, "://")+1:at], ":")
			s.Secrets = append(s.Secrets, text, text[:at], password)
		}
		if u, err := parseProxy(text); err == nil && u.User != nil {
			return strconv.Quote(u.Scheme + "://[left out]@" + u.Host)
		}
	}
	if s.faulty(e.line) {
		return left
	}
	return literal(e.value)
}

// faulty reports whether something on a line is not valid.
func (s *shower) faulty(line int) bool {
	return slices.ContainsFunc(s.doc.faults, func(e *Error) bool { return e.Line == line })
}

// literal writes a value as TOML.
func literal(value any) string {
	switch v := value.(type) {
	case string:
		return strconv.Quote(v)
	case int64, float64, bool:
		return fmt.Sprint(v)
	case []any:
		var elements []string
		for _, element := range v {
			elements = append(elements, literal(element))
		}
		return "[" + strings.Join(elements, ", ") + "]"
	}
	return left
}
