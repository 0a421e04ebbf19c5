package device

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/tvpassd/tvpassd/device/hostfile"
)

const (
	maxFile  = 64 << 10 // no file that describes a device is longer; a hostile one is read no further
	maxTotal = 4 << 20  // all of them together come nowhere near this
	maxNames = 1024     // names taken from one folder
	maxHung  = 3        // reads that may run out of time: a broken driver hangs, and so may a hostile file system
)

var (
	errTooMuch = errors.New("more data than a device has")
	errHung    = errors.New("the file system does not answer")
)

// tree reads the files below one folder, each at most once.
type tree struct {
	root   string
	dir    *hostfile.Dir
	files  map[string]content
	values map[string]map[string]string // what was parsed of a file, by its name
	lists  map[string][]string          // the names in a folder
	left   int                          // bytes that may still be kept
	hung   int                          // reads that ran out of time

	properties []string // Android's files, in the order in which they count
}

type content struct {
	data []byte
	err  error
}

// openTree opens a device's file tree; "" is this device, where only files that
// no other user could have put there count.
func openTree(folder string) (*tree, error) {
	rule := hostfile.Rule{Trusted: folder == ""}
	if folder == "" {
		folder = "/"
	}
	dir, err := hostfile.Open(folder, rule)
	if err != nil {
		return nil, fmt.Errorf("open the device's file tree: %w", err)
	}
	return &tree{root: folder, dir: dir, files: map[string]content{}, values: map[string]map[string]string{},
		lists: map[string][]string{}, left: maxTotal}, nil
}

func (t *tree) close() { t.dir.Close() }

// read returns the first 64 KiB of a file. The result belongs to the tree:
// callers don't change it.
func (t *tree) read(name string) ([]byte, error) {
	if c, ok := t.files[name]; ok {
		return c.data, c.err
	}
	data, err := t.readOnce(name)
	t.files[name] = content{data, err}
	return data, err
}

func (t *tree) readOnce(name string) ([]byte, error) {
	if t.hung >= maxHung {
		return nil, errHung
	}
	file, err := t.dir.Read(name, maxFile)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.hung++
	}
	if err != nil {
		return nil, err
	}
	if t.left -= len(file.Data); t.left < 0 {
		return nil, errTooMuch
	}
	return file.Data, nil
}

// text is a whole file's value; "" if there is none.
func (t *tree) text(name string) string {
	data, _ := t.read(name)
	return clean(data)
}

// firstLine is a file's first line, however long, without white space around it.
func (t *tree) firstLine(name string) string {
	data, _ := t.read(name)
	line, _, _ := bytes.Cut(data, []byte("\n"))
	return string(bytes.TrimSpace(line))
}

// fields parses a file of KEY=VALUE lines; nil if there is none.
func (t *tree) fields(d dialect, name string) map[string]string {
	return t.parsed(name, d.parse)
}

// json parses a file that holds a JSON object; nil if there is none.
func (t *tree) json(name string) map[string]string { return t.parsed(name, jsonTexts) }

func (t *tree) parsed(name string, parse func([]byte) map[string]string) map[string]string {
	if values, ok := t.values[name]; ok {
		return values
	}
	var values map[string]string
	if data, err := t.read(name); err == nil {
		values = parse(data)
	}
	t.values[name] = values
	return values
}

// rows returns the fields of each line of a table that has any; none if it can't
// be read.
func (t *tree) rows(name string) [][]string {
	data, _ := t.read(name)
	var rows [][]string
	for _, line := range strings.Split(string(wholeLines(data)), "\n") {
		if fields := strings.Fields(line); len(fields) > 0 {
			rows = append(rows, fields)
		}
	}
	return rows
}

// wholeLines leaves out the last line of a file that was cut at 64 KiB.
func wholeLines(data []byte) []byte {
	if len(data) == maxFile {
		return data[:bytes.LastIndexByte(data, '\n')+1]
	}
	return data
}

// list returns the names in a folder, in natural order (eth2 before eth10);
// none if it can't be read.
func (t *tree) list(name string) []string {
	if names, ok := t.lists[name]; ok {
		return names
	}
	names, err := t.dir.Names(name, maxNames)
	if err != nil {
		names = nil
	}
	slices.SortFunc(names, naturalOrder)
	t.lists[name] = names
	return names
}

// exists reports whether there is anything behind a path, of whatever kind.
func (t *tree) exists(name string) bool { return t.dir.Exists(name) }

// linkBase returns the last element of where a symbolic link points, as sysfs
// names a device's driver; "" if there is no such link.
func (t *tree) linkBase(name string) string {
	target, err := t.dir.Link(name)
	if err != nil {
		return ""
	}
	return path.Base(target)
}

// readPublic returns what a file holds although others may write to it, if its
// owner lets everybody read it and no link leads there.
func (t *tree) readPublic(name string) ([]byte, bool) {
	dir, err := hostfile.Open(t.root, hostfile.Rule{NoLinks: true})
	if err != nil {
		return nil, false
	}
	defer dir.Close()
	file, err := dir.Read(name, maxSerial)
	if err != nil || !file.Public {
		return nil, false
	}
	return file.Data, true
}
