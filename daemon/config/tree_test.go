package config

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"
)

// FuzzBuild compares the tables and the lines of faults with those of go-toml's
// own decoder. The program does not use that one: it adds 196 kB, loses the lines
// of keys and stops at the first fault.
func FuzzBuild(f *testing.F) {
	for _, document := range []string{
		"", "a = 1\r\n[b] # c\r\n", "a = [1_000, -0, 0xfF, 0o17, 0b1, +9223372036854775807]",
		"a = [1.5, -1e3, inf, -inf, nan, +nan, 1_0.0_1]",
		"\n\na = 9223372036854775808", "a = 1e999", "a = [true, false, [], {}, [[], {b.c = 'x'}]]",
		"a = \"\"\"\n\\u00e9\\\n  b\"\"\"", "a = [\n\n",
		"a = [1979-05-27, 07:32:00, 1979-05-27T07:32:00, 1979-05-27 07:32:00.5Z]", "a = 1979-99-27",
		"a = 1\na = 2", "a.b = 1\na.c.d = 2\n[e]\na.b = 3", "a.b = 1\na = 2", "a = 1\na.b = 2", "\"\" = 1\n[\"\"]",
		"a = {b = 1}\na.c = 2", "a = {b = 1, b = 2}", "a = {b.c = 1,\nb.d = 2,\nb = 3}", "a = {}\n[a.b]",
		"[a]\nb = 1\n[a]", "[a.b]\n[a]\nc = 1\n[a]", "[a.b]\n[a]\nb = 1", "a = 1\n[a]", "[a.b]\n[a]\n[a.b.c]\n[a.b]",
		"a.b = 1\n[a]", "a.b = 1\n[a.c]", "[a]\nb.c = 1\n[a.b.d]\n[a.b]", "[t]\n[t.u]\nx.y = 1\n[t.u.x]",
		"[a.b]\n[z]\na.b = 1",
		"[[a]]\nb = 1\n[[a]]\nb = 2\n[a.c]\n[[a]]\n[a.c]", "[[a]]\n[a]", "[a]\n[[a]]", "a = []\n[[a]]", "a = [{}]\n[a.b]",
		"[[a.b]]\n[a]\n[[a.b]]", "[[a.b]]\n[a.b.c]\nd = 1", "[a.b]\nx = 1\n[[a]]", "[[a]]\n[[a.b]]\n[[a]]\n[[a.b]]\nc = 1",
	} {
		f.Add(document)
	}
	f.Fuzz(func(t *testing.T, document string) {
		var decoded map[string]any
		want, top := toml.Unmarshal([]byte(document), &decoded), newTable(0)
		got := build([]byte(document), top)
		if got == nil && want == nil {
			if diff := cmp.Diff(plain(decoded), plain(top), cmp.Comparer(sameNumber)); diff != "" {
				t.Errorf("(-go-toml +config)\n%s", diff)
			}
			return
		}
		if got == nil && hasOdd(top) { // no key takes such a value
			return
		}
		fault, ours := errors.AsType[*Error](got)
		syntax, theirs := errors.AsType[*toml.DecodeError](want)
		if !ours || !theirs {
			t.Fatalf("go-toml: %v, config: %v", want, got)
		}
		if line, _ := syntax.Position(); fault.Line < line { // go-toml may point to the beginning of the key
			t.Errorf("go-toml: line %d: %v, config: line %d: %v", line, want, fault.Line, got)
		}
	})
}

func sameNumber(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) }

// plain turns the tables of both sides into maps and makes all dates equal.
func plain(value any) any {
	switch v := value.(type) {
	case *table:
		values := map[string]any{}
		for key, e := range v.keys {
			values[key] = plain(e.value)
		}
		return values
	case map[string]any:
		for key, value := range v {
			v[key] = plain(value)
		}
	case []any:
		for i, value := range v {
			v[i] = plain(value)
		}
	case toml.LocalDate, toml.LocalTime, toml.LocalDateTime, time.Time:
		return date{}
	}
	return value
}

// hasOdd reports whether a value contains a date, which only go-toml checks, or a
// number that is too large for go-toml.
func hasOdd(value any) bool {
	switch v := value.(type) {
	case *table:
		for _, e := range v.keys {
			if hasOdd(e.value) {
				return true
			}
		}
	case []any:
		for _, element := range v {
			if hasOdd(element) {
				return true
			}
		}
	case date:
		return true
	case float64:
		return math.IsInf(v, 0)
	}
	return false
}
