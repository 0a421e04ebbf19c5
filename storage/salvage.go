package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"

	"golang.org/x/sys/unix"
)

// layoutOf is the version of go.etcd.io/bbolt whose page layout (its package
// internal/common) this file reads and compose.go writes. A test fails when
// go.mod requires another one: compare the layouts before you change it.
const layoutOf = "v1.5.0"

// The layout of bbolt's pages, in the byte order of the device.
const (
	pageHeader  = 16 // id u64, flags u16, count u16, overflow u32
	pageElement = 16 // leaf: flags, pos, ksize, vsize u32; branch: pos, ksize u32, page u64
	branchPage  = 1
	leafPage    = 2
	bucketValue = 16 // root page u64, sequence u64

	// A meta page, behind its header: magic, version, page size, flags u32,
	// root page, sequence, free list, high water mark, transaction u64, and the
	// checksum u64 of all these.
	metaSize    = 64
	metaMagic   = 0xED0CDAED
	metaVersion = 2
	minPage     = 1024
	maxPage     = minPage << 14
)

// readDB reads every readable entry of the database at path. Its errors are
// those of readFile. The database is larger than all that is kept of it, so its
// pages do not stay with the Go runtime.
func readDB(path string) (entries, error) {
	file, err := readInto(path, true)
	defer unix.Munmap(file)
	if err != nil {
		return nil, err
	}
	found, err := parse(file)
	if err != nil {
		return found, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return found, nil
}

// parse reads the entries of a database. bbolt can do that too, but it trusts
// the pages, and reads some of them in a goroutine of its own, where a panic
// ends the process: only a sound file may be given to it. From a damaged file
// parse saves what it can: first from the newest transaction, then from the one
// before, whose pages stay untouched until the next.
func parse(file []byte) (entries, error) {
	metas := metaPages(file)
	if len(metas) == 0 {
		return nil, errors.New("it has no valid meta page")
	}
	found, bad := walk(file, metas[0])
	if bad == nil {
		bad = found.edition()
	}
	if bad != nil && len(metas) > 1 {
		older, _ := walk(file, metas[1])
		for key, value := range older {
			if _, ok := found[key]; !ok {
				found[key] = value
			}
		}
	}
	return found, bad
}

// edition returns an error if these are not the entries of a database that this
// version of the program can use.
func (e entries) edition() error {
	var m *meta
	e.find(keyMeta, &m)
	switch {
	case m == nil:
		return errors.New("its first entry is missing")
	case m.Version > version:
		return fmt.Errorf("it is of version %d, and this program reads %d: a newer tvpassd wrote it", m.Version, version)
	}
	return nil
}

// metaPage is the content of one of the two meta pages.
type metaPage struct{ size, root, end, tx uint64 }

// metaPages returns the valid meta pages, the newest first. The first one is at
// the start of the file, the second one follows it by one page, and both hold
// the size of a page.
func metaPages(file []byte) (metas []metaPage) {
	first, ok := metaAt(file, 0)
	if ok {
		metas = append(metas, first)
	}
	for at := uint64(minPage); at <= maxPage; at *= 2 {
		if second, ok := metaAt(file, at); ok && second.size == at && (len(metas) == 0 || first.size == at) {
			metas = append(metas, second)
			break
		}
	}
	if len(metas) == 2 && metas[0].tx < metas[1].tx {
		slices.Reverse(metas)
	}
	return metas
}

func metaAt(file []byte, at uint64) (m metaPage, ok bool) {
	if at+pageHeader+metaSize > uint64(len(file)) {
		return m, false
	}
	raw := file[at+pageHeader:][:metaSize]
	if u32(raw, 0) != metaMagic || u32(raw, 4) != metaVersion || u64(raw, metaSize-8) != metaSum(raw) {
		return m, false
	}
	m = metaPage{size: u32(raw, 8), root: u64(raw, 16), end: u64(raw, 40), tx: u64(raw, 48)}
	return m, m.size >= minPage && m.size <= maxPage && m.size&(m.size-1) == 0
}

// metaSum is the checksum that stands in the last 8 bytes of a meta page.
func metaSum(raw []byte) uint64 {
	sum := fnv.New64a()
	sum.Write(raw[:metaSize-8])
	return sum.Sum64()
}

// walker follows the pages of one transaction from its root.
type walker struct {
	size  uint64 // of a page
	pages uint64 // of the file, as far as they are in use
	found entries
	seen  map[uint64]bool // pages
	bad   error           // the first damage
}

// walk reads every entry of a database as one transaction left it.
func walk(file []byte, m metaPage) (entries, error) {
	w := &walker{
		size: m.size, pages: min(m.end, uint64(len(file))/m.size),
		found: entries{}, seen: map[uint64]bool{0: true, 1: true},
	}
	w.page(file, m.root, nil)
	return w.found, w.bad
}

func (w *walker) damage(format string, args ...any) {
	if w.bad == nil {
		w.bad = fmt.Errorf(format, args...)
	}
}

// page reads a page and its children. Keys must ascend: last is the key before
// the page, and the result the last key in it.
func (w *walker) page(file []byte, id uint64, last []byte) []byte {
	if id >= w.pages {
		w.damage("page %d is behind the end", id)
		return last
	}
	raw := file[id*w.size:]
	overflow := u32(raw, 12)
	if u64(raw, 0) != id || overflow >= w.pages-id {
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
	if kind != branchPage && kind != leafPage || pageHeader+count*pageElement > len(raw) ||
		kind == branchPage && count == 0 {
		w.damage("page %d has a wrong header", id)
		return last
	}
	for n := range count {
		el := raw[pageHeader+n*pageElement:]
		if kind == branchPage {
			pos, size := u32(el, 0), u32(el, 4)
			if size == 0 || pos+size > uint64(len(el)) || bytes.Compare(last, el[pos:pos+size]) >= 0 {
				w.damage("page %d has a wrong element", id)
			}
			last = w.page(file, u64(el, 8), last)
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

// element takes an entry, or enters the one bucket.
func (w *walker) element(file []byte, isBucket bool, key, value []byte) {
	if !isBucket {
		if v, ok := unseal(string(key), value); ok {
			w.found[string(key)] = bytes.Clone(v)
		} else {
			// The key is not named: if a length is wrong, it may hold a part of
			// a secret.
			w.damage("an entry has a wrong checksum")
		}
		return
	}
	if string(key) != bucket || len(value) < bucketValue {
		w.damage("it has an unknown bucket")
		return
	}
	if root := u64(value, 0); root != 0 {
		w.page(file, root, nil)
		return
	}
	// A small bucket stands in its parent: a page without a number of its own.
	inline := value[bucketValue:]
	if len(inline) < pageHeader {
		w.damage("the bucket is cut short")
		return
	}
	w.elements(nil, 0, inline, nil)
}

// u32 and u64 read a number of a page, in the byte order of the device.
func u32(b []byte, at int) uint64 { return uint64(binary.NativeEndian.Uint32(b[at:])) }
func u64(b []byte, at int) uint64 { return binary.NativeEndian.Uint64(b[at:]) }
