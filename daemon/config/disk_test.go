package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// load reads a configuration once.
func load(file, otherwise string, n names) (*Config, error) {
	return new(Disk).load(file, otherwise, n)
}

// However often a configuration is read, a file that hangs keeps one thread, and
// all of them keep a limited number. Files of users leave root's their share. A
// vital one may keep maxTries.
func TestReloadsBesideFilesThatHang(t *testing.T) {
	asRoot(t)
	dir := lay(t, map[string]string{"config.toml": labApp("own"), "apps.d/00.toml": labApp("first")})
	hang(t, filepath.Join(dir, "hung"))
	const users = 12345
	for i := range 3 * maxHung {
		name := filepath.Join(dir, fmt.Sprintf("apps.d/%02d.toml", i+1))
		must(t, os.Symlink(fmt.Sprintf("../hung/%02d", i), name))
		if i < 2*maxHung {
			must(t, os.Lchown(name, users+i, users))
		}
	}
	var disk Disk
	for range 3 {
		c, err := disk.load(filepath.Join(dir, "config.toml"), "", labNames)
		must(t, err)
		if len(c.Apps) != 2 || len(c.Bad) != 3*maxHung || !c.Late {
			t.Errorf("%d apps, %d faults, late %v", len(c.Apps), len(c.Bad), c.Late)
		}
		expect(t, c.changed(), "")
		counts := map[bool]int32{}
		for _, c := range disk.hung {
			if c != nil {
				counts[c.author != 0] += c.hangs.Load()
			}
		}
		if counts[true] > maxHung || counts[false] > maxHung+maxTries || counts[false] == 0 {
			t.Errorf("%d files of users and %d of root's hang", counts[true], counts[false])
		}
	}
}

// Files that were read before may hang, too, all at once. They keep a limited number
// of threads however often they are tried, and leave some for those that are vital.
func TestManyKnownFilesHang(t *testing.T) {
	var disk Disk
	calls := 0
	try := func(format string, vital bool) {
		for i := range 10 * maxHung {
			c, err := disk.begin(fmt.Sprintf(format, i), 0, vital)
			if err != nil {
				continue
			}
			calls++
			c.hangs.Store(1)
			disk.end(c)
		}
	}
	for i := range 10 * maxHung {
		disk.last = append(disk.last, trace{name: fmt.Sprintf("known%d", i)})
	}
	for range 3 {
		try("known%d", false)
		try("new%d", false)
		expect(t, calls, 2*maxHung)
	}
	for range 3 {
		try("vital%d", true)
		expect(t, calls, len(disk.hung))
	}
}

// A file that a person asks for again is read again, though calls for it hang: by now
// it may be another one.
func TestAFileThatIsAskedForAgain(t *testing.T) {
	dir := lay(t, map[string]string{"config.toml": labApp("own"), "good.toml": labApp("first")})
	hung := t.TempDir()
	hang(t, hung)
	must(t, os.Mkdir(dir+"/apps.d", 0o755))
	must(t, os.Symlink(hung+"/x", dir+"/apps.d/a.toml"))
	var disk Disk
	load := func(apps, hung int) {
		t.Helper()
		c, err := disk.load(filepath.Join(dir, "config.toml"), "", labNames)
		must(t, err)
		expect(t, len(c.Apps), apps)
		expectHung(t, &disk, slices.Repeat([]string{dir + "/apps.d/a.toml"}, hung)...)
	}
	load(1, 1)
	load(1, 1)
	disk.Again()
	load(1, 2)
	must(t, os.Remove(dir+"/apps.d/a.toml"))
	must(t, os.Rename(dir+"/good.toml", dir+"/apps.d/a.toml"))
	load(1, 2)
	disk.Again()
	load(2, 2)
	for range 2 * maxTries {
		disk.Again()
	}
	third, err := disk.begin(dir+"/apps.d/a.toml", 0, false)
	must(t, err)
	third.hangs.Store(1)
	disk.end(third)
	if _, err := disk.begin(third.name, 0, false); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a fourth call: %v", err)
	}
}

// The configuration and the folder of the apps are read however many files hang.
func TestConfigurationBesideManyFilesThatHang(t *testing.T) {
	dir := lay(t, map[string]string{"config.toml": "", "apps.d/a.toml": labApp("a")})
	file := filepath.Join(dir, "config.toml")
	var disk Disk
	for i := range 2 * maxHung {
		c := &call{name: fmt.Sprint(i)}
		c.hangs.Store(1)
		disk.end(c)
	}
	for written, changed := range map[string]string{"config.toml": "config.toml", "apps.d/b.toml": "apps.d"} {
		c, err := disk.load(file, "", labNames)
		must(t, err)
		expect(t, c.changed(), "")
		must(t, os.WriteFile(filepath.Join(dir, written), []byte(labApp(filepath.Base(written)[:1])), 0o600))
		expect(t, c.changed(), filepath.Join(dir, changed))
	}
}
