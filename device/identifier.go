package device

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
)

// Identifier is what the server knows this device by. It must never change
// ("Header - AP-Device-Identifier").
type Identifier struct {
	Value  string // 64 hexadecimal digits
	Source string
}

// Header is the value of the AP-Device-Identifier header ("Header -
// AP-Device-Identifier").
func (i Identifier) Header() string {
	return "fingerprint " + base64.StdEncoding.EncodeToString([]byte(i.Value))
}

// Generated is the source of an identifier that comes from no hardware.
const Generated = "generated"

// Candidate is what one place says about which device this is, whether or not it
// may be used. Its JSON form is for handing it to another process.
type Candidate struct {
	Source    string `json:"source"`              // "rdk-serial", "mac", Generated, ...; "" if there is none
	Raw       []byte `json:"raw"`                 // as it was read, without white space around it
	Place     string `json:"place,omitempty"`     // where it was read
	Doubt     string `json:"doubt,omitempty"`     // why it can't be chosen; "" if it can
	Untrusted bool   `json:"untrusted,omitempty"` // it proves nothing: another user or software could have put it there
}

// Identifier hashes the candidate for a device that chooses its identifier now.
// The prefix keeps it from equalling what others make of the same serial number.
func (c Candidate) Identifier() Identifier { return c.hash(c.spelled(strings.ToLower)) }

// Matches reports whether an identifier was made of this candidate, now or by
// an earlier version: that one hashed a serial number as the kernel of its time
// wrote it, in either case.
func (c Candidate) Matches(id Identifier) bool {
	for _, raw := range [][]byte{c.Raw, c.spelled(strings.ToLower), c.spelled(strings.ToUpper)} {
		if c.Source == id.Source && c.hash(raw) == id {
			return true
		}
	}
	return false
}

func (c Candidate) hash(raw []byte) Identifier {
	h := sha256.New()
	fmt.Fprintf(h, "tvpassd/v1\x00%s\x00", c.Source)
	h.Write(raw)
	return Identifier{Value: hex.EncodeToString(h.Sum(nil)), Source: c.Source}
}

// spelled returns the raw bytes with a UUID or hexadecimal serial number in one
// case: kernels write both.
func (c Candidate) spelled(as func(string) string) []byte {
	at := 0
	if c.Source == boardSerial { // vendor|name|serial
		at = bytes.LastIndexByte(c.Raw, '|') + 1
	}
	serial := string(c.Raw[at:])
	if !isHex(serial) && !isUUID(serial) {
		return c.Raw
	}
	return append(bytes.Clone(c.Raw[:at]), as(serial)...)
}

// Comparison says how the hardware relates to a stored identifier.
type Comparison int

const (
	Unreadable Comparison = iota // its source says nothing that can be relied on
	Same                         // its source says the same
	Different                    // its source says something else: another device with copied state, or a new board
)

// Compare compares a stored identifier with what its own source says now.
// Another source that is better, or can be read only now, does not matter; nor do
// the rules by which a candidate is chosen today. A generated identifier is
// always the same: it has no source.
func Compare(candidates []Candidate, id Identifier) Comparison {
	if id.Source == Generated {
		return Same
	}
	found := Unreadable
	for _, c := range candidates {
		switch {
		case c.Matches(id):
			return Same
		case c.Source == id.Source && !c.Untrusted:
			found = Different
		}
	}
	return found
}

// Generate makes a candidate for a device whose hardware has none. It is worth
// something only once it is stored.
func Generate(random io.Reader) (Candidate, error) {
	var b [16]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return Candidate{}, fmt.Errorf("generate a device identifier: %w", err)
	}
	b[6] = b[6]&0x0F | 0x40 // version 4: random
	b[8] = b[8]&0x3F | 0x80
	uuid := fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
	return Candidate{Source: Generated, Raw: []byte(uuid)}, nil
}
