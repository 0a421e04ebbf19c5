// Package device says what device this is: the values of the X-Device-Info header and the device identifier, found in
// the files of hardware and operating system. rules.go is the table of what comes from where.
//
// It owns the rules, and the reading of a file tree that need not be trusted. It keeps nothing: the identifier of the
// first run is what counts for ever, and storing it is for others. Nor does it know configuration files, the network
// beyond this box, or who asks.
package device

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// Info is what X-Device-Info says: values for some of Keys. It does not change; the zero value is empty.
type Info struct {
	values [len(keys)]any // string, int64, float64 or bool; nil: left out
}

// Get returns a key's value: a string, int64, float64 or bool.
func (i Info) Get(key string) (any, bool) {
	at := slices.Index(keys[:], key)
	if at < 0 || i.values[at] == nil {
		return nil, false
	}
	return i.values[at], true
}

// With returns an Info that holds value too. An unknown key is ignored; the value nil takes the key out.
func (i Info) With(key string, value any) Info {
	if at := slices.Index(keys[:], key); at >= 0 {
		i.values[at] = value
	}
	return i
}

// MarshalJSON writes the keys in documented order, those without a value left out ("Header - X-Device-Info").
func (i Info) MarshalJSON() ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	separator := "{"
	for at, value := range i.values {
		if value == nil {
			continue
		}
		fmt.Fprintf(&out, "%s%q:", separator, keys[at])
		if err := encoder.Encode(value); err != nil {
			return nil, fmt.Errorf("writing %s: %w", keys[at], err)
		}
		out.Truncate(out.Len() - 1) // the encoder's line break
		separator = ","
	}
	if separator == "{" {
		return []byte("{}"), nil
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

// Header is the value of the X-Device-Info header: the JSON object in padded standard base64 ("Header - X-Device-Info").
func (i Info) Header() string {
	object, err := i.MarshalJSON()
	if err != nil { // only a value of a type that has no JSON form, which neither Probe nor CheckOverride returns
		object = []byte("{}")
	}
	return base64.StdEncoding.EncodeToString(object)
}

// Options say where to look and what is settled already.
type Options struct {
	Root      string         // a folder that holds a device's file tree; "" is this machine
	Overrides map[string]any // values as CheckOverride returned them; they win over what is found
}

// Report is what a Probe found.
type Report struct {
	Info       Info
	Sources    map[string]string // key: where its value comes from, such as "/etc/device.properties FRIENDLY_ID"
	Warnings   []Warning
	Identifier Candidate // its Source is "" where no identifier of the hardware is usable
	Interface  string    // of the default route; "" without one
}

// Warning is something that a person should look at.
type Warning struct {
	Code   string // device_value_left_out, device_key_missing
	Detail string // what is wrong and what to do, in a sentence
}

// Probe finds out what it can. What is missing, damaged or hostile in the tree makes a value missing, never an error;
// the one error is a Root that can't be opened.
func Probe(options Options) (*Report, error) {
	t, err := openTree(options.Root)
	if err != nil {
		return nil, err
	}
	defer t.close()
	return probeTree(t, options), nil
}

func probeTree(t *tree, options Options) *Report {
	p := &probe{tree: t, live: options.Root == "", sources: map[string]string{}}
	for _, key := range slices.Sorted(maps.Keys(options.Overrides)) {
		p.set(key, options.Overrides[key], "configuration")
	}
	p.apply(rules)
	p.addDisplay()
	route := p.addConnection()
	p.addMissing()
	return &Report{
		Info: p.info, Sources: p.sources, Warnings: p.warnings, Identifier: t.findIdentifier(), Interface: route,
	}
}

// probe is a Report in the making.
type probe struct {
	*tree
	live     bool // the tree is this machine's own
	info     Info
	sources  map[string]string
	warnings []Warning
}

// set gives a key its value unless it has one already.
func (p *probe) set(key string, value any, where string) {
	if p.has(key) {
		return
	}
	p.info = p.info.With(key, value)
	p.sources[key] = where
}

func (p *probe) has(key string) bool {
	_, ok := p.info.Get(key)
	return ok
}

// apply goes through the rules; the first usable value of a key is kept.
func (p *probe) apply(rules []rule) {
	for _, r := range rules {
		if p.has(r.key) {
			continue
		}
		text, where := r.from.find(p)
		if text == "" {
			continue
		}
		if r.as != nil {
			text = clean([]byte(r.as(text))) // it may be longer now
		}
		switch values := allowed(r.key); {
		case text == "" || slices.Contains(fillable, r.key) && isJunk(text):
		case values != nil && !slices.Contains(values, text):
			p.warn("device_value_left_out", "%s is %q in %s, which X-Device-Info does not know: it is left out; set %s in [device]",
				r.key, text, where, r.key)
		default:
			p.set(r.key, text, where)
		}
	}
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
	width, w := p.info.Get("displayWidth")
	height, h := p.info.Get("displayHeight")
	inches, i := p.info.Get("diagonalScreenSize")
	if w && h && i {
		if ppi := density(width.(int64), height.(int64), inches.(float64)); ppi > 0 {
			p.set("displayPpi", ppi, "displayWidth, displayHeight, diagonalScreenSize")
		}
	}
}

// addConnection adds how the box is connected, and returns the default route's interface. Wi-Fi may be a public hot
// spot, so connectionSecure is only ever said of a cable.
func (p *probe) addConnection() (route string) {
	c := p.findConnection()
	p.set("connectionType", c.kind, c.from)
	if kind, _ := p.info.Get("connectionType"); kind == kindLAN {
		p.set("connectionSecure", true, "connectionType")
	}
	return c.route
}

// addMissing sends "unknown" for what must be sent and was not found, and says so.
func (p *probe) addMissing() {
	for _, key := range required {
		if kind, _ := p.info.Get(key); p.has(key) && kind != kindNotAccessible {
			continue
		}
		p.set(key, "unknown", "not found")
		p.warn("device_key_missing",
			"%s was found nowhere on this device, and without it the platform may count as unknown: set %s in [device]", key, key)
	}
}

func (p *probe) warn(code, format string, args ...any) {
	p.warnings = append(p.warnings, Warning{Code: code, Detail: fmt.Sprintf(format, args...)})
}
