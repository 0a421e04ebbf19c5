package dcrtest

import (
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
)

// readWords reads words such as "kind=drop count=2". Each is the name of a flag
// that define defines, and its value.
func readWords(text string, define func(*flag.FlagSet)) error {
	set := flag.NewFlagSet("", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	define(set)
	var names []string
	set.VisitAll(func(f *flag.Flag) { names = append(names, f.Name) })
	for word := range strings.FieldsSeq(text) {
		name, value, _ := strings.Cut(word, "=")
		if !slices.Contains(names, name) {
			return fmt.Errorf("%q: the name is not among %s", word, strings.Join(names, ", "))
		}
		if err := set.Set(name, value); err != nil {
			return fmt.Errorf("%q: %w", word, err)
		}
	}
	return nil
}

// take uses up one count of the first fault that strikes, and returns the fault,
// or the zero value if none strikes. A count of 0 lasts until it is cleared.
func take[F any](faults *[]F, strikes func(F) bool, count func(*F) *int) F {
	i := slices.IndexFunc(*faults, strikes)
	if i < 0 {
		var none F
		return none
	}
	f := (*faults)[i]
	switch left := count(&(*faults)[i]); *left {
	case 0:
	case 1:
		*faults = slices.Delete(*faults, i, i+1)
	default:
		*left--
	}
	return f
}
