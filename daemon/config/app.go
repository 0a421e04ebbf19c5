package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
)

// App is a player app that may have tokens.
type App struct {
	ID                string
	SoftwareStatement string // without white space
	RedirectURI       string // "" where none is given
	ApplicationID     string // the same
	File              string // that names it, absolute
	StatementFile     string // absolute; "" where the statement stands in File
	Everyone          bool   // neither allow_users nor allow_groups is given
	Users, Groups     []uint32
	HandOutToken      bool // false: players get no token, only the gateway's calls
}

// apps reads the [[app]] of a file. taken tells where an id was given before, and learns of those that are given here.
func (d *document) apps(top *table, taken map[string]string) []App {
	var apps []App
	for _, t := range top.list("app") {
		app := d.app(t)
		apps = append(apps, app)
		if app.ID == "" {
			continue
		}
		if first, repeated := taken[app.ID]; repeated {
			t.fault("id", "[[app]] id %s is taken by %s: give every app an id of its own", quote(app.ID), first)
			continue
		}
		taken[app.ID] = (&Error{File: d.file, Line: t.lineOf("id")}).place()
	}
	return apps
}

func (d *document) app(t *table) App {
	a := App{
		File:          d.file,
		ID:            readText(t, "id", "", "ref30", parseAppID),
		RedirectURI:   readText(t, "redirect_uri", "", "adobepass://com.programmer", parseRedirectURI),
		ApplicationID: readText(t, "application_id", "", "REF30", parseName),
		Everyone:      !t.has("allow_users") && !t.has("allow_groups"),
		Users:         read(t, "allow_users", nil, d.names.users),
		Groups:        read(t, "allow_groups", nil, d.names.groups),
		HandOutToken:  read(t, "hand_out_token", true, parseBool),
	}
	a.SoftwareStatement = readText(t, "software_statement", "", "eyJ…", parseStatement)
	a.StatementFile = readText(t, "software_statement_file", "", "ref30.jwt", d.statementFile)
	if !t.has("id") {
		t.fault("id", "[[app]] id is missing: every app needs one")
	}
	switch inline, named := t.has("software_statement"), t.has("software_statement_file"); {
	case inline && named:
		t.fault("software_statement", "[[app]] software_statement and software_statement_file are both given: leave one out")
	case !inline && !named:
		t.fault("software_statement_file",
			"[[app]] software_statement_file is missing: name the file of the statement that the TVE Dashboard gave you")
	case a.StatementFile != "":
		var err error
		if a.SoftwareStatement, err = readStatement(a.StatementFile); err != nil {
			t.fault("software_statement_file", "[[app]] software_statement_file: %s %v", quote(a.StatementFile), err)
		}
	}
	return a
}

// addApps adds the apps of the files in a directory, in the order of their names. A file with a fault adds none.
func (c *Config) addApps(dir string, taken map[string]string, n names) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.Bad = append(c.Bad, &Error{File: dir, Detail: reason(err)})
	}
	for _, entry := range entries { // sorted
		if name := entry.Name(); !strings.HasPrefix(name, ".") && strings.HasSuffix(name, ".toml") {
			c.addFile(filepath.Join(dir, name), taken, n)
		}
	}
}

func (c *Config) addFile(path string, taken map[string]string, n names) {
	d := &document{file: path, inApps: true, names: n}
	seen := maps.Clone(taken)
	var apps []App
	if d.read() == nil {
		apps = d.apps(d.top(), seen)
		d.unknownKeys()
	}
	if faults := d.sorted(); len(faults) > 0 {
		bad := faults[0]
		if more := len(faults) - 1; more > 0 {
			bad.Detail += fmt.Sprintf(" (and %d more in this file)", more)
		}
		c.Bad = append(c.Bad, bad)
		return
	}
	c.Apps = append(c.Apps, apps...)
	maps.Copy(taken, seen)
}
