package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tvpassd/tvpassd/device"
)

// table is one table of a document, or what would be there if it were given.
type table struct {
	line  int // where it begins; 0: it is not given, or the whole document
	keys  map[string]*entry
	doc   *document
	label string   // for a person: "", "[socket]", "[[app]]"
	known []string // the keys that were asked for
}

func (d *document) top() *table {
	if d.root == nil {
		d.root = newTable(0)
	}
	return d.ask(d.root, "")
}

func (d *document) ask(t *table, label string) *table {
	t.doc, t.label = d, label
	d.tables = append(d.tables, t)
	return t
}

// table is the table of that name in t.
func (t *table) table(name string) *table {
	t.known = append(t.known, name)
	sub := newTable(0)
	if e := t.keys[name]; e != nil {
		if given, ok := e.value.(*table); ok {
			sub = given
		} else {
			t.fault(name, "%s must be a table, not %s: write [%[1]s] above its keys", name, kind(e.value))
		}
	}
	return t.doc.ask(sub, "["+name+"]")
}

// list are the tables of a list of tables in t.
func (t *table) list(name string) []*table {
	t.known = append(t.known, name)
	e := t.keys[name]
	if e == nil {
		return nil
	}
	given, ok := e.value.([]any)
	if !ok {
		t.fault(name, "%s must be a list of tables: write [[%[1]s]], in two brackets, above its keys", name)
	}
	var tables []*table
	for i, element := range given {
		sub, ok := element.(*table)
		if !ok {
			t.fault(name, "%s must be a list of tables: element %d is %s", name, i+1, kind(element))
			continue
		}
		tables = append(tables, t.doc.ask(sub, "[["+name+"]]"))
	}
	return tables
}

// fault is one of a key that is there or should be.
func (t *table) fault(key, format string, args ...any) { t.doc.fault(t.lineOf(key), format, args...) }

// lineOf tells where a key stands, else where its table begins; 0 where neither does.
func (t *table) lineOf(key string) int {
	if e := t.keys[key]; e != nil && e.line > 0 {
		return e.line
	}
	return t.line
}

func (t *table) name(key string) string { return strings.TrimSpace(t.label + " " + key) }

func (t *table) has(key string) bool { return t.keys[key] != nil }

// value gives the value of a key; nil where it is not given.
func (t *table) value(key string) any {
	t.known = append(t.known, key)
	if !t.has(key) {
		return nil
	}
	return t.keys[key].value
}

// text gives the value of a key that is a string, such as example; false where it is not given or not a string.
func (t *table) text(key, example string) (string, bool) {
	value := t.value(key)
	s, ok := value.(string)
	if !ok && value != nil {
		t.wrong(key, fmt.Errorf("must be a string such as %q, not %s", example, kind(value)))
	}
	return s, ok
}

// read parses the value of a key, and gives otherwise where it is not given or wrong. An error of parse goes on after the
// key's name.
func read[T any](t *table, key string, otherwise T, parse func(any) (T, error)) T {
	given := t.value(key)
	if given == nil {
		return otherwise
	}
	value, err := parse(given)
	if err != nil {
		t.wrong(key, err)
		return otherwise
	}
	return value
}

// readText is read for a key whose value is a string, such as example.
func readText[T any](t *table, key string, otherwise T, example string, parse func(string) (T, error)) T {
	given, ok := t.text(key, example)
	if !ok {
		return otherwise
	}
	value, err := parse(given)
	if err != nil {
		t.wrong(key, err)
		return otherwise
	}
	return value
}

func (t *table) wrong(key string, err error) {
	name := t.name(key)
	if t.keys[key].line == 0 { // nobody wrote it
		name = "the default of " + name
	}
	t.fault(key, "%s %v", name, err)
}

// unknownKeys reports every key that nobody asked for.
func (d *document) unknownKeys() {
	sorts := slices.CompactFunc(slices.Clone(d.tables), func(a, b *table) bool { return a.label == b.label })
	for _, t := range d.tables {
		for _, key := range slices.Sorted(maps.Keys(t.keys)) {
			if !slices.Contains(t.known, key) {
				t.fault(key, "%s", unknown(t, key, sorts))
			}
		}
	}
}

// unknown says what was probably meant by a key of t. sorts has a table of each label in the document.
func unknown(t *table, key string, sorts []*table) string {
	what := "unknown key " + quote(key)
	if t.label != "" {
		what += " in " + t.label
	}
	if t.doc.inApps && t.label == "" {
		return what + ": a file in apps.d holds [[app]] only"
	}
	for _, other := range sorts {
		if other.label != t.label && slices.Contains(other.known, key) {
			if other.label == "" {
				return what + ": it belongs at the top of the file, before the first [table]"
			}
			return what + ": it belongs to " + other.label
		}
	}
	if best := device.Nearest(key, t.known); best != "" {
		return what + ": did you mean " + best + "?"
	}
	return what + ": there are " + strings.Join(slices.Sorted(slices.Values(t.known)), ", ")
}
