package device

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// folders hold file trees of devices: our own, and a larger collection that is not
// part of the project.
var folders = []string{"testdata", "../../shared/devices"}

// TestTrees probes every tree and compares the outcome with the expected.json and
// expected_id.json in it.
func TestTrees(t *testing.T) {
	for _, folder := range folders {
		t.Run(filepath.Base(folder), func(t *testing.T) {
			trees := treesIn(t, folder)
			if len(trees) == 0 {
				t.Skipf("no trees in %s", folder)
			}
			for _, tree := range trees {
				t.Run(filepath.Base(tree), func(t *testing.T) { checkTree(t, tree) })
			}
		})
	}
}

// TestKinds does the same for the kinds of devices in testdata/kinds, one file
// each. It begins with what is special about the kind; after each line "-- name
// --" comes a file's content, where \0 is a NUL. A NUL at the end of a line
// replaces the line break.
func TestKinds(t *testing.T) {
	kinds, err := filepath.Glob("testdata/kinds/*.txt")
	if err != nil || len(kinds) == 0 {
		t.Fatalf("no kinds: %v", err)
	}
	for _, kind := range kinds {
		t.Run(strings.TrimSuffix(filepath.Base(kind), ".txt"), func(t *testing.T) {
			checkTree(t, writeTree(t, readArchive(t, kind)))
		})
	}
}

func readArchive(tb testing.TB, name string) map[string]string {
	tb.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		tb.Fatal(err)
	}
	files := map[string]string{}
	at := ""
	for line := range strings.Lines(string(data)) {
		if file, ok := strings.CutPrefix(strings.TrimSuffix(line, " --\n"), "-- "); ok {
			at = file
		} else if at != "" {
			files[at] += strings.NewReplacer("\\0\n", "\x00", `\0`, "\x00").Replace(line)
		}
	}
	return files
}

func treesIn(tb testing.TB, folder string) []string {
	tb.Helper()
	found, err := filepath.Glob(filepath.Join(folder, "*", "expected.json"))
	if err != nil {
		tb.Fatal(err)
	}
	for i := range found {
		found[i] = filepath.Dir(found[i])
	}
	return found
}

func checkTree(t *testing.T, tree string) {
	report, err := Probe(Options{Root: tree})
	if err != nil {
		t.Fatal(err)
	}
	want := readJSON(t, filepath.Join(tree, "expected.json"))
	object, err := json.Marshal(report.Info)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(object, &got); err != nil {
		t.Fatalf("the info is not JSON: %v\n%s", err, object)
	}
	all := maps.Clone(want)
	maps.Copy(all, got)
	for _, key := range slices.Sorted(maps.Keys(all)) {
		t.Logf("%-20s %-32v %s", key, got[key], report.Sources[key])
		if got[key] != want[key] {
			t.Errorf("%-20s is %v (from %s), want %v", key, got[key], report.Sources[key], want[key])
		}
		if got[key] != nil && report.Sources[key] == "" {
			t.Errorf("%-20s is %v from nowhere", key, got[key])
		}
	}
	checkIdentifier(t, tree, report.Identifier)
}

func checkIdentifier(t *testing.T, tree string, got Candidate) {
	want := readJSON(t, filepath.Join(tree, "expected_id.json"))
	raw, _ := want["raw"].(string)
	if digits, ok := want["raw_hex"].(string); ok {
		b, err := hex.DecodeString(digits)
		if err != nil {
			t.Fatal(err)
		}
		raw = string(b)
	}
	if string(got.Raw) != raw {
		t.Errorf("the identifier is made of %q (%s), want %q (%v)", got.Raw, got.Source, raw, want["source"])
	}
	if (got.Source == "") != (raw == "") {
		t.Errorf("the identifier's source is %q, want %v", got.Source, want["source"])
	}
	t.Logf("%-18s %q, expected from: %v", got.Source, got.Raw, want["source"])
}

func readJSON(t *testing.T, name string) map[string]any {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var object map[string]any
	if err := json.Unmarshal(data, &object); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return object
}

// everyFile calls seen with each file of all trees whose path ends in suffix.
func everyFile(tb testing.TB, suffix string, seen func(data []byte)) {
	tb.Helper()
	for _, folder := range folders {
		err := filepath.WalkDir(folder, func(name string, entry fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil || !entry.Type().IsRegular() || !strings.HasSuffix(name, suffix) {
				return err
			}
			data, err := os.ReadFile(name)
			if err == nil {
				seen(data)
			}
			return err
		})
		if err != nil {
			tb.Fatal(err)
		}
	}
}
