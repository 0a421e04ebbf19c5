package config

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestChanged changes files after they were read.
func TestChanged(t *testing.T) {
	write := func(name, text string) func(string) error {
		return func(dir string) error { return os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600) }
	}
	for _, tt := range []struct {
		name   string
		change func(dir string) error
		want   string // the file, below the directory; "" if the change goes unnoticed
	}{
		{"nothing", func(string) error { return nil }, ""},
		{"touched", func(dir string) error { return os.Chtimes(dir+"/config.toml", time.Time{}, time.Unix(1, 0)) }, ""},
		{"written as it was", write("config.toml", "log_level = \"info\"\n"), ""},
		{"edited in place", write("config.toml", "log_level = \"warn\"\n"), "config.toml"},
		{"replaced", func(dir string) error {
			must(t, write("new", "log_level = \"warn\"\n")(dir))
			return os.Rename(dir+"/new", dir+"/config.toml")
		}, "config.toml"},
		{"opened to others", func(dir string) error { return os.Chmod(dir+"/config.toml", 0o644) }, "config.toml"},
		{"removed", func(dir string) error { return os.Remove(dir + "/config.toml") }, "config.toml"},
		{"an app edited", write("apps.d/a.toml", labApp("z")), "apps.d/a.toml"},
		{"an app added", write("apps.d/new.toml", labApp("z")), "apps.d"},
		{"an app removed", func(dir string) error { return os.Remove(dir + "/apps.d/a.toml") }, "apps.d"},
		{"an app renamed", func(dir string) error { return os.Rename(dir+"/apps.d/a.toml", dir+"/apps.d/0.toml") },
			"apps.d"},
		{"a statement edited", write("apps.d/b.jwt", "x"), "apps.d/b.jwt"},
		{"a missing statement made", write("apps.d/c.jwt", labStatement), "apps.d/c.jwt"},
		{"a backup", write("apps.d/a.toml~", "x"), ""},
		{"a hidden file", write("apps.d/.a.toml", "x"), ""},
		{"another file", write("apps.d/README", "x"), ""},
		{"apps.d removed", func(dir string) error { return os.RemoveAll(dir + "/apps.d") }, "apps.d"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, dir := mustLoad(t, map[string]string{
				"config.toml": "log_level = \"info\"\n", "apps.d/a.toml": labApp("x"), "apps.d/b.jwt": labStatement,
				"apps.d/b.toml": "[[app]]\nid = \"b\"\nsoftware_statement_file = \"b.jwt\"\n",
				"apps.d/c.toml": "[[app]]\nid = \"c\"\nsoftware_statement_file = \"c.jwt\"\n",
			})
			must(t, tt.change(dir))
			want := tt.want
			if want != "" {
				want = filepath.Join(dir, want)
			}
			expect(t, c.changed(), want)
		})
	}
}

// A user's file that names a statement of root's does not hide its changes.
func TestChangedBehindAnothersRefusal(t *testing.T) {
	asRoot(t)
	dir := layOwned(t, "private.jwt")
	roots := filepath.Join(dir, "apps.d/roots.toml")
	must(t, os.WriteFile(roots, []byte("[[app]]\nid = \"r\"\nsoftware_statement_file = \"private.jwt\"\n"), 0o600))
	c, err := loadDir(dir)
	must(t, err)
	expect(t, len(c.Apps), 1)
	expect(t, c.changed(), "")
	statement := filepath.Join(dir, "apps.d/private.jwt")
	must(t, os.WriteFile(statement, []byte(labStatement+"\n"), 0o600))
	expect(t, c.changed(), statement)
}

func TestChangedWithoutConfig(t *testing.T) {
	dir := t.TempDir()
	c, err := load("", filepath.Join(dir, "config.toml"), labNames)
	must(t, err)
	expect(t, c.changed(), "")
	must(t, os.WriteFile(filepath.Join(dir, "config.toml"), nil, 0o600))
	expect(t, c.changed(), filepath.Join(dir, "config.toml"))
}

// A file that hangs keeps one thread, however often it is looked at, and does not
// hide changes of others.
func TestChangedBesideAFileThatHangs(t *testing.T) {
	c, dir := mustLoad(t, map[string]string{
		"config.toml": "", "apps.d/a.toml": labApp("x"), "apps.d/b.toml": labApp("y")})
	hang(t, filepath.Join(dir, "hung"))
	hung, other := filepath.Join(dir, "apps.d/a.toml"), filepath.Join(dir, "apps.d/b.toml")
	for i := range c.seen { // as if it had answered then
		if c.seen[i].name == hung {
			c.seen[i].name = filepath.Join(dir, "hung/x")
		}
	}
	for range 3 {
		expect(t, c.changed(), "")
		expectHung(t, c.disk, filepath.Join(dir, "hung/x"))
	}
	must(t, os.WriteFile(other, []byte(labApp("z")), 0o600))
	expect(t, c.changed(), other)
}

// TestDrift follows two configurations, and gets an answer while a file hangs.
func TestDrift(t *testing.T) {
	c, dir := mustLoad(t, map[string]string{"config.toml": labApp("x")})
	file := filepath.Join(dir, "config.toml")
	var d Disk
	expect(t, d.Changed(c), "")
	must(t, os.WriteFile(file, []byte(labApp("y")), 0o600))
	d.next = time.Time{} // it need not wait
	expect(t, d.Changed(c), file)
	again, err := loadDir(dir)
	must(t, err)
	expect(t, d.Changed(again), "")

	asRoot(t)
	must(t, os.Remove(file))
	hang(t, filepath.Join(dir, "hung"))
	must(t, os.Symlink("hung/x", file))
	d.next = time.Time{}
	expect(t, d.Changed(again), "") // not known, and not waited for
}
