package config

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// labApp is an [[app]] that contains its statement.
func labApp(id string) string {
	return fmt.Sprintf("[[app]]\nid = %q\nsoftware_statement = %q\n", id, labStatement)
}

// parcel is a set of files that players' packages put beside config.toml, with
// the outcome. DIR stands for the directory.
type parcel struct {
	name  string
	files map[string]string // in apps.d
	apps  string            // ids, and the base name of the file that names each
	bad   []string
}

func loadAll(t *testing.T, parcels []parcel) {
	t.Helper()
	for _, tt := range parcels {
		t.Run(tt.name, tt.test)
	}
}

func (tt parcel) test(t *testing.T) {
	files := map[string]string{"config.toml": labApp("own")}
	for name, content := range tt.files {
		files["apps.d/"+name] = content
	}
	c, dir := mustLoad(t, files)
	var apps, bad []string
	for _, app := range c.Apps {
		apps = append(apps, app.ID+":"+filepath.Base(app.File))
	}
	for _, fault := range c.Bad {
		bad = append(bad, strings.ReplaceAll(fault.Error(), dir, "DIR"))
	}
	if tt.apps == "" {
		tt.apps = "own:config.toml"
	}
	expect(t, strings.Join(apps, " "), tt.apps)
	expect(t, bad, tt.bad)
}

// TestAppsD: each file is used, or disables itself alone.
func TestAppsD(t *testing.T) {
	loadAll(t, []parcel{
		{name: "nothing"},
		{name: "an empty file", files: map[string]string{"a.toml": "", "b.toml": "# nothing yet\r\n"}},
		{name: "several", files: map[string]string{"b.toml": labApp("z") + labApp("y"), "a.toml": labApp("x")},
			apps: "own:config.toml x:a.toml y:b.toml z:b.toml"},
		{name: "backups and others", files: map[string]string{
			".a.toml": "bad", "a.toml~": "bad", "#a.toml#": "bad", ".#a.toml": "bad", "a.toml.bak": "bad", "a.jwt": "bad",
			"sub/a.toml": "bad"}},
		{name: "other tables", files: map[string]string{"a.toml": "[http]\ntimeout = \"1s\"\n" + labApp("x"),
			"b.toml": "[[apps]]\n"},
			bad: []string{`DIR/apps.d/a.toml:1: unknown key "http": a file in apps.d holds [[app]] only`,
				`DIR/apps.d/b.toml:1: unknown key "apps": a file in apps.d holds [[app]] only`}},
		{name: "several faults", files: map[string]string{"a.toml": "[[app]]\nid = 5\nallow_users = [\"playr\"]"},
			bad: []string{`DIR/apps.d/a.toml:1: [[app]] software_statement_file is missing: ` +
				`write the path of the software statement from the TVE Dashboard (and 1 more in this file)`}},
		{name: "a mistyped key", files: map[string]string{"a.toml": labApp("x") + "allow_user = []"},
			bad: []string{`DIR/apps.d/a.toml:4: unknown key "allow_user" in [[app]]: did you mean allow_users?`}},
	})
}

// TestIDsInAppsD: an id that is taken disables the later file.
func TestIDsInAppsD(t *testing.T) {
	loadAll(t, []parcel{
		{name: "an id of config.toml", files: map[string]string{"a.toml": labApp("x") + labApp("own")},
			bad: []string{`DIR/apps.d/a.toml:5: [[app]] id "own" is taken by DIR/config.toml:2: give every app an id ` +
				`of its own`}},
		{name: "an id of an earlier file", files: map[string]string{"1.toml": labApp("x"), "2.toml": labApp("x"),
			"3.toml": labApp("y")},
			apps: "own:config.toml x:1.toml y:3.toml",
			bad: []string{`DIR/apps.d/2.toml:2: [[app]] id "x" is taken by DIR/apps.d/1.toml:2: give every app an id ` +
				`of its own`}},
		{name: "an id twice in a file", files: map[string]string{"1.toml": labApp("x") + labApp("x")},
			bad: []string{`DIR/apps.d/1.toml:5: [[app]] id "x" is taken by DIR/apps.d/1.toml:2: give every app an id ` +
				`of its own`}},
		{name: "the id of a file that disabled itself",
			files: map[string]string{"1.toml": labApp("x") + "oops", "2.toml": labApp("x")},
			apps:  "own:config.toml x:2.toml",
			bad:   []string{`DIR/apps.d/1.toml:4: is not valid TOML: expected '=' after key`}},
	})
}

