package config

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

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
		t.doc.fault(t.line(name),
			fmt.Sprintf("%s must be a list of tables: write [[%s]], in two brackets, above its keys", name, name))
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

// read gives the value of a key, or otherwise where it is not given or wrong. An error of parse goes on after the key's name.
func read[T any](t *table, key string, otherwise T, parse func(any) (T, error)) T {
	t.known = append(t.known, key)
	if !t.has(key) {
		return otherwise
	}
	value, err := parse(t.values[key])
	if err != nil {
		t.wrong(key, err)
		return otherwise
	}
	return value
}

func (t *table) wrong(key string, err error) {
	name := t.name(key)
	if t.doc.lines[t.at.join(key)] == 0 { // nobody wrote it
		name = "the default of " + name
	}
	t.doc.fault(t.line(key), name+" "+err.Error())
}

// unknownKeys reports every key that nobody asked for.
func (d *document) unknownKeys() {
	sorts := slices.CompactFunc(slices.Clone(d.tables), func(a, b *table) bool { return a.label == b.label })
	for _, t := range d.tables {
		for _, key := range slices.Sorted(maps.Keys(t.values)) {
			if !slices.Contains(t.known, key) {
				d.fault(t.line(key), unknown(t, key, sorts))
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
