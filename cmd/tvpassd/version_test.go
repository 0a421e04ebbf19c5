package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestBuildTime(t *testing.T) {
	for _, test := range []struct {
		what  string
		dates []string
		want  string // "" if none of them can be it
	}{
		{"seconds", []string{"1795478400"}, "2026-11-24T00:00:00Z"},
		{"RFC 3339", []string{"2026-11-24T01:00:00+01:00"}, "2026-11-24T00:00:00Z"},
		{"the first wins", []string{"1795478400", "1800000000"}, "2026-11-24T00:00:00Z"},
		{"nothing from the linker", []string{"", "1795478400", "2027-01-01T00:00:00Z"}, "2026-11-24T00:00:00Z"},
		{"no such date", []string{"yesterday", "1795478400"}, "2026-11-24T00:00:00Z"},
		{"what Yocto takes for unknown", []string{"1302044400", "", "2026-11-24T00:00:00Z"}, "2026-11-24T00:00:00Z"},
		{"1970", []string{"0"}, ""},
		{"none", []string{"", "", ""}, ""},
	} {
		got := ""
		if at := buildTime(test.dates...); at != nil {
			got = at.Format(time.RFC3339)
		}
		if got != test.want {
			t.Errorf("%s: %q, not %q", test.what, got, test.want)
		}
	}
}

// Each version of ARM has a file of its own with its name.
func TestTargetNamesTheVersionOfARM(t *testing.T) {
	t.Parallel()
	for _, target := range []struct{ arch, arm, want string }{
		{"arm", "5", "armv5"}, {"arm", "6", "armv6"}, {"arm", "7", "armv7"}, {"arm", "7,softfloat", "armv7"},
		{"arm64", "", "other"}, {"amd64", "", "other"},
	} {
		list := exec.Command("go", "list", "-f", `{{join .GoFiles " "}}`, ".")
		list.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+target.arch, "GOARM="+target.arm)
		out, err := list.Output()
		if err != nil {
			t.Fatal(err)
		}
		files := string(out)
		if strings.Count(files, "target_") != 1 || !strings.Contains(files, "target_"+target.want+".go") {
			t.Errorf("%v: %s", target, files)
		}
	}
}

// The command and the flag say the same, in words and as JSON.
func TestVersion(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"version"}, {"--version"}, {"-version"}, {"--config", "/nowhere", "--version"}} {
		exec1(t, args...).expect(t, 0, "tvpassd 1.2.3 (commit ", "built 2026-01-01T00:00:00Z", runtime.Version(),
			"linux/"+runtime.GOARCH)
		r := exec1(t, append(args, "--json")...)
		r.expect(t, 0)
		var got map[string]string
		if err := json.Unmarshal([]byte(r.stdout), &got); err != nil {
			t.Fatalf("%v: %v in %s", args, err, r.stdout)
		}
		for key, want := range map[string]string{"version": "1.2.3", "build_date": "2026-01-01T00:00:00Z",
			"go": runtime.Version(), "target": "linux/" + runtime.GOARCH} {
			if got[key] != want {
				t.Errorf("%v: %s is %q, not %q", args, key, got[key], want)
			}
		}
		if got["commit"] == "" {
			t.Errorf("%v: no commit in %s", args, r.stdout)
		}
	}
	exec1(t, "--version", "status").expect(t, 64)
}

// The same commit is the same binary, from a clone, an archive and a vendored
// archive. `make reproducible` does so with an empty build cache, too.
func TestReproducible(t *testing.T) {
	t.Parallel()
	needClone(t)
	if out, err := exec.Command("../../scripts/reproducible", "-q").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func needClone(t *testing.T) {
	t.Helper()
	if out, err := exec.Command("git", "-C", "../..", "rev-parse", "HEAD").CombinedOutput(); err != nil {
		t.Skipf("only a clone of the repository can be archived: %v: %s", err, out)
	}
}

// A program that a person builds from a source archive, without any of our
// flags, takes its date from there; one that nothing dates warns of it.
func TestBuildDateWithoutFlags(t *testing.T) {
	l := newLab(t)
	plain := func(source string) string {
		t.Helper()
		program := l.path(filepath.Base(source) + ".built")
		build := exec.Command("go", "build", "-buildvcs=false", "-tags", programs.tags, "-o", program, "./cmd/tvpassd")
		build.Dir = source
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return program
	}
	needClone(t)
	archive := `mkdir "$1" && git -C ../.. archive HEAD | tar -xC "$1" && git log -1 --format=%ct`
	out, err := exec.Command("sh", "-euc", archive, "sh", l.path("archive")).Output()
	l.must(err)
	want := buildTime(strings.TrimSpace(string(out))).Format(time.RFC3339)
	l.exec(nil, "", plain(l.path("archive")), "version").expect(t, 0, "built "+want)

	undated := plain("../..")
	l.exec(nil, "", undated, "version").expect(t, 0, "build date unknown")
	l.daemon = l.start(undated, "run", "--config", l.path("config.toml"))
	t.Cleanup(l.daemon.kill)
	l.daemon.until("socket", func() bool { return l.exists("sock") })
	l.token()
	l.run("status").expect(t, 1, "warning build_date_missing", "SOURCE_DATE_EPOCH")
	r := l.exec(nil, "", undated, "doctor", "--config", l.path("config.toml"))
	if !strings.Contains(strings.Join(strings.Fields(r.stdout), " "), "WARNING build: ") {
		t.Errorf("doctor says nothing of it:\n%s", r.stdout)
	}
}
