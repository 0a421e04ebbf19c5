package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Inspect reports what the two files hold, and changes nothing.
func TestInspectReadsAndLeavesAlone(t *testing.T) {
	whole := newSample(t)
	for _, tc := range []struct {
		name         string
		db, kept     []byte
		dbErr, cpErr error
		registered   int
	}{
		{"sound", whole.db, whole.copy, nil, nil, 2},
		{"damaged database", hurt(whole.db, noise), whole.copy, ErrDamaged, nil, 2},
		{"damaged copy", whole.db, hurt(whole.copy, noise), nil, ErrDamaged, 2},
		{"no database", nil, whole.copy, fs.ErrNotExist, nil, 2},
		{"nothing", nil, nil, fs.ErrNotExist, fs.ErrNotExist, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := put(t, tc.db, tc.kept)
			before := lookAt(t, dir)
			got, err := Inspect(dir)
			if err != nil || !errors.Is(got.Database, tc.dbErr) || !errors.Is(got.Copy, tc.cpErr) ||
				got.Registered != tc.registered ||
				(got.Identifier != nil) != (tc.registered > 0) {
				t.Errorf("Inspect gives %+v, %v", got, err)
			}
			if diff := cmp.Diff(before, lookAt(t, dir)); diff != "" {
				t.Errorf("it changed the files (-before +after):\n%s", diff)
			}
		})
	}
}

// A start ends if what can't be read may be sound, and Inspect says so.
func TestRefusal(t *testing.T) {
	gone := &fs.PathError{Op: "read", Path: "x", Err: syscall.ESTALE}
	bad := fmt.Errorf("%w: %w", ErrDamaged, syscall.EIO)
	for _, tc := range []struct {
		db, kept error
		refused  bool
	}{
		{nil, gone, false},
		{bad, nil, false},
		{fs.ErrNotExist, fs.ErrNotExist, false},
		{ErrDamaged, ErrDamaged, false},
		{ErrDamaged, fs.ErrNotExist, false},
		{gone, nil, true},
		{bad, bad, true},
		{bad, fs.ErrNotExist, true},
		{ErrDamaged, bad, true},
		{ErrDamaged, gone, true},
		{fs.ErrNotExist, gone, true},
	} {
		if err := refusal(tc.db, tc.kept); (err != nil) != tc.refused {
			t.Errorf("%v, %v: %v", tc.db, tc.kept, err)
		}
	}
	dir := put(t, hurt(newSample(t).db, noise), nil)
	if err := os.Symlink(strings.Repeat("x", 300), filepath.Join(dir, copyName)); err != nil {
		t.Fatal(err)
	}
	if got, err := Inspect(dir); err != nil || got.Refused == nil {
		t.Errorf("Inspect gives %+v, %v", got, err)
	}
}

func TestInspectKeepsAwayFromARunningDaemon(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	fill(t, s)
	if _, err := Inspect(dir); !errors.Is(err, ErrInUse) {
		t.Errorf("Inspect of a state directory in use gives %v", err)
	}
	shut(t, s)
	if got, err := Inspect(dir); err != nil || got.Gate != labGate {
		t.Errorf("after its end Inspect gives %+v, %v", got, err)
	}
	expectFilled(t, open(t, dir))
	if _, err := Inspect(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Inspect of no directory gives %v", err)
	}
}
