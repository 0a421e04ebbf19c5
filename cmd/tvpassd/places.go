package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tvpassd/tvpassd/device"
)

// devicePlaces is what `tvpassd device --all` shows: where each value was looked
// for. It tells a firmware engineer which row to add to the table of rules.
type devicePlaces struct {
	Keys        []keyPlaces `json:"keys"`
	Identifiers []place     `json:"identifiers"` // the best first
}

// keyPlaces are the places of one key.
type keyPlaces struct {
	Key    string  `json:"key"`
	Places []place `json:"places"`
}

// place is one place that was looked at.
type place struct {
	Source string `json:"source,omitempty"` // of an identifier
	Place  string `json:"place"`
	Value  string `json:"value,omitempty"` // quoted if it is not text
	Why    string `json:"why,omitempty"`   // it was passed over; "" if it was used, or if nothing is there
	Used   bool   `json:"used,omitempty"`
}

func placesOf(report *device.Report) *devicePlaces {
	all := &devicePlaces{}
	for _, key := range device.Keys() {
		k := keyPlaces{Key: key}
		add := func(p place) { k.Places = append(k.Places, p) }
		if value, ok := report.Info.Get(key); ok {
			source := report.Sources[key]
			add(place{Place: source, Value: fmt.Sprint(value), Used: source != device.NotFound})
		}
		for _, p := range report.Passed {
			if p.Key == key {
				add(place{Place: p.Source, Value: p.Value, Why: p.Why})
			}
		}
		if len(k.Places) > 0 {
			all.Keys = append(all.Keys, k)
		}
	}
	for _, c := range report.Identifiers {
		p := place{Source: c.Source, Place: c.Place, Value: string(c.Raw), Why: c.Doubt}
		if !utf8.Valid(c.Raw) {
			p.Value = strconv.Quote(p.Value)
		}
		if p.Why == "" {
			p.Used = !slices.ContainsFunc(all.Identifiers, func(p place) bool { return p.Used })
			if !p.Used {
				p.Why = "comes later"
			}
		}
		all.Identifiers = append(all.Identifiers, p)
	}
	return all
}

// printPlaces prints each key with the place that was used and those that were
// passed over.
func (e *env) printPlaces(view deviceView) error {
	for _, k := range view.Places.Keys {
		fmt.Fprintf(e.stdout, "%s\n", k.Key)
		e.printPlaceList(k.Places)
	}
	fmt.Fprintln(e.stdout, "device identifier")
	e.printPlaceList(view.Places.Identifiers)
	if !slices.ContainsFunc(view.Places.Identifiers, isUsed) {
		fmt.Fprintln(e.stdout, "  none     no usable serial number: the first start generates an identifier")
	}
	fmt.Fprintf(e.stdout, "\n%s", wrap("A stored identifier counts before all these: see tvpassd device. "+
		"To use another place, add a row to device/rules.go; to set a key, add it under [device] in the configuration.", ""))
	if view.Provisional {
		fmt.Fprint(e.stdout, wrap("Provisional: this was read without root, which may see more.", ""))
	}
	return nil
}

func isUsed(p place) bool { return p.Used }

// printPlaceList prints the places of one key. Places that hold nothing are
// listed only if no place was used: then each is a place to look at.
func (e *env) printPlaceList(list []place) {
	var nothing []string
	for _, p := range list {
		where := strings.TrimSpace(p.Source + " " + p.Place)
		switch {
		case p.Used:
			fmt.Fprintf(e.stdout, "  used     %s: %q\n", where, p.Value)
		case p.Value != "" && p.Why != "":
			fmt.Fprintf(e.stdout, "  passed   %s: %q %s\n", where, p.Value, p.Why)
		case p.Why != "":
			fmt.Fprintf(e.stdout, "  passed   %s: %s\n", where, p.Why)
		case p.Value == "" && !slices.Contains(nothing, where):
			nothing = append(nothing, where)
		}
	}
	switch {
	case len(nothing) == 0:
	case slices.ContainsFunc(list, isUsed):
		fmt.Fprintf(e.stdout, "  nothing  at %d other places\n", len(nothing))
	default:
		lines := wrap(strings.Join(nothing, ", "), "           ")
		fmt.Fprintf(e.stdout, "  nothing%s", lines[len("  nothing"):])
	}
}
