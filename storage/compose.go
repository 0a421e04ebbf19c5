package storage

import (
	"encoding/binary"
	"math"
	"os"
)

const (
	metaFlag   = 4              // of a page
	bucketFlag = 1              // of a leaf's element
	noFreeList = math.MaxUint64 // the page of a free list that is not stored
)

// compose returns a database with these entries that bbolt can read and change.
// bbolt itself can't make one on a file system without locks or shared memory
// maps. There the database is written as a whole.
func compose(all []entry) []byte {
	const rootPage, bucketPage = 2, 3 // behind the meta pages
	values := make([]leafElement, len(all))
	for i, e := range all {
		values[i] = leafElement{key: e.key, value: seal(e.key, e.value)}
	}
	inBucket := make([]byte, bucketValue)
	binary.NativeEndian.PutUint64(inBucket, bucketPage)
	file := leaf(rootPage, []leafElement{{bucketFlag, bucket, inBucket}})
	file = append(file, leaf(bucketPage, values)...)
	end := rootPage + uint64(len(file)/os.Getpagesize())
	first, second := metaOf(0, rootPage, end), metaOf(1, rootPage, end)
	return append(append(first, second...), file...)
}

// metaOf returns the meta page of one transaction; its number is the page's
// too.
func metaOf(tx, root, end uint64) []byte {
	page := make([]byte, os.Getpagesize())
	order := binary.NativeEndian
	order.PutUint64(page, tx)
	order.PutUint16(page[8:], metaFlag)
	raw := page[pageHeader:][:metaSize]
	order.PutUint32(raw, metaMagic)
	order.PutUint32(raw[4:], metaVersion)
	order.PutUint32(raw[8:], uint32(len(page)))
	order.PutUint64(raw[16:], root)
	order.PutUint64(raw[32:], noFreeList)
	order.PutUint64(raw[40:], end)
	order.PutUint64(raw[48:], tx)
	order.PutUint64(raw[metaSize-8:], metaSum(raw))
	return page
}

type leafElement struct {
	flags uint32
	key   string
	value []byte
}

// leaf returns one leaf page with these elements, as long as it must be.
func leaf(id uint64, elements []leafElement) []byte {
	order := binary.NativeEndian
	page := make([]byte, pageHeader+len(elements)*pageElement)
	for i, el := range elements {
		at := pageHeader + i*pageElement
		order.PutUint32(page[at:], el.flags)
		order.PutUint32(page[at+4:], uint32(len(page)-at))
		order.PutUint32(page[at+8:], uint32(len(el.key)))
		order.PutUint32(page[at+12:], uint32(len(el.value)))
		page = append(append(page, el.key...), el.value...)
	}
	size := os.Getpagesize()
	pages := (len(page) + size - 1) / size
	page = append(page, make([]byte, pages*size-len(page))...)
	order.PutUint64(page, id)
	order.PutUint16(page[8:], leafPage)
	order.PutUint16(page[10:], uint16(len(elements)))
	order.PutUint32(page[12:], uint32(pages-1))
	return page
}
