package storage

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
)

const (
	keyMeta       = "meta"
	keyIdentifier = "device\x00identifier"
	keyGate       = "gate"
)

// meta says which edition of the database this is.
type meta struct {
	Version    int    `json:"version"`
	Generation uint64 `json:"generation"` // counts the changes of credentials and identifier; the copy carries it too
}

const version = 1

// entry is one key with its value as JSON; a nil value is one that is not there.
type entry struct {
	key   string
	value []byte
}

// encode makes an entry of a value; a nil pointer becomes an entry to delete.
func encode(key string, v any) (entry, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return entry{}, fmt.Errorf("encode %q for the database: %w", key, err)
	}
	if string(raw) == "null" {
		raw = nil
	}
	return entry{key, raw}, nil
}

// entries are what a database holds, by key.
type entries map[string][]byte

// decode reads one entry into v and tells whether it was there and could be read.
func (e entries) decode(key string, v any) bool {
	raw, ok := e[key]
	return ok && json.Unmarshal(raw, v) == nil
}

// news are the entries that are not so already.
func (e entries) news(want []entry) (news []entry) {
	for _, w := range want {
		if have, ok := e[w.key]; ok != (w.value != nil) || !bytes.Equal(have, w.value) {
			news = append(news, w)
		}
	}
	return news
}

// with is a copy with these entries changed.
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

// without is a copy that lacks some.
func (e entries) without(drop func(key string) bool) entries {
	kept := entries{}
	for key, value := range e {
		if !drop(key) {
			kept[key] = value
		}
	}
	return kept
}

// list is every entry, in the order of the keys.
func (e entries) list() (all []entry) {
	for _, key := range slices.Sorted(maps.Keys(e)) {
		all = append(all, entry{key, e[key]})
	}
	return all
}

func (e entries) equal(other entries) bool { return maps.EqualFunc(e, other, bytes.Equal) }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal puts a checksum of key and value before a value: bbolt checks its meta pages only.
func seal(key string, value []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, checksum(key, value)), value...)
}

func checksum(key string, value []byte) uint32 {
	return crc32.Update(crc32.Checksum([]byte(key), castagnoli), castagnoli, value)
}

func unseal(key string, sealed []byte) ([]byte, bool) {
	if len(sealed) < 4 {
		return nil, false
	}
	value := sealed[4:]
	return value, binary.BigEndian.Uint32(sealed) == checksum(key, value)
}
