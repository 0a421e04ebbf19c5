package storage

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"maps"
	"reflect"
	"slices"
)

const (
	keyMeta       = "meta"
	keyIdentifier = "device\x00identifier"
	keyGate       = "gate"
	keyHolders    = "holders"
)

// meta is the first entry of a database.
type meta struct {
	Version    int    `json:"version"`
	Generation uint64 `json:"generation"` // counts the changes of what the copy holds; the copy has it too
}

const version = 1

// entry is one key with its value as JSON. A nil value stands for an entry that
// does not exist.
type entry struct {
	key   string
	value []byte
}

// values are what the database shall hold, by key. A nil pointer stands for an
// entry to delete.
type values map[string]any

// encode makes the entries of the values, in the order of the keys.
func (v values) encode() (all []entry, err error) {
	for _, key := range slices.Sorted(maps.Keys(v)) {
		raw, err := json.Marshal(v[key])
		if err != nil {
			return nil, fmt.Errorf("encode %q for the database: %w", key, err)
		}
		if string(raw) == "null" {
			raw = nil
		}
		all = append(all, entry{key, raw})
	}
	return all, nil
}

// entries is the content of a database, by key.
type entries map[string][]byte

// find decodes one entry into what v points to. An entry that can't be decoded
// counts as missing: v then points to the zero value.
func (e entries) find(key string, v any) {
	if raw, ok := e[key]; ok && json.Unmarshal(raw, v) != nil {
		reflect.ValueOf(v).Elem().SetZero()
	}
}

// changes returns those of the wanted entries that differ from what e holds.
func (e entries) changes(want []entry) (changes []entry) {
	for _, w := range want {
		if have, ok := e[w.key]; ok != (w.value != nil) || !bytes.Equal(have, w.value) {
			changes = append(changes, w)
		}
	}
	return changes
}

// with returns a copy that has these entries changed.
func (e entries) with(changes []entry) entries {
	next := maps.Clone(e)
	for _, c := range changes {
		if c.value == nil {
			delete(next, c.key)
		} else {
			next[c.key] = c.value
		}
	}
	return next
}

// without returns a copy that lacks the entries which drop selects.
func (e entries) without(drop func(key string) bool) entries {
	kept := entries{}
	for key, value := range e {
		if !drop(key) {
			kept[key] = value
		}
	}
	return kept
}

// list returns every entry, in the order of the keys.
func (e entries) list() (all []entry) {
	for _, key := range slices.Sorted(maps.Keys(e)) {
		all = append(all, entry{key, e[key]})
	}
	return all
}

// seal puts a checksum of key and value before a value: bbolt only checks its
// meta pages.
func seal(key string, value []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, checksum(key, value)), value...)
}

func checksum(key string, value []byte) uint32 {
	return crc32.Update(crc32.Checksum([]byte(key), &castagnoli), &castagnoli, value)
}

// castagnoli is the table of CRC-32C. crc32.MakeTable also makes what sums up
// megabytes faster: 8 KiB of tables on ARM, and more work than all checksums of a
// start.
var castagnoli = func() (t crc32.Table) {
	for i := range t {
		sum := uint32(i)
		for range 8 {
			sum = sum>>1 ^ sum&1*crc32.Castagnoli
		}
		t[i] = sum
	}
	return t
}()

// unseal returns a value without its checksum, and whether the checksum is
// right.
func unseal(key string, sealed []byte) ([]byte, bool) {
	if len(sealed) < 4 {
		return nil, false
	}
	value := sealed[4:]
	return value, binary.BigEndian.Uint32(sealed) == checksum(key, value)
}
