package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// row is one figure of tvpassd beside what it may be at most.
type row struct {
	what    string
	unit    string // how to print a value, for fmt
	value   float64
	budget  float64 // 0: none
	stretch float64 // 0: none
	note    string  // how to read the value, printed under the table
	missing string  // why there is no value
}

// verdict compares the value with its budget: as it was measured, not as the
// table rounds it.
func (r row) verdict() string {
	switch {
	case r.missing != "" || r.budget == 0:
		return "-"
	case r.value > r.budget:
		return "OVER"
	case r.stretch > 0 && r.value <= r.stretch:
		return "ok, stretch"
	default:
		return "ok"
	}
}

func (r row) print(value float64) string {
	if value == 0 {
		return "-"
	}
	return fmt.Sprintf(r.unit, value)
}

func writeTable(w io.Writer, rows []row) error {
	var notes []string
	table := tabwriter.NewWriter(w, 0, 0, 1, ' ', tabwriter.Debug)
	fmt.Fprintln(table, "what\t tvpassd\t budget\t stretch\t ok")
	for _, r := range rows {
		value := "not measured"
		switch {
		case r.missing != "":
			notes = append(notes, r.what+": not measured: "+r.missing)
		case r.note != "":
			notes = append(notes, r.what+": "+r.note)
		}
		if r.missing == "" {
			value = fmt.Sprintf(r.unit, r.value)
		}
		fmt.Fprintf(table, "%s\t %s\t %s\t %s\t %s\n", r.what, value, r.print(r.budget), r.print(r.stretch), r.verdict())
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if len(notes) == 0 {
		return nil
	}
	_, err := fmt.Fprintf(w, "\n%s\n", strings.Join(notes, "\n"))
	return err
}
