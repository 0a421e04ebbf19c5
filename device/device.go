// Package device finds out what this device is: the values of the X-Device-Info
// header and the device identifier, from the files of hardware and operating
// system. The table in rules.go says what comes from where.
//
// It owns the rules and the reading of a file tree that need not be trusted. It
// stores nothing: the identifier of the first run counts for ever, and keeping it
// is its caller's task. It knows no configuration file and no network beyond this
// device.
package device

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
)

// Info is what X-Device-Info says: values for some of [Keys]. It does not
// change; the zero value is empty.
type Info struct {
	values [len(keys)]any // string, int64, float64 or bool; nil if left out
}

// Get returns a key's value: a string, int64, float64 or bool.
func (i Info) Get(key string) (any, bool) {
	at := slices.Index(keys[:], key)
	if at < 0 || i.values[at] == nil {
		return nil, false
	}
	return i.values[at], true
}

// With returns an Info that holds value too. An unknown key is ignored; the
// value nil removes the key.
func (i Info) With(key string, value any) Info {
	if at := slices.Index(keys[:], key); at >= 0 {
		i.values[at] = value
	}
	return i
}

// MarshalJSON writes the keys in documented order, and leaves out those without
// a value ("Header - X-Device-Info").
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
			return nil, fmt.Errorf("write %s: %w", keys[at], err)
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

// Header is the value of the X-Device-Info header: the JSON object in padded
// standard base64 ("Header - X-Device-Info").
func (i Info) Header() string {
	object, err := i.MarshalJSON()
	if err != nil { // a value without a JSON form, which neither Probe nor CheckOverride returns
		object = []byte("{}")
	}
	return base64.StdEncoding.EncodeToString(object)
}