// TestStatementFiles: a statement that can't be used disables the file that names it.
func TestStatementFiles(t *testing.T) {
	loadAll(t, []parcel{
		{name: "no statement file",
			files: map[string]string{"a.toml": "[[app]]\nid = \"x\"\nsoftware_statement_file = \"x.jwt\"\n"},
			bad: []string{`DIR/apps.d/a.toml:3: [[app]] software_statement_file: "DIR/apps.d/x.jwt" can't be read: no ` +
				`such file or directory`}},
		{name: "a directory for a statement",
			files: map[string]string{"a.toml": "[[app]]\nid = \"x\"\nsoftware_statement_file = \".\"\n"},
			bad: []string{`DIR/apps.d/a.toml:3: [[app]] software_statement_file: "DIR/apps.d" can't be read: not a ` +
				`regular file but a folder`}},
		{name: "a bad statement",
			files: map[string]string{"a.toml": "[[app]]\nid = \"x\"\nsoftware_statement_file = \"x.jwt\"\n", "x.jwt": "{}"},
			bad: []string{`DIR/apps.d/a.toml:3: [[app]] software_statement_file: "DIR/apps.d/x.jwt" is not a software ` +
				`statement ` +
				`(it needs 2 dots and has 0): copy all of it from the TVE Dashboard again`}},
		{name: "a long statement",
			files: map[string]string{"a.toml": "[[app]]\nid = \"x\"\nsoftware_statement_file = \"x.jwt\"\n",
				"x.jwt": strings.Repeat("x", maxStatement+1)},
			bad: []string{`DIR/apps.d/a.toml:3: [[app]] software_statement_file: "DIR/apps.d/x.jwt" can't be read: it is ` +
				`longer than 64 KiB`}},
	})
}

// TestOddEntries puts things into apps.d that are not files. None of them stops
// or blocks the others.
func TestOddEntries(t *testing.T) {
	dir := lay(t, map[string]string{"config.toml": "", "apps.d/folder.toml/x": "", "apps.d/good.toml": labApp("good")})
	for _, err := range []error{
		os.Symlink("nowhere", filepath.Join(dir, "apps.d/link.toml")),
		syscall.Mkfifo(filepath.Join(dir, "apps.d/pipe.toml"), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	c, err := loadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Apps) != 1 || c.Apps[0].ID != "good" {
		t.Errorf("the apps are %v", c.Apps)
	}
	expect(t, c.Bad, []*Error{
		{File: dir + "/apps.d/folder.toml", Detail: "can't be read: not a regular file but a folder"},
		{File: dir + "/apps.d/link.toml", Detail: "can't be read: no such file or directory"},
		{File: dir + "/apps.d/pipe.toml", Detail: "can't be read: not a regular file"},
	})
}

func TestAppsDIsAFile(t *testing.T) {
	c, dir := mustLoad(t, map[string]string{"config.toml": "", "apps.d": labApp("x")})
	expect(t, c.Bad, []*Error{{File: dir + "/apps.d", Detail: "can't be read: not a directory"}})
}

// TestUnknownUser names users and groups that do not exist. Each disables its app
// alone, in config.toml too, and the id stays taken.
func TestUnknownUser(t *testing.T) {
	c, dir := mustLoad(t, map[string]string{
		"config.toml":   labApp("own") + labApp("player") + "allow_users = [\"player\", \"playr\"]\n",
		"apps.d/a.toml": labApp("one") + "allow_groups = [\"\"]\n" + labApp("two") + "allow_groups = [901]\n",
		"apps.d/b.toml": labApp("player"),
	})
	var apps, bad []string
	for _, app := range c.Apps {
		apps = append(apps, app.ID)
	}
	for _, fault := range c.Bad {
		bad = append(bad, strings.ReplaceAll(fault.Error(), dir, "DIR"))
	}
	expect(t, apps, []string{"own", "two"})
	expect(t, bad, []string{
		`DIR/config.toml:7: [[app]] allow_users names the user "playr", which does not exist: create it or correct the name`,
		`DIR/apps.d/a.toml:4: [[app]] allow_groups names the group "", which does not exist: create it or correct the name`,
		`DIR/apps.d/b.toml:2: [[app]] id "player" is taken by DIR/config.toml:5: give every app an id of its own`,
	})
}

// TestAppsDWithoutConfig reads a player's file without a config.toml.
func TestAppsDWithoutConfig(t *testing.T) {
	dir := lay(t, map[string]string{"apps.d/a.toml": labApp("x")})
	c, err := load("", filepath.Join(dir, "config.toml"), labNames)
	if err != nil || c.File != "" || len(c.Apps) != 1 || !c.Apps[0].Everyone {
		t.Errorf("got %+v, %v", c, err)
	}
}

// TestDefaultGroupIsMissing starts without the group that packages create.
func TestDefaultGroupIsMissing(t *testing.T) {
	none := names{user: labNames.user, group: labLookup("group", nil)}
	for name, content := range map[string]string{"no file": "", "no table": "state_dir = \"x\"\n",
		"a table": "[socket]\nmode = \"0666\"\n"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, "config.toml")
			line := ""
			if content != "" {
				dir = lay(t, map[string]string{"config.toml": content})
				file = filepath.Join(dir, "config.toml")
			}
			if name == "a table" {
				line = ":1"
			}
			_, err := load("", file, none)
			want := file + line + `: the default of [socket] group names the group "tvpass", which does not exist: ` +
				`create it or correct the name, or write ""`
			expect(t, fmt.Sprint(err), want)
		})
	}
}

func socketPath(file string) string {
	part, _ := LoadPart(file) // every file has a path
	return part.SocketPath
}

