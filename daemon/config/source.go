package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/tvpassd/tvpassd/device/hostfile"
)

// source is a file that claims ids: config.toml or one in apps.d.
type source struct {
	top     bool // config.toml
	file    string
	author  uint32 // who wrote it
	claims  []claim
	fault   *Error // why the file is disabled as a whole
	partial bool   // it could not be read to its end, so it may claim more ids
}

// judge notes what others may do to config.toml.
func (d *document) judge(c *Config) {
	secret := inlineStatement(c.sources[0].claims)
	if c.HTTP.Proxy != nil && c.HTTP.Proxy.User != nil {
		secret = "the password of the proxy"
	}
	d.files.judge(d.file, d.stat.Mode, d.stat.Group, secret)
}

// inlineStatement names the secret of a file with these claims, if it has one.
func inlineStatement(claims []claim) string {
	for _, c := range claims {
		if c.StatementFile == "" && c.SoftwareStatement != "" {
			return "the software statement"
		}
	}
	return ""
}

// misses notes that a folder could not be read, or not all of it.
func (c *Config) misses(dir string, err error, detail string) {
	c.unread = append(c.unread, &Error{File: dir, Detail: detail, Err: err})
}

// readApps reads the files in the directory apps.d beside config.toml.
func (c *Config) readApps(dir string, top *document) {
	folder, err := top.files.list(dir)
	top.files.seen.folder(dir, folder, err)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			c.misses(dir, err, reason(err))
		}
		return
	}
	top.files.judge(dir, folder.Mode, folder.Group, "")
	for _, uid := range folder.Crowd {
		c.misses(dir, nil, fmt.Sprintf("has too many entries, and some of user %d were not read: delete what is not needed",
			uid))
	}
	if folder.Cut {
		c.misses(dir, os.ErrDeadlineExceeded,
			"has so many entries that there was no time to read all: delete what is not needed")
	}
	found := make([]*source, len(folder.Entries))
	for _, roots := range []bool{true, false} { // files that take long must not use up the time of root's
		for i, entry := range folder.Entries {
			if (entry.Owner == 0) == roots && isApps(entry.Name) {
				top.files.author = entry.Owner
				found[i] = top.readSource(filepath.Join(dir, entry.Name), entry)
			}
		}
	}
	for _, s := range found {
		if s != nil {
			c.sources = append(c.sources, s)
		}
	}
}

// isApps reports whether a name in apps.d is that of a file to read. Editors and
// package managers leave others.
func isApps(name string) bool {
	return !strings.HasPrefix(name, ".") && strings.HasSuffix(name, ".toml")
}

// readSource reads a file in apps.d.
func (top *document) readSource(path string, entry hostfile.Entry) *source {
	d := &document{file: path, inApps: true, files: top.files, names: top.names}
	d.by = reader{uid: entry.Owner, plain: entry.Mode&fs.ModeSymlink == 0}
	d.by.way = entry.Owner == 0 && !d.by.plain
	err := d.read()
	if err == nil && (d.by.plain || entry.Owner == 0) {
		d.files.author = d.stat.Owner // else whoever made the link chose the file
	}
	s := &source{file: path, author: d.files.author}
	if err == nil {
		s.claims = d.claims(d.top())
		d.unknownKeys()
		d.files.judge(path, d.stat.Mode, d.stat.Group, inlineStatement(s.claims))
	}
	s.partial = err != nil && !errors.Is(err, fs.ErrNotExist)
	if faults := d.sorted(); len(faults) > 0 {
		s.fault = faults[0]
		if more := len(faults) - 1; more > 0 {
			s.fault.Detail += fmt.Sprintf(" (and %d more in this file)", more)
		}
	}
	return s
}
