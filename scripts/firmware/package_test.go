// Package firmware tests what firmware builders get: versions that sort, packages,
// and the recipes of build systems.
package firmware

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// root is the checkout, seen from this package.
const root = "../.."

// run runs a command in the checkout and returns its output on both streams.
func run(t *testing.T, env []string, name string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = root, append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// must runs a command that has to succeed, and returns its standard output
// alone: go writes what it downloads to standard error.
func must(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = root, append(os.Environ(), env...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s%s", name, args, err, out, &stderr)
	}
	return strings.TrimSpace(string(out))
}

// need ends the test if a program is missing: scripts/setup installs it.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Fatalf("%s is missing: scripts/setup test", p)
		}
	}
}

// source is a copy of what scripts/version reads, in a repository of its own.
type source struct {
	t   *testing.T
	dir string
}

func newSource(t *testing.T) source {
	t.Helper()
	need(t, "git")
	s := source{t, t.TempDir()}
	for _, file := range []string{"scripts/version", "scripts/buildflags", "cmd/tvpassd/commit.go"} {
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		s.write(file, string(text))
	}
	s.git("init", "-q")
	s.git("config", "user.name", "test")
	s.git("config", "user.email", "test@localhost")
	return s
}

func (s source) write(file, text string) {
	s.t.Helper()
	path := filepath.Join(s.dir, file)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		s.t.Fatal(err)
	}
}

func (s source) git(args ...string) {
	s.t.Helper()
	if out, err := exec.Command("git", append([]string{"-C", s.dir}, args...)...).CombinedOutput(); err != nil {
		s.t.Fatalf("git %q: %v\n%s", args, err, out)
	}
}

// commit makes a commit whose changelog has these entries, the newest first.
func (s source) commit(entries ...string) {
	s.t.Helper()
	text := "# Changelog\n"
	for _, e := range entries {
		text += "\n## [" + e + "]\n"
	}
	s.write("CHANGELOG.md", text)
	s.git("add", ".")
	s.git("commit", "-q", "--allow-empty", "-m", "test")
}

// version asks scripts/version; manager may be "".
func (s source) version(manager string, env ...string) string {
	s.t.Helper()
	cmd := exec.Command(filepath.Join(s.dir, "scripts/version"))
	if manager != "" {
		cmd.Args = append(cmd.Args, manager)
	}
	cmd.Env = append(os.Environ(), append([]string{"VERSION=", "COMMIT=", "SOURCE_DATE_EPOCH="}, env...)...)
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatalf("%v: %v", cmd.Args, err)
	}
	return strings.TrimSpace(string(out))
}

// The versions of a project's life sort in the order in which they came, by what
// each package manager itself says.
func TestVersionsSort(t *testing.T) {
	t.Parallel()
	need(t, "dpkg", "rpm")
	s := newSource(t)
	var deb, apk []string
	note := func(env ...string) {
		deb = append(deb, s.version("", env...))
		apk = append(apk, s.version("apk", env...))
	}
	s.commit("1.0.0-rc1")
	s.git("tag", "v1.0.0-rc1")
	note()
	s.commit("Unreleased", "1.0.0-rc1")
	note()
	for range 10 { // ten comes after nine
		s.commit("Unreleased", "1.0.0-rc1")
	}
	note()
	note("VERSION=v1.0.0-rc.2")
	note("VERSION=1.0.0-rc10")
	s.commit("1.0.0", "1.0.0-rc1")
	s.git("tag", "v1.0.0")
	note()
	s.commit("Unreleased", "1.0.0", "1.0.0-rc1")
	note()
	for range 10 {
		s.commit("Unreleased", "1.0.0", "1.0.0-rc1")
	}
	note()
	note("VERSION=v1.1.0-rc1")
	note("VERSION=v1.1.0")

	if !strings.HasPrefix(deb[6], "1.1.0~dev.1+g") || !strings.HasPrefix(deb[1], "1.0.0~rc1+dev.1+g") {
		t.Errorf("between releases it is %s and %s", deb[1], deb[6])
	}
	less := func(manager string, versions []string, compare func(a, b string) bool) {
		for i, v := range versions[:len(versions)-1] {
			if next := versions[i+1]; !compare(v, next) || compare(next, v) {
				t.Errorf("%s: %s is not older than %s", manager, v, next)
			}
		}
	}
	less("dpkg", deb, func(a, b string) bool {
		return exec.Command("dpkg", "--compare-versions", a, "lt", b).Run() == nil
	})
	less("rpm", deb, func(a, b string) bool {
		return must(t, nil, "rpm", "--eval", "%{lua:print(rpm.vercmp('"+a+"', '"+b+"'))}") == "-1"
	})
	// These are in no Debian: the page docs/firmware.md says how to get them.
	if program := os.Getenv("APK"); program != "" {
		less("apk", apk, func(a, b string) bool { return must(t, nil, program, "version", "-t", a, b) == "<" })
	}
	if program := os.Getenv("OPKG"); program != "" {
		less("opkg", deb, func(a, b string) bool {
			return exec.Command(program, "-f", "/dev/null", "compare-versions", a, "<<", b).Run() == nil
		})
	}
	t.Logf("dpkg, rpm, opkg: %s\napk: %s", strings.Join(deb, " < "), strings.Join(apk, " < "))
}

