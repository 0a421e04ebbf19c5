package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// maxFile bounds a TOML file, in bytes. The parser's time grows with the square of the number of keys in a table: this is
// a second on a desktop, and room for a hundred apps with their statements.
const maxFile = 256 << 10

// readFile reads a regular file of at most so many bytes, without the byte order mark that some editors put in front. (A pipe
// could block, and can't be read again at a reload.)
func readFile(name string, most int64) ([]byte, error) {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, errors.New("it is a directory")
	case !info.Mode().IsRegular():
		return nil, errors.New("it is no regular file")
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("it is longer than %d KiB", most>>10)
	}
	return bytes.TrimPrefix(data, []byte("\uFEFF")), err
}

// document is one TOML file while it is read.
type document struct {
	file   string // absolute
	inApps bool   // of apps.d
	names  names
	values map[string]any
	lines  map[place]int
	tables []*table // those that were asked for
	faults []*Error
}

func (d *document) fault(line int, detail string) {
	d.faults = append(d.faults, &Error{File: d.file, Line: line, Detail: detail})
}

// sorted are the faults in the order of their lines.
func (d *document) sorted() []*Error {
	slices.SortStableFunc(d.faults, func(a, b *Error) int { return a.Line - b.Line })
	return d.faults
}

// err joins the faults.
func (d *document) err() error {
	var errs []error
	for _, fault := range d.sorted() {
		errs = append(errs, fault)
	}
	return errors.Join(errs...)
}

// read reads the file. What is wrong with it is a fault too; the error is for telling what kind.
func (d *document) read() error {
	data, err := readFile(d.file, maxFile)
	if err != nil {
		d.fault(0, reason(err))
		return err
	}
	return d.parse(data)
}

// parse reads the values, and notes where they stand: the decoder tells a position only of what it refuses itself.
func (d *document) parse(data []byte) error {
	if err := toml.Unmarshal(data, &d.values); err != nil {
		line := 0
		var syntax *toml.DecodeError
		if errors.As(err, &syntax) {
			line, _ = syntax.Position()
		}
		detail := "is not valid TOML: " + printable(strings.TrimPrefix(err.Error(), "toml: "))
		if strings.HasSuffix(detail, "at start of value") {
			detail += ": text stands in quotes"
		}
		d.fault(line, detail)
		return err
	}
	d.lines = map[place]int{}
	line, offset := 1, 0
	walk(data, func(at place, start int, _ *unstable.Node) {
		line += bytes.Count(data[offset:start], []byte("\n"))
		offset = start
		if _, known := d.lines[at]; !known {
			d.lines[at] = line
		}
	})
	return nil
}

// place is where a key stands: its table, the element where that is a list, its name. What lies deeper is not told apart.
type place [3]string

func (p place) join(name string) place {
	for i := range p {
		if p[i] == "" {
			p[i] = name
			break
		}
	}
	return p
}

// walk visits every key up to the first fault of the syntax: where it stands, its offset in data, and its value, which is
// nil in the name of a table and before the last dot of a key. Offsets never go back.
func walk(data []byte, visit func(at place, offset int, value *unstable.Node)) {
	elements := map[place]int{}
	var table place
	var p unstable.Parser
	for p.Reset(data); p.NextExpression(); {
		e := p.Expression()
		if e.Kind == unstable.KeyValue {
			walkValue(e, table, visit)
			continue
		}
		table = place{}
		for it := e.Key(); it.Next(); {
			name := it.Node()
			table = table.join(string(name.Data))
			visit(table, offset(name), nil)
			if it.IsLast() && e.Kind == unstable.ArrayTable {
				elements[table]++
			}
			if n := elements[table]; n > 0 {
				table = table.join(strconv.Itoa(n - 1))
				visit(table, offset(name), nil)
			}
		}
	}
}

func offset(key *unstable.Node) int { return int(key.Raw.Offset) }

func walkValue(n *unstable.Node, at place, visit func(place, int, *unstable.Node)) {
	switch n.Kind {
	case unstable.KeyValue:
		for it := n.Key(); it.Next(); {
			at = at.join(string(it.Node().Data))
			value := n.Value()
			if !it.IsLast() {
				value = nil
			}
			visit(at, offset(it.Node()), value)
		}
		walkValue(n.Value(), at, visit)
	case unstable.InlineTable:
		for it := n.Children(); it.Next(); {
			first := it.Node().Key()
			first.Next()
			visit(at, offset(first.Node()), nil) // for an element of a list: it has no name
			walkValue(it.Node(), at, visit)
		}
	case unstable.Array:
		element := 0
		for it := n.Children(); it.Next(); element++ {
			walkValue(it.Node(), at.join(strconv.Itoa(element)), visit)
		}
	}
}

