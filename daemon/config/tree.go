package config

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// entry is a key of a table with its value.
type entry struct {
	line  int
	made  origin
	value any // string, int64, float64, bool, date, *table, or []any of these
}

// date stands for any of TOML's dates and times. No key takes one.
type date struct{}

// origin is how a key was made. It decides what may still be added to its value
// (TOML 1.0, "Table", "Array of Tables").
type origin int

const (
	whole   origin = iota // by a value of its own, which is complete
	dotted                // by a longer dotted key: more of them may follow
	implied               // by the header of a table inside it: its own header may follow
	headed                // by its own header
)

func newTable(line int) *table { return &table{line: line, keys: map[string]*entry{}} }

// add adds an empty table under a new key.
func (t *table) add(name string, line int, made origin) *table {
	sub := newTable(line)
	t.keys[name] = &entry{line, made, sub}
	return sub
}

// builder makes tables of what the parser finds. The parser checks the syntax
// only: duplicate keys are detected here.
type builder struct {
	parser unstable.Parser
	offset int // of the last key that was seen
	line   int // of that key
}

// build adds the keys of a document to top, up to the first fault. The error is an
// *Error without a file.
func build(data []byte, top *table) error {
	b := builder{line: 1}
	b.parser.Reset(data)
	for t := top; b.parser.NextExpression(); {
		var err error
		if e := b.parser.Expression(); e.Kind == unstable.KeyValue {
			err = b.addKey(t, e)
		} else {
			t, err = b.addTable(top, e)
		}
		if err != nil {
			return err
		}
	}
	err := b.parser.Error()
	if syntax, ok := errors.AsType[*unstable.ParserError](err); ok {
		b.moveTo(b.parser.Range(syntax.Highlight))
		return b.fault("%s", syntax.Message)
	}
	return err
}

// moveTo counts the lines up to place, which comes after all earlier ones.
func (b *builder) moveTo(place unstable.Range) {
	b.line += bytes.Count(b.parser.Data()[b.offset:place.Offset], []byte("\n"))
	b.offset = int(place.Offset)
}

func (b *builder) fault(format string, args ...any) error {
	return &Error{Line: b.line, Detail: "is not valid TOML: " + printable(fmt.Sprintf(format, args...))}
}

// addTable adds the table that a header begins, and the tables around it.
func (b *builder) addTable(t *table, header *unstable.Node) (*table, error) {
	for it := header.Key(); it.Next(); {
		b.moveTo(it.Node().Raw)
		name := string(it.Node().Data)
		e := t.keys[name]
		switch {
		case !it.IsLast():
			t = b.enter(t, name, e)
		case header.Kind == unstable.ArrayTable:
			return b.addElement(t, name, e)
		case e == nil:
			return t.add(name, b.line, headed), nil
		case e.made == implied:
			e.made = headed
			return e.value.(*table), nil
		case e.made == whole:
			return nil, b.fault("key %s should be a table, not a value", name)
		default:
			return nil, b.fault("table %s already exists", name)
		}
		if t == nil {
			return nil, b.fault("key %s already exists as a value", name)
		}
	}
	return t, nil
}

// enter returns the table of a key that leads to another one, or nil if its value
// is not a table.
func (b *builder) enter(t *table, name string, e *entry) *table {
	switch {
	case e == nil:
		return t.add(name, b.line, implied)
	case e.made == whole:
		return nil
	}
	if list, ok := e.value.([]any); ok { // of tables
		return list[len(list)-1].(*table)
	}
	return e.value.(*table)
}

// addElement adds a table to the list of tables of a key.
func (b *builder) addElement(t *table, name string, e *entry) (*table, error) {
	if e == nil {
		e = &entry{b.line, headed, []any{}}
		t.keys[name] = e
	}
	list, ok := e.value.([]any)
	if !ok || e.made != headed {
		return nil, b.fault("key %s is already defined", name)
	}
	element := newTable(b.line)
	e.value = append(list, element)
	return element, nil
}

// addKey adds a key with its value, and the tables that its dots make.
func (b *builder) addKey(t *table, n *unstable.Node) error {
	for it := n.Key(); it.Next(); {
		b.moveTo(it.Node().Raw)
		name, line := string(it.Node().Data), b.line
		e := t.keys[name]
		switch {
		case e == nil && it.IsLast():
			value, err := b.value(n.Value())
			t.keys[name] = &entry{line, whole, value}
			return err
		case e == nil:
			t = t.add(name, line, dotted)
		case e.made == dotted && !it.IsLast():
			t = e.value.(*table)
		default:
			return b.fault("key %s is already defined", name)
		}
	}
	return nil
}

func (b *builder) value(n *unstable.Node) (any, error) {
	text := string(n.Data)
	switch n.Kind {
	case unstable.String:
		return text, nil
	case unstable.Bool:
		return text == "true", nil
	case unstable.Integer:
		number, err := strconv.ParseInt(text, 0, 64)
		if err != nil {
			err = b.fault("the number %s is too large", text)
		}
		return number, err
	case unstable.Float:
		return float(text), nil
	case unstable.Array:
		list := []any{}
		for it := n.Children(); it.Next(); {
			element, err := b.value(it.Node())
			if err != nil {
				return nil, err
			}
			list = append(list, element)
		}
		return list, nil
	case unstable.InlineTable:
		b.moveTo(n.Raw)
		t := newTable(b.line)
		for it := n.Children(); it.Next(); {
			if err := b.addKey(t, it.Node()); err != nil {
				return nil, err
			}
		}
		return t, nil
	}
	return date{}, nil
}

// float returns the value of a number that the parser has checked. One that is too
// large is infinite.
func float(text string) float64 {
	if strings.HasSuffix(text, "nan") { // it may have a sign
		return math.NaN()
	}
	number, _ := strconv.ParseFloat(strings.ReplaceAll(text, "_", ""), 64)
	return number
}
