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
	RedirectURI       string // "" if none is configured
	ApplicationID     string // "" if none is configured
	File              string // the file that names the app, absolute
	StatementFile     string // absolute; "" if File holds the statement itself
	Everyone          bool   // neither allow_users nor allow_groups is configured
	Users, Groups     []uint32
	HandOutToken      bool // false: players get no token, only the gateway's calls
}

// claim is an [[app]] of a file.
type claim struct {
	App
	place    string // FILE:LINE of the id
	disabled *Error // why this app alone can't be used
}

// claims reads the [[app]] of a file. taken maps the ids that are in use to
// their places; those of this file are added.
func (d *document) claims(top *table, taken map[string]string) []claim {
	var claims []claim
	for _, t := range top.list("app") {
		c := d.claim(t)
		claims = append(claims, c)
		if c.ID == "" {
			continue
		}
		if first, repeated := taken[c.ID]; repeated {
			t.fault("id", "[[app]] id %s is taken by %s: give every app an id of its own", quote(c.ID), first)
			continue
		}
		taken[c.ID] = c.place
	}
	return claims
}

func (d *document) claim(t *table) claim {
	c := claim{place: (&Error{File: d.file, Line: t.lineOf("id")}).place()}
	path := pathFrom(filepath.Dir(d.file))
	c.App = App{
		File:          d.file,
		ID:            readText(t, "id", "", "ref30", parseAppID),
		RedirectURI:   readText(t, "redirect_uri", "", "adobepass://com.programmer", parseRedirectURI),
		ApplicationID: readText(t, "application_id", "", "REF30", parseName),
		Everyone:      !t.has("allow_users") && !t.has("allow_groups"),
		Users:         c.allowed(t, "allow_users", d.names.users),
		Groups:        c.allowed(t, "allow_groups", d.names.groups),
		HandOutToken:  read(t, "hand_out_token", true, parseBool),

		SoftwareStatement: readText(t, "software_statement", "", "eyJ…", parseStatement),
		StatementFile:     readText(t, "software_statement_file", "", "ref30.jwt", statementPath(path)),
	}
	if !t.has("id") {
		t.fault("id", "[[app]] id is missing: every app needs one")
	}
	c.readStatement(t)
	return c
}

// allowed reads a list of users or groups. One that does not exist disables the
// app alone.
func (c *claim) allowed(t *table, key string, parse func(any) ([]uint32, error)) []uint32 {
	return read(t, key, nil, func(given any) ([]uint32, error) {
		ids, err := parse(given)
		missing, ok := errors.AsType[*missingError](err)
		if !ok {
			return ids, err
		}
		c.disabled = &Error{File: t.doc.file, Line: t.lineOf(key), Detail: t.name(key) + " " + missing.Error()}
		return nil, nil
	})
}

// readStatement reads the software statement if it is in a file of its own.
func (c *claim) readStatement(t *table) {
	switch inline, named := t.has("software_statement"), t.has("software_statement_file"); {
	case inline && named:
		t.fault("software_statement", "[[app]] software_statement and software_statement_file are both set: delete one")
	case !inline && !named:
		t.fault("software_statement_file", "[[app]] software_statement_file is missing: "+
			"write the path of the software statement from the TVE Dashboard")
	case c.StatementFile != "":
		var err error
		if c.SoftwareStatement, err = readStatement(c.StatementFile); err != nil {
			t.fault("software_statement_file", "[[app]] software_statement_file: %s %v", quote(c.StatementFile), err)
		}
	}
}

// use adds the apps of a file to the configuration, or the reasons why they are
// disabled.
func (c *Config) use(claims []claim) {
	for _, claim := range claims {
		if claim.disabled != nil {
			c.Bad = append(c.Bad, claim.disabled)
		} else {
			c.Apps = append(c.Apps, claim.App)
		}
	}
}

// addApps adds the apps of the files in dir, in the order of their names.
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

// addFile adds the apps of a file in apps.d. A file with a fault adds none.
func (c *Config) addFile(path string, taken map[string]string, n names) {
	d := &document{file: path, inApps: true, names: n}
	seen := maps.Clone(taken)
	var claims []claim
	if d.read() == nil {
		claims = d.claims(d.top(), seen)
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
	c.use(claims)
	maps.Copy(taken, seen)
}
