package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
)

// A firmware engineer sees for each value which place was used, and why the
// others were not.
func TestDevicePlaces(t *testing.T) {
	t.Parallel()
	tree := filepath.Join("..", "..", "device", "testdata", "pc-unfilled")
	r := exec1(t, "device", "--all", "--root", tree)
	r.expect(t, 0,
		"\nmodel\n", `used     /sys/class/dmi/id/board_name: "EX-N100"`,
		`passed   /sys/class/dmi/id/product_name: "To be filled by O.E.M." is a known placeholder`,
		"\ndevice identifier\n", `used     dmi-board-serial /sys/class/dmi/id/board_serial: "Example|EX-N100|`,
		"device/rules.go")
	var view struct {
		Info   map[string]any
		Places struct {
			Keys []struct {
				Key    string
				Places []struct {
					Place, Value, Why string
					Used              bool
				}
			}
		}
	}
	r = exec1(t, "device", "--all", "--json", "--root", tree)
	r.expect(t, 0)
	if err := json.Unmarshal([]byte(r.stdout), &view); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, key := range view.Places.Keys {
		for _, p := range key.Places {
			if p.Used && view.Info[key.Key] != nil {
				seen++
			}
			if p.Used && p.Why != "" {
				t.Errorf("%s: %s was used, and passed over: %s", key.Key, p.Place, p.Why)
			}
		}
	}
	if seen != len(view.Info) {
		t.Errorf("%d of %d values have the place that they come from", seen, len(view.Info))
	}
	r = exec1(t, "device", "--all", "--root", filepath.Join("..", "..", "device", "testdata", "empty"))
	r.expect(t, 0, "nothing  /etc/device.properties FRIENDLY_ID, ", "no usable serial number")
	if strings.Contains(r.stdout, "used     not found") {
		t.Errorf("a value that was not found was used:\n%s", r.stdout)
	}
}
