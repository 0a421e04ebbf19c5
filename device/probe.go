package device

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
)

// Options say where to look and what is settled already.
type Options struct {
	Root      string         // a folder that holds a device's file tree; "" is this device
	Overrides map[string]any // values as CheckOverride returned them; they win over what is found
	All       bool           // look at every place, and report what was passed over
}

// Report is what a [Probe] found.
type Report struct {
	Info        Info
	Sources     map[string]string // of each key, where its value comes from: "/etc/device.properties FRIENDLY_ID"
	Warnings    []Warning
	Identifier  Candidate   // the one to choose; its Source is "" if no identifier of the hardware is usable
	Identifiers []Candidate // what every readable source says, the best first, usable or not
	Interface   string      // that leads to the world; "" if there is none
	Passed      []Passed    // in the order in which it was found; with Options.All alone
}

// NotFound is the source of the value "unknown", which is sent for a key that
// must be there.
const NotFound = "not found"

// Values of [Warning.Code].
const (
	ValueLeftOut = "device_value_left_out" // X-Device-Info does not know it
	KeyMissing   = "device_key_missing"    // a key that must be sent was not found
)

// Warning is something that a person should look at.
type Warning struct {
	Code   string
	Detail string // what is wrong and what to do, in a sentence
}

// Passed is a place that was passed over when a key's value was looked for.
type Passed struct {
	Key, Source string
	Value       string // "" if there was none
	Why         string
}

// Probe finds out what it can. A file that is missing, damaged or hostile makes
// a value missing, never an error; the one error is a Root that can't be
// opened.
func Probe(options Options) (*Report, error) {
	t, err := openTree(options.Root)
	if err != nil {
		return nil, err
	}
	defer t.close()
	return probeTree(t, options), nil
}

func probeTree(t *tree, options Options) *Report {
	p := &probe{tree: t, live: options.Root == "", all: options.All, report: &Report{Sources: map[string]string{}}}
	for _, key := range slices.Sorted(maps.Keys(options.Overrides)) {
		p.set(key, options.Overrides[key], "configuration")
	}
	p.apply(rules)
	p.addDisplay()
	p.addConnection()
	p.addMissing()
	p.report.Identifiers = p.findIdentifiers()
	p.report.Identifier = choose(p.report.Identifiers)
	return p.report
}

// probe is a Report in the making.
type probe struct {
	*tree
	live   bool // the tree is this device's own
	all    bool
	report *Report
}

// set gives a key its value unless it has one already.
func (p *probe) set(key string, value any, where string) {
	if p.has(key) {
		return
	}
	p.report.Info = p.report.Info.With(key, value)
	p.report.Sources[key] = where
}

func (p *probe) has(key string) bool {
	_, ok := p.report.Info.Get(key)
	return ok
}

// apply goes through the rules; the first usable value of a key is kept.
func (p *probe) apply(rules []rule) {
	for _, r := range rules {
		if !p.has(r.key) || p.all {
			r.from.offer(p, func(f finding) bool { return p.take(r, f) })
		}
	}
}

// take uses what a rule's source found, and reports whether the source is done.
func (p *probe) take(r rule, f finding) bool {
	pass := func(why string) bool {
		p.passOver(r.key, f.text, f.where, why)
		return false
	}
	if f.text == "" {
		return pass(cmp.Or(f.why, p.whyNothing(f.where)))
	}
	text := f.text
	if r.as != nil {
		text = clean([]byte(r.as(text))) // it may be longer now
	}
	if text == "" {
		return pass("of no use for " + r.key)
	}
	if slices.Contains(fillable, r.key) {
		if why := doubtText(text); why != "" {
			return pass(why)
		}
	}
	if p.has(r.key) {
		return pass("comes later")
	}
	if values := allowed(r.key); values != nil && !slices.Contains(values, text) {
		p.warn(ValueLeftOut,
			"%s is %q in %s, which X-Device-Info does not know: it is left out; set %s in [device]",
			r.key, text, f.where, r.key)
		return pass("X-Device-Info does not know it")
	}
	p.set(r.key, text, f.where)
	return !p.all
}

// whyNothing says why a place holds nothing, by the error of the file that its
// name begins with.
func (p *probe) whyNothing(where string) string {
	name, _, _ := strings.Cut(where, " ")
	err := p.files[name].err
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		err = path.Err
	}
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	return err.Error()
}

// passOver notes a place that was passed over. Without a value and a reason,
// there was nothing.
func (p *probe) passOver(key, value, where, why string) {
	if p.all {
		p.report.Passed = append(p.report.Passed, Passed{Key: key, Source: where, Value: value, Why: why})
	}
}

// get returns the first text that a source finds; "" if there is none.
func (p *probe) get(s source) (text string) {
	s.offer(p, func(f finding) bool {
		text = f.text
		return text != ""
	})
	return text
}

// addDisplay adds the screen's numbers.
func (p *probe) addDisplay() {
	d := p.findDisplay()
	if d.width > 0 {
		p.set("displayWidth", int64(d.width), d.pixelsFrom)
		p.set("displayHeight", int64(d.height), d.pixelsFrom)
	}
	if d.inches > 0 {
		p.set("diagonalScreenSize", d.inches, d.inchesFrom)
	}
	width, w := p.report.Info.Get("displayWidth")
	height, h := p.report.Info.Get("displayHeight")
	inches, i := p.report.Info.Get("diagonalScreenSize")
	if w && h && i {
		if ppi := density(width.(int64), height.(int64), inches.(float64)); ppi > 0 {
			p.set("displayPpi", ppi, "displayWidth, displayHeight, diagonalScreenSize")
		}
	}
}

// addConnection adds how the device is connected. connectionSecure is a claim
// that is made for a cable only, and only if the cable was found rather than
// configured.
func (p *probe) addConnection() {
	c := p.findConnection()
	p.set("connectionType", c.kind, c.from)
	if kind, _ := p.report.Info.Get("connectionType"); kind == kindLAN && c.kind == kindLAN {
		p.set("connectionSecure", true, c.from)
	}
	p.report.Interface = c.route
}

// addMissing sends "unknown" for what must be sent and was not found, and warns.
func (p *probe) addMissing() {
	for _, key := range required {
		if kind, _ := p.report.Info.Get(key); p.has(key) && kind != kindNotAccessible {
			continue
		}
		p.set(key, "unknown", NotFound)
		p.warn(KeyMissing, "%s was not found on this device, and without it the platform may count as unknown: "+
			"set %s in [device]; tvpassd device --all shows where it was looked for", key, key)
	}
}

func (p *probe) warn(code, format string, args ...any) {
	p.report.Warnings = append(p.report.Warnings, Warning{Code: code, Detail: fmt.Sprintf(format, args...)})
}
