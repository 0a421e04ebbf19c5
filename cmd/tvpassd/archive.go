package main

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"time"
)

// tarGz writes files into a .tar.gz, uncompressed: archive/tar and the compressing
// half of compress/gzip would add 100 kB to the binary, and a bundle has about as
// much text.
type tarGz struct {
	w    io.Writer
	at   time.Time // the time of every file
	sum  uint32    // CRC-32 of the archive so far
	size uint32    // its length, modulo 2^32
	err  error     // the first one
}

func newTarGz(w io.Writer, at time.Time) *tarGz {
	t := &tarGz{w: w, at: at}
	t.raw([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3}) // RFC 1952: deflate, no name, no time, Unix
	return t
}

// tarBlock is the size of the blocks of a tar archive, in bytes.
const tarBlock = 512

// add writes a file in the format of POSIX.1-1988 (ustar). A name has at most 100
// bytes.
func (t *tarGz) add(name string, content []byte) {
	var h [tarBlock]byte
	put := func(at int, format string, value any) { copy(h[at:], fmt.Sprintf(format, value)) }
	put(0, "%.100s", name)
	put(100, "%07o", 0o600) // mode
	put(108, "%07o", 0)     // user
	put(116, "%07o", 0)     // group
	put(124, "%011o", len(content))
	put(136, "%011o", max(t.at.Unix(), 0))
	put(148, "%8s", "") // the sum counts its own field as blanks
	put(156, "%s", "0") // a regular file
	put(257, "%s", "ustar\x0000")
	sum := 0
	for _, b := range h {
		sum += int(b)
	}
	put(148, "%06o\x00", sum)
	t.write(h[:])
	t.write(content)
	t.write(make([]byte, -len(content)&(tarBlock-1)))
}

// write writes bytes as uncompressed blocks (RFC 1951, 3.2.4).
func (t *tarGz) write(b []byte) {
	t.sum, t.size = crc32.Update(t.sum, crc32.IEEETable, b), t.size+uint32(len(b))
	for len(b) > 0 {
		n := min(len(b), 0xffff)
		t.block(0, b[:n])
		b = b[n:]
	}
}

// block writes one block of at most 65,535 bytes; last is 1 for the last one.
func (t *tarGz) block(last byte, b []byte) {
	head := binary.LittleEndian.AppendUint16([]byte{last}, uint16(len(b)))
	t.raw(binary.LittleEndian.AppendUint16(head, ^uint16(len(b))))
	t.raw(b)
}

// raw writes bytes as they are, unless an earlier write failed.
func (t *tarGz) raw(b []byte) {
	if t.err == nil {
		_, t.err = t.w.Write(b)
	}
}

// close ends the archive. The error is the first one of all writes.
func (t *tarGz) close() error {
	t.write(make([]byte, 2*tarBlock))
	t.block(1, nil)
	t.raw(binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, t.sum), t.size))
	return t.err
}
