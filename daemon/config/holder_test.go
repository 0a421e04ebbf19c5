package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// sourceOf makes a source of a text such as "0:a.toml x y": the user, the file and
// the ids that it claims. "?" stands for a file that can't be read, "!" for a
// fault of the file.
func sourceOf(text string) *source {
	s := &source{}
	f := strings.Fields(text)
	if _, err := fmt.Sscanf(strings.Replace(f[0], ":", " ", 1), "%d %s", &s.author, &s.file); err != nil {
		panic(err)
	}
	s.top = s.file == "config.toml"
	for i, id := range f[1:] {
		switch id {
		case "?":
			s.partial, s.fault = true, &Error{File: s.file, Detail: "can't be read"}
		case "!":
			s.fault = &Error{File: s.file, Detail: "is bad"}
		default:
			s.claims = append(s.claims, claim{App: App{ID: id, File: s.file}, line: i + 1})
		}
	}
	return s
}

// claimed is a case of who has the id x, as users 0 (root), 1 and 2 wrote the
// files that claim it.
type claimed struct {
	name   string
	files  []string
	had    string // user:file before; "" if nobody had it
	accept string
	apps   string // ids and files in force
	now    string // user:file that is remembered for x
	bad    []string
	err    string
}

func resolveAll(t *testing.T, cases []claimed) {
	t.Helper()
	for _, tt := range cases {
		t.Run(tt.name, tt.test)
	}
}

func (tt claimed) test(t *testing.T) {
	c := &Config{}
	for _, text := range tt.files {
		c.sources = append(c.sources, sourceOf(text))
	}
	held := map[string]Holder{}
	if tt.had != "" {
		s := sourceOf(tt.had)
		held["x"] = Holder{s.file, s.author}
	}
	if err := c.Resolve(held, tt.accept); err != nil || tt.err != "" {
		expect(t, fmt.Sprint(err), tt.err)
		return
	}
	var apps, bad []string
	for _, app := range c.Apps {
		apps = append(apps, app.ID+":"+app.File)
	}
	for _, fault := range c.Bad {
		bad = append(bad, fault.Error())
	}
	now := c.Holders["x"]
	expect(t, strings.Join(apps, " "), tt.apps)
	expect(t, fmt.Sprintf("%d:%s", now.UID, now.File), tt.now)
	slices.Sort(bad)
	expect(t, bad, tt.bad)
}

// waits returns the fault of a file whose id belongs to another user.
func waits(author int, file string, owner uint32, heldIn string) string {
	return fmt.Sprintf(`%s:1: [[app]] id "x" belongs to user %d, who claimed it in %s, and user %d wrote this file: `+
		`to give it the app's credentials, run tvpassd reload --accept x`, file, owner, heldIn, author)
}

// TestOneOfSeveralFilesHasAnID: who had an id keeps it, and config.toml takes it.
func TestOneOfSeveralFilesHasAnID(t *testing.T) {
	resolveAll(t, []claimed{
		{name: "nobody had it", files: []string{"1:a.toml x", "0:b.toml x"}, apps: "x:a.toml", now: "1:a.toml",
			bad: []string{`b.toml:1: [[app]] id "x" is taken by a.toml:1: give every app an id of its own`}},
		{name: "the later file had it", files: []string{"1:a.toml x", "2:b.toml x"}, had: "2:b.toml", apps: "x:b.toml",
			now: "2:b.toml",
			bad: []string{`a.toml:1: [[app]] id "x" is taken by b.toml: give every app an id of its own`}},
		{name: "root's file does not take it", files: []string{"0:a.toml x", "2:b.toml x"}, had: "2:b.toml",
			apps: "x:b.toml", now: "2:b.toml",
			bad: []string{`a.toml:1: [[app]] id "x" is taken by b.toml: give every app an id of its own`}},
		{name: "config.toml takes it", files: []string{"0:config.toml x", "2:b.toml x"}, had: "2:b.toml",
			apps: "x:config.toml",
			now:  "0:config.toml",
			bad:  []string{`b.toml:1: [[app]] id "x" is taken by config.toml:1: give every app an id of its own`}},
		{name: "a user's config.toml takes it", files: []string{"1:config.toml x"}, had: "0:b.toml", apps: "x:config.toml",
			now: "1:config.toml"},
		{name: "copied by its owner", files: []string{"1:a.toml x", "1:b.toml x"}, had: "1:b.toml", apps: "x:b.toml",
			now: "1:b.toml",
			bad: []string{`a.toml:1: [[app]] id "x" is taken by b.toml: give every app an id of its own`}},
		{name: "one of two ids is taken", files: []string{"0:config.toml x", "1:a.toml w x", "2:b.toml w"},
			apps: "w:b.toml x:config.toml",
			now:  "0:config.toml",
			bad:  []string{`a.toml:2: [[app]] id "x" is taken by config.toml:1: give every app an id of its own`}},
	})
}

// TestAnIDIsInherited: the file that had the id is gone.
func TestAnIDIsInherited(t *testing.T) {
	resolveAll(t, []claimed{
		{name: "renamed by its owner", files: []string{"1:new.toml x"}, had: "1:old.toml", apps: "x:new.toml",
			now: "1:new.toml"},
		{name: "renamed by root", files: []string{"0:new.toml x"}, had: "1:old.toml", apps: "x:new.toml", now: "0:new.toml"},
		{name: "moved to another file", files: []string{"1:a.toml x", "1:b.toml y"}, had: "1:b.toml",
			apps: "x:a.toml y:b.toml", now: "1:a.toml"},
		{name: "given to root", files: []string{"0:a.toml x"}, had: "2:a.toml", apps: "x:a.toml", now: "0:a.toml"},
		{name: "another user's file", files: []string{"2:new.toml x"}, had: "1:old.toml", now: "1:old.toml",
			bad: []string{waits(2, "new.toml", 1, "old.toml")}},
		{name: "another user's file of the same name", files: []string{"2:a.toml x"}, had: "1:a.toml", now: "1:a.toml",
			bad: []string{waits(2, "a.toml", 1, "a.toml")}},
		{name: "a user's file after root's", files: []string{"1:new.toml x"}, had: "0:config.toml", now: "0:config.toml",
			bad: []string{waits(1, "new.toml", 0, "config.toml")}},
		{name: "given to another user", files: []string{"2:a.toml x"}, had: "0:a.toml", now: "0:a.toml",
			bad: []string{waits(2, "a.toml", 0, "a.toml")}},
	})
}

