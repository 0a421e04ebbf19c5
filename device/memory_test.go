package device

import "testing"

// A card moves from device to device, and viewers would be signed in elsewhere.
func TestACardIsNoIdentifier(t *testing.T) {
	for name, tree := range map[string]map[string]string{
		"an SD card": {
			"sys/block/mmcblk0/device/cid": "1b534d454431531062ab8c0a90014700\n", "sys/block/mmcblk0/device/type": "SD\n",
		},
		"a card of a kernel that does not say": {
			"sys/block/mmcblk0/device/cid": "1b534d454431531062ab8c0a90014700\n",
		},
		"an SDIO combination": {
			"sys/block/mmcblk0/device/cid": "1b534d454431531062ab8c0a90014700\n", "sys/block/mmcblk0/device/type": "SDcombo\n",
		},
	} {
		report, err := Probe(Options{Root: writeTree(t, tree)})
		if err != nil {
			t.Fatal(err)
		}
		if got := report.Identifier; got.Source != "" || len(got.Raw) > 0 {
			t.Errorf("%s: the identifier is %s %q", name, got.Source, got.Raw)
		}
	}
	tree := map[string]string{
		"sys/block/mmcblk0/device/cid": "1b534d454431531062ab8c0a90014700\n", "sys/block/mmcblk0/device/type": "SD\n",
		"sys/block/mmcblk1/device/cid": "150100424a54443452045d0ab8c1a47b\n", "sys/block/mmcblk1/device/type": "MMC\n",
	}
	report, err := Probe(Options{Root: writeTree(t, tree)})
	if err != nil {
		t.Fatal(err)
	}
	if got := report.Identifier; string(got.Raw) != "150100424a54443452045d0ab8c1a47b" {
		t.Errorf("beside a soldered memory: %s %q", got.Source, got.Raw)
	}
}
