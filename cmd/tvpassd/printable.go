package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// printable returns a text with everything that a terminal would not print as one
// character written as an escape: control characters, marks that turn the direction
// of writing, characters without a width. Servers, files and hardware choose many
// of the texts that a technician reads. In JSON the escapes mean the same characters.
func printable(text string) string {
	plain := func(r rune) bool { return r == '\n' || r == '\t' || strconv.IsPrint(r) }
	if strings.IndexFunc(text, func(r rune) bool { return !plain(r) || r == '\uFFFD' }) < 0 {
		return text
	}
	var b strings.Builder
	for _, r := range text { // an invalid byte is U+FFFD
		switch {
		case plain(r):
			b.WriteRune(r)
		case r > 0xFFFF:
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xD800+(r-0x10000)>>10, 0xDC00+(r-0x10000)&0x3FF)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// printer writes what a command prints, each write made printable.
type printer struct{ w io.Writer }

func (p printer) Write(b []byte) (int, error) {
	if _, err := io.WriteString(p.w, printable(string(b))); err != nil {
		return 0, err
	}
	return len(b), nil
}
