package service

import (
	"compress/gzip"
	_ "embed"
	"io"
	"slices"
	"strings"
)

// packed holds units and scripts that the packages ship as they are. Packed they
// take 9 kB less of the program.
//
//go:generate ./pack.sh
//go:embed shipped.gz
var packed string

// shipped returns the content of one of them.
func shipped(file string) string {
	r, err := gzip.NewReader(strings.NewReader(packed))
	if err != nil { // it is a part of the program
		panic(err)
	}
	all, err := io.ReadAll(r)
	if err != nil {
		panic(err)
	}
	parts := strings.Split(string(all), "\x00")
	return parts[slices.Index(parts, file)+1]
}