// The script of a package fails for arguments that its manager never passes: in
// a package of another manager it would install neither user nor service.
func TestScriptsRefuseUnknownWords(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ manager, hook, words string }{
		{"rpm", "postinst", "configure"}, {"rpm", "postinst", ""}, {"rpm", "postinst", "1.0"}, {"rpm", "prerm", "remove"},
		{"rpm", "postrm", "purge"}, {"apk", "postinst", "configure"}, {"apk", "postinst", "1"}, {"apk", "postupgrade", "2"},
		{"apk", "postrm", "0"}, {"deb", "postinst", "1"}, {"deb", "postinst", ""}, {"deb", "prerm", "0"},
		{"deb", "postrm", "1.0.0"}, {"ipk", "postinst", "1"}, {"ipk", "postinst", "1.0.0"}, {"ipk", "prerm", "0"},
	} {
		script := "hook=" + test.hook + "\n"
		for _, part := range []string{"actions.sh", test.manager} {
			text, err := os.ReadFile(filepath.Join(root, "scripts/package", part))
			if err != nil {
				t.Fatal(err)
			}
			script += string(text)
		}
		cmd := exec.Command("sh", append([]string{"-s", "--"}, strings.Fields(test.words)...)...)
		cmd.Stdin, cmd.Env = strings.NewReader(script), []string{"PATH=/nowhere"}
		out, err := cmd.CombinedOutput()
		if err == nil || !bytes.Contains(out, []byte("unknown argument")) {
			t.Errorf("%s %s %s: %v, %s", test.manager, test.hook, test.words, err, out)
		}
	}
}

// Debian's own checker finds no fault in the package, and the shell scripts are
// portable.
func TestLint(t *testing.T) {
	t.Parallel()
	need(t, "lintian", "shellcheck")
	dir := t.TempDir()
	must(t, nil, "make", "-s", "dist/tvpassd-linux-amd64")
	deb := must(t, []string{"PACKAGERS=deb"}, "scripts/package/build", dir, "amd64")
	out, err := run(t, nil, "lintian", "--allow-root", "--fail-on", "error,warning", deb)
	if err != nil {
		t.Errorf("lintian: %v\n%s", err, out)
	}
	scripts := []string{"scripts/package/actions.sh", "scripts/package/build", "scripts/version", "scripts/notices",
		"daemon/service/tvpassd.init"}
	for _, script := range scripts {
		if out, err := run(t, nil, "shellcheck", "-x", script); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
}

// The man page is well formed, and has every key of the configuration.
func TestManPage(t *testing.T) {
	t.Parallel()
	need(t, "mandoc")
	if out, err := run(t, nil, "mandoc", "-T", "lint", "-W", "warning", "docs/tvpassd.8"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	named := strings.Fields(must(t, nil, "sed", "-n", `s/^\.\(It Va\|Va\|Ss\) //p`, "docs/tvpassd.8"))
	for name := range strings.FieldsSeq(must(t, nil, "sed", "-n", `s/^#\([a-z_]*\) *= .*/\1/p; s/^#\(\[.*\]\)$/\1/p`,
		"scripts/config.toml")) {
		if !slices.Contains(named, name) {
			t.Errorf("the man page lacks %s", name)
		}
	}
}
