package storage

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
)

// Both readers take a composed database for one of bbolt's, and bbolt goes on
// with it.
func TestBboltTakesAComposedDatabaseForItsOwn(t *testing.T) {
	for _, tc := range []struct {
		name string
		all  func(n int) entry
		many int
	}{
		{"nothing", nil, 0},
		{"one", func(int) entry { return entry{"key", []byte("1")} }, 1},
		{"as many as a device has", func(n int) entry { return entry{fmt.Sprint("key", n), make([]byte, 150*n)} }, 8},
		{"more than fits one page of any kind",
			func(n int) entry { return entry{fmt.Sprint("key", n), make([]byte, 900)} }, 500},
		{"a large one", func(n int) entry { return entry{fmt.Sprint("key", n), make([]byte, n*200_000)} }, 3},
	} {
		t.Run(tc.name, func(t *testing.T) {
			want := entries{}
			for n := range tc.many {
				e := tc.all(n)
				want[e.key] = e.value
			}
			file := compose(want.list())
			found, err := walk(file, metaPages(file)[0])
			if diff := cmp.Diff(want, found); diff != "" || err != nil {
				t.Errorf("our reader says %v (-want +got)\n%.1000s", err, diff)
			}
			path := filepath.Join(t.TempDir(), dbName)
			write(t, path, file)
			want["more"] = []byte("more")
			db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoFreelistSync: true})
			save(t, err)
			check := func() {
				t.Helper()
				save(t, db.View(func(tx *bbolt.Tx) error {
					for err := range tx.Check() {
						t.Errorf("bbolt: %v", err)
					}
					return nil
				}))
			}
			check()
			save(t, db.Update(func(tx *bbolt.Tx) error { return apply(tx, []entry{{"more", want["more"]}}) }))
			check()
			save(t, db.Close())
			file = read(t, path)
			found, err = walk(file, metaPages(file)[0])
			if diff := cmp.Diff(want, found); diff != "" || err != nil {
				t.Errorf("after a change by bbolt: %v (-want +got)\n%.1000s", err, diff)
			}
		})
	}
}

// The layout is bbolt's own affair, and every version may change it.
func TestTheLayoutIsThatOfTheRequiredBbolt(t *testing.T) {
	mod, err := os.ReadFile("../go.mod")
	save(t, err)
	required := regexp.MustCompile(`(?m)^\s*(?:require )?go\.etcd\.io/bbolt (\S+)`).FindSubmatch(mod)
	if required == nil {
		t.Fatal("go.mod does not require bbolt")
	}
	if got := string(required[1]); got != layoutOf {
		t.Errorf("go.mod requires bbolt %s, and salvage.go reads the layout of %s: compare the package internal/common "+
			"of both (page.go, meta.go, inode.go, bucket.go), then change layoutOf", got, layoutOf)
	}
	if strings.Contains(string(mod), "bbolt =>") {
		t.Error("go.mod replaces bbolt")
	}
}
