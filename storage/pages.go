package storage

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// The layout of bbolt's pages (go.etcd.io/bbolt/internal/common), in the machine's own byte order.
const (
	pageHeader  = 16 // id u64, flags u16, count u16, overflow u32
	pageElement = 16 // leaf: flags, pos, ksize, vsize u32; branch: pos, ksize u32, page u64
	branchPage  = 1
	leafPage    = 2
	bucketValue = 16 // root page u64, sequence u64
)

// walker follows a database's pages from its root. bbolt does so too, but it trusts them, and partly in a goroutine of
// its own where a panic ends the process: what it is given must be sound. The walker saves what it can of what is not.
type walker struct {
	size  uint64 // of a page
	found entries
	seen  map[uint64]bool // pages
	bad   error           // the first damage
}

// walk reads every entry of a database, given the page that its newer meta page calls the root.
func walk(file []byte, size int, root uint64) (entries, error) {
	w := &walker{size: uint64(size), found: entries{}, seen: map[uint64]bool{0: true, 1: true}}
	w.page(file, root, nil)
	return w.found, w.bad
}

func (w *walker) damage(format string, args ...any) {
	if w.bad == nil {
		w.bad = fmt.Errorf(format, args...)
	}
}

// page reads a page of a file and what hangs from it; last is the key before, and the answer the last one in it.
func (w *walker) page(file []byte, id uint64, last []byte) []byte {
	pages := uint64(len(file)) / w.size
	if id >= pages {
		w.damage("page %d is behind the end", id)
		return last
	}
	raw := file[id*w.size:]
	overflow := uint64(binary.NativeEndian.Uint32(raw[12:]))
	if binary.NativeEndian.Uint64(raw) != id || overflow >= pages-id {
		w.damage("page %d has a wrong header", id)
		return last
	}
	for n := range overflow + 1 {
		if w.seen[id+n] {
			w.damage("page %d is used twice", id+n)
			return last
		}
		w.seen[id+n] = true
	}
	return w.elements(file, id, raw[:(overflow+1)*w.size], last)
}

func (w *walker) elements(file []byte, id uint64, raw, last []byte) []byte {
	kind, count := binary.NativeEndian.Uint16(raw[8:]), int(binary.NativeEndian.Uint16(raw[10:]))
	if kind != branchPage && kind != leafPage || pageHeader+count*pageElement > len(raw) || kind == branchPage && count == 0 {
		w.damage("page %d has a wrong header", id)
		return last
	}
	for n := range count {
		el := raw[pageHeader+n*pageElement:]
		if kind == branchPage {
			if pos, size := u32(el, 0), u32(el, 4); size == 0 || pos+size > uint64(len(el)) || bytes.Compare(last, el[pos:pos+size]) >= 0 {
				w.damage("page %d has a wrong element", id)
			}
			last = w.page(file, binary.NativeEndian.Uint64(el[8:]), last)
			continue
		}
		flags, pos, ksize, vsize := u32(el, 0), u32(el, 4), u32(el, 8), u32(el, 12)
		if flags > 1 || ksize == 0 || pos < pageElement || pos+ksize+vsize > uint64(len(el)) ||
			bytes.Compare(last, el[pos:pos+ksize]) >= 0 {
			w.damage("page %d has a wrong element", id)
			continue
		}
		last = el[pos : pos+ksize]
		w.element(file, flags == 1, last, el[pos+ksize:pos+ksize+vsize])
	}
	return last
}

func u32(b []byte, at int) uint64 { return uint64(binary.NativeEndian.Uint32(b[at:])) }

// element takes an entry, or goes into the one bucket.
func (w *walker) element(file []byte, isBucket bool, key, value []byte) {
	if !isBucket {
		if v, ok := unseal(string(key), value); ok {
			w.found[string(key)] = bytes.Clone(v)
		} else {
			w.damage("entry %q has a wrong checksum", key)
		}
		return
	}
	if !bytes.Equal(key, bucket) || len(value) < bucketValue {
		w.damage("there is a bucket %q", key)
		return
	}
	if root := binary.NativeEndian.Uint64(value); root != 0 {
		w.page(file, root, nil)
		return
	}
	// Small enough to stand in its parent: one page without a place of its own.
	inline := value[bucketValue:]
	if len(inline) < pageHeader {
		w.damage("the bucket is cut short")
		return
	}
	w.elements(nil, 0, inline, nil)
}
