package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tvpassd/tvpassd/device"
	"github.com/tvpassd/tvpassd/device/hostfile"
)

// document is one TOML file that is being read. Its tables note which keys were
// asked for, so that unknownKeys can report the others.
type document struct {
	file   string // absolute
	inApps bool   // the file is in apps.d
	by     reader // for whom the file is read
	files  *files
	names  names
	stat   hostfile.File // what its descriptor says, without the content
	root   *table        // nil until something could be parsed
	tables []*table      // those that were asked for
	faults []*Error

	statements map[string]string // by path: one for many apps is kept once
}

// read reads and parses the file. Each problem is added to d.faults; the error
// is the first one.
func (d *document) read() error {
	file, err := d.files.keep(d.file, maxFile, d.by)
	if err != nil {
		d.fault(0, "%v", unreadable{err})
		return err
	}
	d.stat = *file
	d.stat.Data = nil
	return d.parse(file.Data)
}

// maxSigns is how many signs a file may have that make tables, keys or values. A
// hundred apps have a few thousand, and each can take 200 times its own memory.
const maxSigns = 16384

func (d *document) parse(data []byte) error {
	d.root = newTable(0)
	count := 0
	for _, c := range data {
		if strings.IndexByte("=.,[{", c) >= 0 {
			count++
		}
	}
	if count > maxSigns {
		err := fmt.Errorf("has more than %d of the signs = . , [ and {, and no configuration needs so many", maxSigns)
		d.fault(0, "%v", err)
		return err
	}
	err := build(data, d.root)
	if fault, ok := errors.AsType[*Error](err); ok {
		fault.File = d.file
		if strings.HasSuffix(fault.Detail, "at start of value") {
			fault.Detail += ": put text in quotes"
		}
		d.faults = append(d.faults, fault)
	}
	return err
}

// fault adds a fault. An error among args is its cause.
func (d *document) fault(line int, format string, args ...any) {
	fault := &Error{File: d.file, Line: line, Detail: fmt.Sprintf(format, args...)}
	for _, arg := range args {
		if err, ok := arg.(error); ok {
			fault.Err = err
		}
	}
	d.faults = append(d.faults, fault)
}

// sorted returns the faults in the order of their lines.
func (d *document) sorted() []*Error {
	slices.SortFunc(d.faults, func(a, b *Error) int {
		return cmp.Or(a.Line-b.Line, strings.Compare(a.Error(), b.Error()))
	})
	return d.faults
}

// err joins the faults; it is nil if there are none.
func (d *document) err() error {
	var errs []error
	for _, fault := range d.sorted() {
		errs = append(errs, fault)
	}
	return errors.Join(errs...)
}

// table is one table of a document. A table that the file does not have is an
// empty one.
type table struct {
	line  int // of its header; 0 for the whole document or a table that is not in the file
	keys  map[string]*entry
	doc   *document
	label string   // as messages name it: "", "[socket]", "[[app]]"
	known []string // the keys that were asked for
}

// top returns the table of the keys before the first header.
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

// table returns the table of that name in t.
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

// list returns the elements of the list of tables of that name in t.
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

// fault adds a fault of a key that the table has or lacks.
func (t *table) fault(key, format string, args ...any) { t.doc.fault(t.lineOf(key), format, args...) }

// lineOf returns the line of a key, else that of the table's header, else 0.
func (t *table) lineOf(key string) int {
	if e := t.keys[key]; e != nil && e.line > 0 {
		return e.line
	}
	return t.line
}

// name returns a key as messages name it, such as "[socket] mode".
func (t *table) name(key string) string { return strings.TrimSpace(t.label + " " + key) }

func (t *table) has(key string) bool { return t.keys[key] != nil }

// value returns the value of a key, or nil if the table lacks it.
func (t *table) value(key string) any {
	t.known = append(t.known, key)
	if !t.has(key) {
		return nil
	}
	return t.keys[key].value
}

// read parses the value of a key. It returns otherwise if the table lacks the key
// or if parse fails; the text of parse's error follows the name of the key.
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
	s, ok := t.text(key, example)
	if !ok {
		return otherwise
	}
	value, err := parse(s)
	if err != nil {
		t.wrong(key, err)
		return otherwise
	}
	return value
}

// text returns the value of a key if it is a string, as it must be.
func (t *table) text(key, example string) (s string, ok bool) {
	given := t.value(key)
	if given == nil {
		return "", false
	}
	if s, ok = given.(string); !ok {
		t.wrong(key, fmt.Errorf("must be a string such as %q, not %s", example, kind(given)))
	}
	return s, ok
}

// wrong adds a fault of a key's value.
func (t *table) wrong(key string, err error) {
	name := t.name(key)
	if t.keys[key].line == 0 { // the file lacks the key
		name = "the default of " + name
	}
	t.fault(key, "%s %v", name, err)
}

// unknownKeys adds a fault for every key that was not asked for.
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

// unknown describes an unknown key of t and what was probably meant. sorts has
// one table of each label in the document.
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
	return what + ": known keys are " + strings.Join(slices.Sorted(slices.Values(t.known)), ", ")
}
