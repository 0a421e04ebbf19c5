//go:build release

package firmware

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A release of the same commit is the same, wherever it is made. It is signed with a
// key that is given, and names every module that is linked. `make release-check` runs
// this: it builds the tools of a release, which takes minutes.
func TestRelease(t *testing.T) {
	t.Parallel()
	need(t, "git", "ssh-keygen")
	if out, err := run(t, nil, "git", "rev-parse", "HEAD"); err != nil {
		t.Skipf("only a clone of the repository can be released: %v: %s", err, out)
	}
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	must(t, nil, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "throw-away", "-f", key)
	first, second := filepath.Join(dir, "first"), filepath.Join(dir, "second")
	source := "." // the second is a clone of the first: HEAD may have moved on
	for _, place := range []struct{ folder, out string }{{"clone", first}, {"another/deeper", second}} {
		clone, out := filepath.Join(dir, place.folder), place.out
		must(t, nil, "git", "clone", "-q", source, clone)
		source = clone
		must(t, []string{"KEY=" + key}, filepath.Join(clone, "scripts/release"), out)
	}
	must(t, nil, "diff", "-r", first, second)

	public, err := os.ReadFile(key + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	signers := filepath.Join(dir, "signers")
	if err := os.WriteFile(signers, []byte("release@tvpassd "+string(public)), 0o600); err != nil {
		t.Fatal(err)
	}
	verify := `cd "$1" && ssh-keygen -q -Y verify -f "$2" -I release@tvpassd -n file -s SHA256SUMS.sig <SHA256SUMS &&
		sha256sum --quiet -c SHA256SUMS`
	must(t, nil, "sh", "-c", verify, "sh", first, signers)

	expectFiles(t, first)
	expectModules(t, first)

	// One byte of any file, and one of the list, is noticed.
	must(t, nil, "sh", "-c", `echo >>"$1/NOTICES.txt"`, "sh", first)
	must(t, nil, "sh", "-c", `echo >>"$1/SHA256SUMS"`, "sh", second)
	for _, spoilt := range []string{first, second} {
		if out, err := run(t, nil, "sh", "-c", verify, "sh", spoilt, signers); err == nil {
			t.Errorf("%s was changed and verifies: %s", spoilt, out)
		}
	}
}

// expectFiles expects the binary of each target, the packages of each kind, and
// the source with what it is built of.
func expectFiles(t *testing.T, release string) {
	t.Helper()
	for pattern, want := range map[string]int{
		"*-linux-*": 7, "*.deb": 5, "*.rpm": 6, "*.apk": 5, "*.ipk": 7, "*-vendored.tar.gz": 1,
	} {
		if files, err := filepath.Glob(filepath.Join(release, pattern)); err != nil || len(files) != want {
			t.Errorf("%s: %q, %v; want %d files", pattern, files, err, want)
		}
	}
	source := must(t, nil, "sh", "-c", `tar -tzf "$1"/*-vendored.tar.gz`, "sh", release) + "\n"
	for _, file := range []string{"/NOTICES.txt", "/.tarball-version", "/vendor/modules.txt", "/scripts/firmware/pin"} {
		if !strings.Contains(source, file+"\n") {
			t.Errorf("the source lacks %s", file)
		}
	}
}

// expectModules expects every module that is linked in the SBOM and in the notices.
func expectModules(t *testing.T, release string) {
	t.Helper()
	var bom struct {
		Components []struct{ Name string }
	}
	files, err := filepath.Glob(filepath.Join(release, "*.cdx.json"))
	if err != nil || len(files) != 1 {
		t.Fatalf("SBOMs: %q, %v", files, err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &bom); err != nil {
		t.Fatal(err)
	}
	notices, err := os.ReadFile(filepath.Join(release, "NOTICES.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for module := range strings.FieldsSeq(must(t, nil, "scripts/modules")) {
		named := false
		for _, c := range bom.Components {
			named = named || c.Name == module
		}
		if !named {
			t.Errorf("the SBOM lacks %s", module)
		}
		if !strings.Contains(string(notices), module) {
			t.Errorf("the notices lack %s", module)
		}
	}
}