func TestSocketPath(t *testing.T) {
	const byDefault = "/run/tvpassd/tvpassd.sock"
	for _, tt := range []struct{ name, content, want string }{
		{"absolute", "[socket]\npath = \"/a/b.sock\"", "/a/b.sock"},
		{"relative", "socket.path = 'b.sock'", "DIR/b.sock"},
		{"inline", "socket = { path = \"/a/b.sock\" }", "/a/b.sock"},
		{"with a BOM", "\uFEFF[socket]\npath = \"/a/b.sock\"", "/a/b.sock"},
		{"not given", "[http]\npath = \"/a/b.sock\"", byDefault},
		{"of the wrong type", "[socket]\npath = 5", byDefault},
		{"empty", "[socket]\npath = \"\"", byDefault},
		{"beside faults", "nonsense = 1\n[socket]\nmode = 5\npath = \"/a/b.sock\"\ngroup = \"none\"", "/a/b.sock"},
		{"before a syntax error", "[socket]\npath = \"/a/b.sock\"\nmode = 0660", "/a/b.sock"},
		{"behind a syntax error", "mode = 0660\n[socket]\npath = \"/a/b.sock\"", byDefault},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := lay(t, map[string]string{"config.toml": tt.content})
			expect(t, strings.ReplaceAll(socketPath(filepath.Join(dir, "config.toml")), dir, "DIR"), tt.want)
		})
	}
	expect(t, socketPath(t.TempDir()+"/missing.toml"), byDefault)
	expect(t, socketPath(t.TempDir()), byDefault)
}

// TestEndpoints spells one server in several ways: credentials are kept under the
// endpoint, so each server must have one spelling.
func TestEndpoints(t *testing.T) {
	for given, want := range map[string]string{
		"":                            production,
		"https://Pass.Example/":       "https://pass.example",
		"HTTPS://pass.example:443":    "https://pass.example",
		"https://pass.example:8443/x": "https://pass.example:8443/x",
		"https://pass.example:":       "https://pass.example",
		"http://127.0.0.1:80":         "http://127.0.0.1",
		"http://127.200.0.1:8080/":    "http://127.200.0.1:8080",
		"http://LOCALHOST:8080":       "http://localhost:8080",
		"http://[::1]:8080":           "http://[::1]:8080",
		"http://[::ffff:127.0.0.1]":   "http://[::ffff:127.0.0.1]",
	} {
		c, _ := mustLoad(t, map[string]string{"config.toml": fmt.Sprintf("endpoint = %q", given)})
		expect(t, c.Endpoint, want)
	}
	for name, want := range map[string]string{
		"release-production": "https://sp.auth.adobe.com", "release-staging": "https://sp.auth-staging.adobe.com",
		"prequal-production": "https://sp-prequal.auth.adobe.com",
		"prequal-staging":    "https://sp-prequal.auth-staging.adobe.com",
	} {
		c, _ := mustLoad(t, map[string]string{"config.toml": fmt.Sprintf("environment = %q", name)})
		expect(t, c.Endpoint, want)
	}
	for _, given := range []string{
		"http://10.0.0.1", "http://localhost.example", "http://127.0.0.1.example", "http://0.0.0.0", "http://[::]",
		"https://:443",
		"https:pass.example", "//pass.example", "https://pass.example:0", "https://pass example",
		"https://pass.example/?", "https://pass.example/#", "https://@pass.example", "unix:///run/x",
		" https://pass.example",
	} {
		dir := lay(t, map[string]string{"config.toml": fmt.Sprintf("endpoint = %q", given)})
		if c, err := loadDir(dir); err == nil {
			t.Errorf("%q was accepted as %s", given, c.Endpoint)
		}
	}
}

func TestProxies(t *testing.T) {
	for _, given := range []string{"http://proxy", "https://me:secret@proxy:3128/", "socks5://[::1]:1080",
		"socks5h://proxy:1080"} {
		c, _ := mustLoad(t, map[string]string{"config.toml": fmt.Sprintf("[http]\nproxy = %q", given)})
		if c.HTTP.Proxy == nil || c.HTTP.Proxy.String() != given {
			t.Errorf("%s became %v", given, c.HTTP.Proxy)
		}
	}
}

// TestLookups reads the lists of this system, which have root.
func TestLookups(t *testing.T) {
	for what, lookup := range map[string]func(string) (uint32, error){"user": lookupUser, "group": lookupGroup} {
		if id, err := parseID("root", lookup); id != 0 || err != nil {
			t.Errorf("%s root is %d, %v", what, id, err)
		}
		if id, err := parseID("4294967294", lookup); id != 4294967294 || err != nil {
			t.Errorf("%s 4294967294 is %d, %v", what, id, err)
		}
		_, err := parseID("no-such-name", lookup)
		expect(t, fmt.Sprint(err),
			fmt.Sprintf(`names the %s "no-such-name", which does not exist: create it or correct the name`, what))
	}
}

func TestReason(t *testing.T) {
	err := &fs.PathError{Op: "open", Path: "/x", Err: syscall.EACCES}
	expect(t, reason(err), fmt.Sprintf("can't be read: permission denied for user %d: let this user read it",
		os.Geteuid()))
}
