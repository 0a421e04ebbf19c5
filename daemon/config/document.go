package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// maxFile bounds a TOML file, in bytes. The parser's time grows with the square of the number of keys in a table: this
// is a second on a desktop, and room for a hundred apps with their statements.
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
	values map[string]any
	lines  map[place]int
	tables []*table // those that were asked for
	faults []*Error
}

func (d *document) fault(line int, detail string) {
	d.faults = append(d.faults, &Error{File: d.file, Line: line, Detail: detail})
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
		d.fault(0, reason(err))
		return err
	}
	return d.parse(data)
}

// parse reads the values, and notes where they stand: the decoder tells a position only of what it refuses itself.
func (d *document) parse(data []byte) error {
	if err := toml.Unmarshal(data, &d.values); err != nil {
		line := 0
		var syntax *toml.DecodeError
		if errors.As(err, &syntax) {
			line, _ = syntax.Position()
		}
		detail := "is not valid TOML: " + printable(strings.TrimPrefix(err.Error(), "toml: "))
		if strings.HasSuffix(detail, "at start of value") {
			detail += ": text stands in quotes"
		}
		d.fault(line, detail)
		return err
	}
	d.lines = map[place]int{}
	line, offset := 1, 0
	walk(data, func(at place, start int, _ *unstable.Node) {
		line += bytes.Count(data[offset:start], []byte("\n"))
		offset = start
		if _, known := d.lines[at]; !known {
			d.lines[at] = line
		}
	})
	return nil
}