// table is one table of a document, or what would be there if it were given.
type table struct {
	doc    *document
	at     place
	label  string // for a person: "", "[socket]", "[[app]]"
	values map[string]any
	known  []string // the keys that were asked for
}

func (d *document) top() *table { return d.add(place{}, "", d.values) }

func (d *document) add(at place, label string, values map[string]any) *table {
	if values == nil {
		values = map[string]any{}
	}
	t := &table{doc: d, at: at, label: label, values: values}
	d.tables = append(d.tables, t)
	return t
}

// table is the table of that name in t.
func (t *table) table(name string) *table {
	t.known = append(t.known, name)
	values, ok := t.values[name].(map[string]any)
	if given := t.values[name]; !ok && given != nil {
		t.doc.fault(t.line(name), fmt.Sprintf("%s must be a table, not %s: write [%s] above its keys", name, kind(given), name))
	}
	return t.doc.add(t.at.join(name), "["+name+"]", values)
}

// list are the tables of a list of tables in t.
func (t *table) list(name string) []*table {
	t.known = append(t.known, name)
	given, ok := t.values[name].([]any)
	if !ok && t.values[name] != nil {
		t.doc.fault(t.line(name), fmt.Sprintf("%s must be a list of tables: write [[%s]], in two brackets, above its keys", name, name))
	}
	var tables []*table
	for i, element := range given {
		at := t.at.join(name).join(strconv.Itoa(i))
		values, ok := element.(map[string]any)
		if !ok {
			t.doc.fault(t.line(name), fmt.Sprintf("%s must be a list of tables: element %d is %s", name, i+1, kind(element)))
			continue
		}
		tables = append(tables, t.doc.add(at, "[["+name+"]]", values))
	}
	return tables
}

// line tells where a key stands, else where its table begins; 0 where neither does.
func (t *table) line(key string) int {
	if line := t.doc.lines[t.at.join(key)]; line > 0 {
		return line
	}
	for at, last := t.at, len(t.at)-1; last >= 0; last-- {
		if line := t.doc.lines[at]; line > 0 {
			return line
		}
		at[last] = ""
	}
	return 0
}

func (t *table) name(key string) string { return strings.TrimSpace(t.label + " " + key) }

func (t *table) has(key string) bool { return t.values[key] != nil }

// read gives the value of a key, or otherwise where it is not given or wrong. The errors of parse go on after the key's name.
func read[T any](t *table, key string, otherwise T, parse func(any) (T, error)) T {
	t.known = append(t.known, key)
	if !t.has(key) {
		return otherwise
	}
	value, err := parse(t.values[key])
	if err != nil {
		name := t.name(key)
		if t.doc.lines[t.at.join(key)] == 0 { // nobody wrote it
			name = "the default of " + name
		}
		t.doc.fault(t.line(key), name+" "+err.Error())
		return otherwise
	}
	return value
}

// unknownKeys reports every key that nobody asked for.
func (d *document) unknownKeys() {
	for _, t := range d.tables {
		for _, key := range slices.Sorted(maps.Keys(t.values)) {
			if !slices.Contains(t.known, key) {
				d.fault(t.line(key), d.unknown(t, key))
			}
		}
	}
}

func (d *document) unknown(t *table, key string) string {
	what := "unknown key " + quote(key)
	if t.label != "" {
		what += " in " + t.label
	}
	if d.inApps && t.label == "" {
		return what + ": a file in apps.d holds [[app]] only"
	}
	for _, other := range d.tables {
		if other.label != t.label && slices.Contains(other.known, key) {
			if other.label == "" {
				return what + ": it belongs at the top of the file, before the first [table]"
			}
			return what + ": it belongs to " + other.label
		}
	}
	if best := nearest(key, t.known); best != "" {
		return what + ": did you mean " + best + "?"
	}
	return what + ": there are " + strings.Join(slices.Sorted(slices.Values(t.known)), ", ")
}

// nearest is the one of words that was probably meant: it begins and ends as word does, but for a slip in between.
func nearest(word string, words []string) string {
	best, most := "", 0.6 // the share that must agree
	fold := func(s string) string { return strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(s)) }
	for _, w := range words {
		a, b := fold(word), fold(w)
		front := 0
		for front < min(len(a), len(b)) && a[front] == b[front] {
			front++
		}
		back := 0
		for back < min(len(a), len(b))-front && a[len(a)-1-back] == b[len(b)-1-back] {
			back++
		}
		if share := float64(front+back) / float64(max(len(a), len(b), 1)); share > most {
			best, most = w, share
		}
	}
	return best
}
