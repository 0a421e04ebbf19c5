package hardware

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tvpassd/tvpassd/device"
)

// The findings of the privileged step count only if nobody else could have put
// them there. No file in their place delays the start.
func TestFindingsOfOthersAreNotBelieved(t *testing.T) {
	want := Findings{Candidate: device.Candidate{Source: "dt-serial", Raw: []byte("A1B2C3D4E5F6")}}
	for _, tt := range []struct {
		name   string
		change func(dir, file string) error
		fault  string // "" if they are believed
	}{
		{"as written", func(_, _ string) error { return nil }, ""},
		{"for everybody to write", func(_, file string) error { return os.Chmod(file, 0o666) }, "everybody"},
		{"in a folder of everybody's", func(dir, _ string) error { return os.Chmod(dir, 0o777) }, "everybody"},
		{"a FIFO", func(_, file string) error {
			if err := os.Remove(file); err != nil {
				return err
			}
			return unix.Mkfifo(file, 0o600)
		}, "not a regular file"},
		{"a device", func(_, file string) error {
			if err := os.Remove(file); err != nil {
				return err
			}
			return os.Symlink("/dev/zero", file)
		}, `"zero" is writable for everybody`},
		{"endless", func(_, file string) error { return os.Truncate(file, 1<<40) }, "invalid character"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.Chmod(dir, 0o755); err != nil { // whatever the umask
				t.Fatal(err)
			}
			if err := want.Write(dir); err != nil {
				t.Fatal(err)
			}
			if err := tt.change(dir, filepath.Join(dir, findingsName)); err != nil {
				t.Fatal(err)
			}
			got, err := readFindings(dir)
			switch {
			case tt.fault == "" && (err != nil || !reflect.DeepEqual(got, want)):
				t.Errorf("got %+v, %v", got, err)
			case tt.fault != "" && (err == nil || !strings.Contains(err.Error(), tt.fault) || got.Source != ""):
				t.Errorf("got %+v, %v, want %q", got, err, tt.fault)
			}
		})
	}
	if got, err := readFindings(t.TempDir()); err != nil || got.Source != "" {
		t.Errorf("without that step: %+v, %v", got, err)
	}
}
