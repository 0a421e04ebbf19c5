package device

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tvpassd/tvpassd/device/hostfile"
)

// probeTrusted probes a tree as if it were this device: owners count.
func probeTrusted(t *testing.T, root string) *Report {
	t.Helper()
	tree := testTree(t, root)
	dir, err := hostfile.Open(root, hostfile.Rule{Trusted: true})
	if err != nil {
		t.Fatal(err)
	}
	tree.dir.Close()
	tree.dir = dir
	return probeTree(tree, Options{Root: root, All: true})
}

// The files of the tree that tampering changes.
const stb, secret = "tmp/.STB_SER_NO", "root/secret"

// chown gives a file to another user.
func chown(name string) func(root string) error {
	return func(root string) error { return os.Lchown(filepath.Join(root, name), 12345, 12345) }
}

// replaceSTB puts something else in the place of a serial number.
func replaceSTB(with func(root, name string) error) func(root string) error {
	return func(root string) error {
		name := filepath.Join(root, stb)
		if err := os.Remove(name); err != nil {
			return err
		}
		return with(root, name)
	}
}

func linkOfAnother(_, name string) error {
	if err := os.Symlink("/"+secret, name); err != nil {
		return err
	}
	return os.Lchown(name, 12345, 12345)
}

// tamperTree makes the tree of a device that has two serial numbers, and a secret.
func tamperTree(t *testing.T) (root string) {
	t.Helper()
	root = writeTree(t, map[string]string{stb: "PAW409913744\n", secret: "S3CR3T-74A91\n",
		"etc/device.properties":  "FRIENDLY_ID=\"Example X1\"\n",
		"proc/device-tree/model": "Example Board\x00", "proc/device-tree/serial-number": "82c00107e4a3b9c5\x00"})
	for name, mode := range map[string]fs.FileMode{"tmp": 0o777 | fs.ModeSticky, secret: 0o600} {
		if err := os.Chmod(filepath.Join(root, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// A file of another user is no evidence about the device.
func TestFilesOfOthersAreNoEvidence(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("run as root: files of other users are made here")
	}
	for _, test := range []struct {
		name       string
		change     func(root string) error
		identifier string // where it comes from
		raw        string // what is listed of rdk-serial
		model      string
	}{
		{"root's own", func(string) error { return nil }, "rdk-serial", "PAW409913744", "Example X1"},
		{"another's file", chown(stb), "dt-serial", "PAW409913744", "Example X1"},
		{"a link to a secret", replaceSTB(linkOfAnother), "dt-serial", "", "Example X1"},
		{"root's link to a secret", replaceSTB(func(root, name string) error { return os.Symlink("/"+secret, name) }),
			"rdk-serial", "S3CR3T-74A91", "Example X1"},
		{"a second name of a secret", replaceSTB(
			func(root, name string) error { return os.Link(filepath.Join(root, secret), name) }),
			"dt-serial", "", "Example X1"},
		{"a FIFO", replaceSTB(func(_, name string) error { return unix.Mkfifo(name, 0o666) }), "dt-serial", "",
			"Example X1"},
		{"a description for everybody", func(root string) error {
			return os.Chmod(filepath.Join(root,
				"etc/device.properties"), 0o666)
		},
			"dt-serial", "PAW409913744", "Example Board"},
		{"a folder of another", chown("etc"), "dt-serial", "PAW409913744", "Example Board"},
	} {
		root := tamperTree(t)
		if err := test.change(root); err != nil {
			t.Fatal(err)
		}
		report := probeTrusted(t, root)
		if got := report.Identifier.Source; got != test.identifier {
			t.Errorf("%s: the identifier comes from %q, want %q", test.name, got, test.identifier)
		}
		raw := ""
		for _, c := range report.Identifiers {
			if c.Source == "rdk-serial" {
				raw = string(c.Raw)
				if c.Untrusted != (test.identifier != "rdk-serial") {
					t.Errorf("%s: untrusted is %v: %s", test.name, c.Untrusted, c.Doubt)
				}
			}
		}
		if raw != test.raw {
			t.Errorf("%s: %q is listed, want %q", test.name, raw, test.raw)
		}
		if got, _ := report.Info.Get("model"); got != test.model {
			t.Errorf("%s: the model is %v, want %s", test.name, got, test.model)
		}
	}
}

// Owners count on this device, and not in a tree.
func TestOwnersCountLive(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("run as root: files of other users are made here")
	}
	root := writeTree(t, map[string]string{"file": "x"})
	if err := os.Chown(filepath.Join(root, "file"), 12345, 12345); err != nil {
		t.Fatal(err)
	}
	if data, err := testTree(t, "").read(filepath.Join(root, "file")); !errors.Is(err, hostfile.ErrUntrusted) {
		t.Errorf("another user's file: %q, %v", data, err)
	}
	if data, err := testTree(t, root).read("/file"); string(data) != "x" || err != nil {
		t.Errorf("in a tree: %q, %v", data, err)
	}
}

func TestWhyAPlaceWasPassedOver(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("run as root: files of other users are made here")
	}
	root := writeTree(t, map[string]string{"etc/device.properties": "FRIENDLY_ID=X\n", "etc/os-release": "ID=x\n",
		"sys/class/dmi/id/product_name": "Default string\n", "sys/class/dmi/id/board_name": "EX-1\n",
		"proc/net/route": routeTable()})
	if err := os.Chown(filepath.Join(root, "etc/device.properties"), 12345, 12345); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, p := range probeTrusted(t, root).Passed {
		if p.Key == "model" {
			got[p.Source] = p.Why
		}
	}
	for place, want := range map[string]string{
		"/etc/device.properties FRIENDLY_ID": `other users could have put it there: "device.properties" belongs to ` +
			`user 12345`,
		"/sys/class/dmi/id/product_name": "names the field instead of a value",
		"/proc/device-tree/model":        "",
	} {
		if why, ok := got[place]; why != want || !ok {
			t.Errorf("%s: %q, %v, want %q", place, why, ok, want)
		}
	}
}
