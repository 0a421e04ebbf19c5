package device

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// writeTree makes a file tree: names with their contents; one that begins with
// "-> " is a link to what follows.
func writeTree(tb testing.TB, files map[string]string) string {
	tb.Helper()
	root := tb.TempDir()
	for name, content := range files {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			tb.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			err = os.Symlink(strings.TrimSpace(target), name)
		} else {
			err = os.WriteFile(name, []byte(content), 0o644)
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
	return root
}

func probeFiles(tb testing.TB, files map[string]string, overrides map[string]any) *Report {
	tb.Helper()
	report, err := Probe(Options{Root: writeTree(tb, files), Overrides: overrides})
	if err != nil {
		tb.Fatal(err)
	}
	return report
}

func testTree(tb testing.TB, root string) *tree {
	tb.Helper()
	t, err := openTree(root)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { t.close() })
	return t
}

// The links of a live system: the device tree's is absolute, those of the
// interfaces climb up.
func TestLinksOfALiveSystemWorkUnderARoot(t *testing.T) {
	report := probeFiles(t, map[string]string{
		"proc/device-tree":                                   "-> /sys/firmware/devicetree/base",
		"sys/firmware/devicetree/base/model":                 "Example Board Rev 1.1\x00",
		"proc/net":                                           "-> self/net",
		"proc/self":                                          "-> 17",
		"proc/17/net/route":                                  routeTable("eth0 00000000 0 0003 0 0 0 00000000"),
		"sys/class/net/eth0":                                 "-> ../../devices/platform/usb/net/eth0",
		"sys/devices/platform/usb/net/eth0/type":             "1\n",
		"sys/devices/platform/usb/net/eth0/address":          "00:1b:21:00:00:01\n",
		"sys/devices/platform/usb/net/eth0/addr_assign_type": "0\n",
		"sys/devices/platform/usb/net/eth0/device":           "-> ../../../usb/1-1",
		"sys/devices/platform/usb/1-1/driver":                "-> ../../../../bus/usb/drivers/cdc_ether",
		"sys/class/net/eth1":                                 "-> ../../devices/pci/net/eth1",
		"sys/devices/pci/net/eth1/type":                      "1\n",
		"sys/devices/pci/net/eth1/address":                   "00:1b:21:00:00:02\n",
		"sys/devices/pci/net/eth1/addr_assign_type":          "0\n",
		"sys/devices/pci/net/eth1/device":                    "-> ../../../pci",
		"var/run":                                            "-> /run",
		"run/nyx/os_info.json":                               `{"webos_release":"6.0"}`,
	}, nil)
	for key, want := range map[string]any{"model": "Example Board", "version": "1.1", "connectionType": "cellular",
		"osVersion": "6.0"} {
		if got, _ := report.Info.Get(key); got != want {
			t.Errorf("%s is %v, want %v", key, got, want)
		}
	}
	if got := report.Identifier; got.Source != "mac" || string(got.Raw) != "001b21000002" {
		t.Errorf("the identifier is %s %q", got.Source, got.Raw)
	}
}

// A tree with something nasty in each place that is looked at: the probe returns
// soon, and finds nothing.
func TestHostileTree(t *testing.T) {
	root := writeTree(t, map[string]string{
		"proc/device-tree/model":                    "-> model",
		"proc/device-tree/compatible":               "\xff\xfe,\x01\x02\x00",
		"etc/os-release":                            strings.Repeat("A", 1<<20),
		"etc/device.properties":                     strings.Repeat("#", maxFile-4) + "\nMODEL_NUM=cut",
		"var/run/nyx/device_info.json":              strings.Repeat(`{"a":`, 10000),
		"sys/class/drm/card0-HDMI-A-1/status":       "connected",
		"sys/class/drm/card0-HDMI-A-1/edid":         "\x00\xff\xff\xff\xff\xff\xff\x00garbage",
		"sys/class/drm/card0-HDMI-A-1/modes":        "99999999999999999999x1\n-1x-1\nx\n0x0\n",
		"sys/class/net/eth0/address":                strings.Repeat("00:", 5000),
		"sys/class/net/loop":                        "-> loop",
		"sys/class/dmi/id/product_name/a-directory": "",
		"sys/class/dmi/id/bios_version":             "\x00\x00\x00",
	})
	fifos := []string{"proc/net/route", "proc/cpuinfo", "tmp/.STB_SER_NO", "version.txt", "system/build.prop",
		"sys/class/graphics/fb0/virtual_size", "etc/info.ini"}
	for _, name := range fifos {
		if err := os.MkdirAll(filepath.Join(root, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mkfifo(filepath.Join(root, name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan *Report, 1)
	go func() {
		report, err := Probe(Options{Root: root})
		if err != nil {
			t.Error(err)
		}
		done <- report
	}()
	select {
	case report := <-done:
		object, err := report.Info.MarshalJSON()
		want := `{"model":"unknown","version":"unknown","osName":"Linux","osFamily":"Linux","osVersion":"unknown",` +
			`"connectionType":"notAccessible"}`
		if string(object) != want || err != nil {
			t.Errorf("got %s, %v", object, err)
		}
		if report.Identifier.Source != "" {
			t.Errorf("an identifier: %v", report.Identifier)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the probe hangs")
	}
}

func TestReadIsBoundedAndDoneOnce(t *testing.T) {
	root := writeTree(t, map[string]string{"big": strings.Repeat("x", 1<<20), "small": "one"})
	tree := testTree(t, root)
	if got, err := tree.read("/big"); len(got) != maxFile || err != nil {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
	for _, content := range []string{"one", "two"} {
		if err := os.WriteFile(filepath.Join(root, "small"), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if got, err := tree.read("/small"); string(got) != "one" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
	}
}

// A tree of many large files can't eat the device's memory.
func TestReadIsBoundedInAll(t *testing.T) {
	root := writeTree(t, map[string]string{"big": strings.Repeat("x", maxFile)})
	tree := testTree(t, root)
	total := 0
	for i := range 2 * maxTotal / maxFile {
		data, err := tree.read(strings.Repeat("/", i) + "big")
		total += len(data)
		if (err == nil) != (data != nil) {
			t.Fatalf("%d bytes with %v", len(data), err)
		}
	}
	if total != maxTotal {
		t.Errorf("%d bytes were kept, want %d", total, maxTotal)
	}
}
