package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// maxFile bounds a TOML file, in bytes: there is room for a hundred apps with their statements.
const maxFile = 256 << 10

// readFile reads a regular file of at most so many bytes, without the byte order mark that some editors put in front.
// (A pipe could block, and can't be read again at a reload.)
func readFile(name string, most int64) ([]byte, error) {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, errors.New("it is a directory")
	case !info.Mode().IsRegular():
		return nil, errors.New("it is no regular file")
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("it is longer than %d KiB", most>>10)
	}
	return bytes.TrimPrefix(data, []byte("\uFEFF")), err
}

// document is one TOML file while it is read.
type document struct {
	file   string // absolute
	inApps bool   // of apps.d
	names  names
	root   *table   // nil: nothing could be read
	tables []*table // those that were asked for
	faults []*Error
}

func (d *document) fault(line int, format string, args ...any) {
	d.faults = append(d.faults, &Error{File: d.file, Line: line, Detail: fmt.Sprintf(format, args...)})
}

// sorted are the faults in the order of their lines.
func (d *document) sorted() []*Error {
	slices.SortStableFunc(d.faults, func(a, b *Error) int { return a.Line - b.Line })
	return d.faults
}

// err joins the faults.
func (d *document) err() error {
	var errs []error
	for _, fault := range d.sorted() {
		errs = append(errs, fault)
	}
	return errors.Join(errs...)
}

// read reads the file. What is wrong with it is a fault too; the error is for telling what kind.
func (d *document) read() error {
	data, err := readFile(d.file, maxFile)
	if err != nil {
		d.fault(0, "%s", reason(err))
		return err
	}
	return d.parse(data)
}

func (d *document) parse(data []byte) error {
	d.root = newTable(0)
	err := build(data, d.root)
	if fault := (*Error)(nil); errors.As(err, &fault) {
		fault.File = d.file
		if strings.HasSuffix(fault.Detail, "at start of value") {
			fault.Detail += ": text stands in quotes"
		}
		d.faults = append(d.faults, fault)
	}
	return err
}
