package hardware

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/tvpassd/tvpassd/device"
	"github.com/tvpassd/tvpassd/ipc"
	"github.com/tvpassd/tvpassd/storage"
)

// kept is a store with an identifier.
type kept struct {
	id storage.Identifier
}

func (k *kept) Identifier() (storage.Identifier, bool) { return k.id, k.id.Source != "" }

func (k *kept) SaveIdentifier(id storage.Identifier) error {
	k.id = id
	return nil
}

// serials makes a device tree with a serial number from the device tree and one
// from DMI; "" leaves one out.
func serials(t *testing.T, dt, dmi string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range map[string]string{
		"proc/device-tree/serial-number": dt, "sys/class/dmi/id/product_serial": dmi, "etc/os-release": "ID=test",
	} {
		if content == "" {
			continue
		}
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// Only the identifier's own source decides about a warning: an update that
// reads a better source warns nobody.
func TestStoredIdentifierIsComparedWithItsOwnSource(t *testing.T) {
	const serial, other, better = "A1B2C3D4E5F6", "0F9E8D7C6B5A", "PF3XKQ27"
	chosen := func(source, raw string) storage.Identifier {
		id := device.Candidate{Source: source, Raw: []byte(raw)}.Identifier()
		return storage.Identifier{Value: id.Value, Source: id.Source}
	}
	dmi := Findings{Candidate: device.Candidate{Source: "dmi-product-serial", Raw: []byte(better)}}
	for _, tc := range []struct {
		name     string
		stored   storage.Identifier
		dt       string
		findings *Findings
		want     []string
	}{
		{"the same", chosen("dt-serial", serial), serial, nil, nil},
		{"the same in the other case", chosen("dt-serial", "a1b2c3d4e5f6"), serial, nil, nil},
		{"a better source became readable", chosen("dt-serial", serial), serial, &dmi, nil},
		{"another board", chosen("dt-serial", serial), other, nil, []string{"identifier_mismatch"}},
		{"its source is gone", chosen("dt-serial", serial), "", &dmi, []string{"identifier_source_gone"}},
		{"generated, and now there is a serial", storage.Identifier{Value: "00", Source: device.Generated}, serial, nil,
			[]string{"identifier_generated"}},
		{"what only root may read, handed over", chosen("dmi-product-serial", better), serial, &dmi, nil},
		{"handed over, but not the best",
			chosen("dmi-board-serial", "ACME|X1|77ABCD99"), serial,
			&Findings{dmi.Candidate, []device.Candidate{{Source: "dmi-board-serial", Raw: []byte("ACME|X1|77ABCD99")}}}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			store := &kept{id: tc.stored}
			h := New(Config{Root: serials(t, tc.dt, ""), Findings: tc.findings, Store: store,
				Log: slog.New(slog.DiscardHandler)})
			h.Settle()
			var got []string
			for _, w := range h.Warnings() {
				if w.Code != device.KeyMissing {
					got = append(got, w.Code)
				}
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("warnings %q, want %q", got, tc.want)
			}
			if id := h.Identifier(); id.Value != tc.stored.Value || store.id != tc.stored {
				t.Errorf("the identifier is %v, and %v is stored, want %v", id, store.id, tc.stored)
			}
		})
	}
}

// A serial number that appears late in the boot ends the warning.
func TestSourceThatComesBack(t *testing.T) {
	root := serials(t, "", "")
	id := device.Candidate{Source: "dt-serial", Raw: []byte("A1B2C3D4E5F6")}.Identifier()
	h := New(Config{Root: root, Store: &kept{id: storage.Identifier{Value: id.Value, Source: id.Source}},
		Log: slog.New(slog.DiscardHandler)})
	gone := func() bool {
		return slices.ContainsFunc(h.Warnings(), func(w device.Warning) bool { return w.Code == "identifier_source_gone" })
	}
	if !gone() {
		t.Fatal("no warning although the source is gone")
	}
	dir := filepath.Join(root, "proc/device-tree")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "serial-number"), []byte("A1B2C3D4E5F6"), 0o644); err != nil {
		t.Fatal(err)
	}
	h.Probe()
	if gone() {
		t.Error("the warning stays although the source is back")
	}
}

// Package device must not know package ipc, where the codes of warnings are
// declared.
func TestCodesOfTheDevice(t *testing.T) {
	for code, want := range map[string]string{
		device.ValueLeftOut: ipc.WarnDeviceValue, device.KeyMissing: ipc.WarnDeviceKey,
	} {
		if code != want {
			t.Errorf("package device says %q, package ipc %q", code, want)
		}
	}
}