// TestABadFileKeepsItsID: a file that had the id, or would get it, is bad.
func TestABadFileKeepsItsID(t *testing.T) {
	resolveAll(t, []claimed{
		{name: "two heirs, one bad", files: []string{"0:a.toml x !", "1:b.toml x"}, had: "1:old.toml", apps: "x:b.toml",
			now: "1:b.toml",
			bad: []string{"a.toml: is bad"}},
		{name: "a bad heir", files: []string{"1:a.toml x !", "2:b.toml x"}, had: "1:old.toml", now: "1:old.toml",
			bad: []string{
				"a.toml: is bad", `b.toml:1: [[app]] id "x" is taken by a.toml: give every app an id of its own`}},
		{name: "the file can't be read", files: []string{"0:a.toml x", "1:b.toml ?"}, had: "1:b.toml", now: "1:b.toml",
			bad: []string{`a.toml:1: [[app]] id "x" is taken by b.toml: give every app an id of its own`,
				"b.toml: can't be read"}},
		{name: "the file is bad", files: []string{"0:a.toml x", "1:b.toml x !"}, had: "1:b.toml", now: "1:b.toml",
			bad: []string{`a.toml:1: [[app]] id "x" is taken by b.toml: give every app an id of its own`, "b.toml: is bad"}},
		{name: "another bad file", files: []string{"1:a.toml x !", "2:b.toml x"}, apps: "x:b.toml", now: "2:b.toml",
			bad: []string{"a.toml: is bad"}},
	})
}

// TestAccept gives an id to a file that waits for it.
func TestAccept(t *testing.T) {
	resolveAll(t, []claimed{
		{name: "another user between", files: []string{"2:a.toml x", "1:b.toml x", "2:c.toml x"}, had: "1:old.toml",
			accept: "x",
			apps:   "x:b.toml", now: "1:b.toml", bad: []string{
				`a.toml:1: [[app]] id "x" is taken by b.toml: give every app an id of its own`,
				`c.toml:1: [[app]] id "x" is taken by b.toml:1: give every app an id of its own`}},
		{name: "accepted", files: []string{"2:new.toml x"}, had: "1:old.toml", accept: "x", apps: "x:new.toml",
			now: "2:new.toml"},
		{name: "accepted again", files: []string{"2:new.toml x"}, had: "2:new.toml", accept: "x", apps: "x:new.toml",
			now: "2:new.toml"},
		{name: "accepted, while the file is bad", files: []string{"2:new.toml x !"}, had: "1:old.toml", accept: "x",
			now: "2:new.toml",
			bad: []string{"new.toml: is bad"}},
		{name: "two wait", files: []string{"2:a.toml x", "3:b.toml x"}, had: "1:old.toml", accept: "x",
			err: `accept "x": a.toml and b.toml claim it: delete all files but one`},
		{name: "nothing waits", files: []string{"2:a.toml x"}, had: "2:a.toml", accept: "y",
			err: `accept "y": no file in apps.d waits for this id`},
		{name: "the id is in use", files: []string{"1:a.toml x", "2:b.toml x"}, had: "2:b.toml", accept: "x",
			apps: "x:b.toml", now: "2:b.toml",
			bad: []string{`a.toml:1: [[app]] id "x" is taken by b.toml: give every app an id of its own`}},
	})
}

// TestAUsersAppsAreLimited: a user with thousands of apps would keep all others
// waiting for the throttle.
func TestAUsersAppsAreLimited(t *testing.T) {
	many := func(prefix string, n int) (ids string) {
		for i := range n {
			ids += fmt.Sprintf(" %s%d", prefix, i)
		}
		return ids
	}
	c := &Config{}
	for _, text := range []string{"0:root.toml" + many("r", 100), "1:a.toml" + many("a", 10), "1:b.toml" + many("b", 7),
		"1:c.toml" + many("c", 6), "1:d.toml d", "2:e.toml" + many("e", 17), "2:f.toml" + many("f", 16)} {
		c.sources = append(c.sources, sourceOf(text))
	}
	if err := c.Resolve(nil, ""); err != nil {
		t.Fatal(err)
	}
	files := map[string]int{}
	for _, app := range c.Apps {
		files[app.File]++
	}
	expect(t, files, map[string]int{"root.toml": 100, "a.toml": 10, "c.toml": 6, "f.toml": 16})
	expect(t, len(c.Bad), 3)
	expect(t, c.Bad[0].Error(),
		"b.toml: has too many apps: user 1 may have 16 in apps.d, and root any number")
}

// TestIDsOfRemovedAppsAreRemembered: an app that is gone keeps its record, or
// its credentials would go to whoever comes next.
func TestIDsOfRemovedAppsAreRemembered(t *testing.T) {
	c := &Config{sources: []*source{sourceOf("1:a.toml x")}}
	if err := c.Resolve(map[string]Holder{"gone": {"b.toml", 2}}, ""); err != nil {
		t.Fatal(err)
	}
	expect(t, c.Holders, map[string]Holder{"gone": {"b.toml", 2}, "x": {"a.toml", 1}})
}
