package config

import (
	"errors"
	"fmt"
	"path/filepath"
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

// Useless returns the ids of apps whose players get neither a token nor answers
// of the gateway.
func (c *Config) Useless() (ids []string) {
	for _, app := range c.Apps {
		if !app.HandOutToken && !c.Gateway.Enabled {
			ids = append(ids, app.ID)
		}
	}
	return ids
}

// claim is an [[app]] of a file.
type claim struct {
	App
	line     int    // of the id
	disabled *Error // why this app alone can't be used
}

// claims reads the [[app]] of the file.
func (d *document) claims(top *table) []claim {
	var claims []claim
	first := map[string]int{}
	for _, t := range top.list("app") {
		c := d.claim(t)
		claims = append(claims, c)
		if line, repeated := first[c.ID]; repeated {
			t.fault("id", "%s", taken(c.ID, &Error{File: d.file, Line: line}))
		} else if c.ID != "" {
			first[c.ID] = c.line
		}
	}
	return claims
}

// taken is the fault of an id that another [[app]] has.
func taken(id string, by *Error) string {
	return fmt.Sprintf("[[app]] id %s is taken by %s: give every app an id of its own", quote(id), by.place())
}

func (d *document) claim(t *table) claim {
	c := claim{line: t.lineOf("id")}
	path := statementPath(pathFrom(filepath.Dir(d.file)))
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
		StatementFile:     readText(t, "software_statement_file", "", "ref30.jwt", path),
	}
	if !t.has("id") {
		t.fault("id", "[[app]] id is missing: every app needs one")
	}
	switch inline, named := t.has("software_statement"), t.has("software_statement_file"); {
	case inline && named:
		t.fault("software_statement", "[[app]] software_statement and software_statement_file are both set: delete one")
	case !inline && !named:
		t.fault("software_statement_file", "[[app]] software_statement_file is missing: "+
			"write the path of the software statement from the TVE Dashboard")
	case c.StatementFile != "":
		var err error
		if c.SoftwareStatement, err = d.statement(c.StatementFile); err != nil {
			t.fault("software_statement_file", "[[app]] software_statement_file: %s %v", quote(c.StatementFile), err)
		}
	}
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
		c.disabled = &Error{File: t.doc.file, Line: t.lineOf(key), Detail: t.name(key) + " " + missing.Error(), Err: missing}
		return nil, nil
	})
}

// statement reads a software statement. The errors do not name the file.
func (d *document) statement(path string) (string, error) {
	if d.files == nil { // nothing is read for Show
		return "", nil
	}
	if text, ok := d.statements[path]; ok {
		return text, nil
	}
	var by reader
	if d.inApps {
		by.uid = d.files.author
	}
	file, err := d.files.keep(path, maxStatement, by)
	if err != nil {
		return "", unreadable{err}
	}
	text, err := parseStatement(string(file.Data))
	if err != nil {
		return "", err
	}
	d.files.judge(path, file.Mode, file.Group, "the software statement")
	if d.statements == nil {
		d.statements = map[string]string{}
	}
	d.statements[path] = text
	return text, nil
}
