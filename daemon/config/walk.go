package config

import (
	"strconv"

	"github.com/pelletier/go-toml/v2/unstable"
)

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
