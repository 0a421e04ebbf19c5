package device

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestHeaderIsTheDocumentedJSONInBase64(t *testing.T) {
	info := Info{}.
		With("connectionSecure", true).
		With("diagonalScreenSize", 54.6).
		With("displayWidth", int64(3840)).
		With("version", "A<&>\"\\").
		With("model", "Café ™").
		With("no such key", "x")
	want := `{"model":"Café ™","version":"A<&>\"\\","displayWidth":3840,` +
		`"diagonalScreenSize":54.6,"connectionSecure":true}`
	got, err := base64.StdEncoding.DecodeString(info.Header())
	if err != nil || string(got) != want {
		t.Errorf("the header holds %s (%v), want %s", got, err, want)
	}
	if !json.Valid(got) {
		t.Error("the header holds no JSON")
	}
	if got, want := (Info{}).Header(), "e30="; got != want { // {}
		t.Errorf("an empty info's header is %s, want %s", got, want)
	}
}

func TestInfoDoesNotChange(t *testing.T) {
	before := Info{}.With("model", "A")
	after := before.With("model", "B").With("version", "1")
	if v, _ := before.Get("model"); v != "A" {
		t.Errorf("With changed its receiver: model is %v", v)
	}
	if _, ok := before.Get("version"); ok {
		t.Error("With changed its receiver: it has a version")
	}
	if v, ok := after.Get("version"); v != "1" || !ok {
		t.Errorf("version is %v, %v", v, ok)
	}
	if _, ok := after.With("version", nil).Get("version"); ok {
		t.Error("nil did not take the key out")
	}
}

func TestKeysIsACopy(t *testing.T) {
	Keys()[0] = "changed"
	if got := Keys()[0]; got != "primaryHardwareType" {
		t.Errorf("the first key is now %s", got)
	}
}

func TestCheckOverride(t *testing.T) {
	for _, test := range []struct {
		key   string
		value any
		want  any    // nil: an error
		says  string // part of the error
	}{
		{"model", " Box  One ", "Box One", ""},
		{"primaryHardwareType", "SetTopBox", "SetTopBox", ""},
		{"primaryHardwareType", "settopbox", nil, "allowed are Camera, "},
		{"osName", "Tizen", nil, "webOS"},
		{"osFamily", "Tizen", "Tizen", ""},
		{"displayWidth", int64(3840), int64(3840), ""},
		{"displayWidth", "3840", nil, `a whole number, not the string "3840"`},
		{"displayWidth", 3840.5, nil, "a whole number"},
		{"displayWidth", int64(0), nil, "between 1 and 65535"},
		{"connectionPort", int64(65536), nil, "between 1 and 65535"},
		{"diagonalScreenSize", int64(55), 55.0, ""},
		{"diagonalScreenSize", 54.6, 54.6, ""},
		{"diagonalScreenSize", -1.0, nil, "above 0"},
		{"connectionSecure", false, false, ""},
		{"connectionSecure", "true", nil, "true or false"},
		{"connectionIp", "192.168.1.7", "192.168.1.7", ""},
		{"connectionIp", "::ffff:8.8.8.8", "8.8.8.8", ""},
		{"connectionIp", "8.8.8.8:80", nil, "without port"},
		{"connectionIp", "fe80::1%eth0", nil, "zone"},
		{"model", "", nil, "leave the line out"},
		{"model", int64(7), nil, "a string, not the number 7"},
		{"model", []any{"x"}, nil, "a list"},
		{"model", "\xff", nil, "UTF-8"},
		{"model", "a\x00b", nil, "NUL"},
		{"model", strings.Repeat("x", 256), nil, "at most 255"},
		{"modell", "x", nil, "did you mean model?"},
		{"connectionIP", "x", nil, "did you mean connectionIp?"},
		{"primaryHardwaretypes", "TV", nil, "did you mean primaryHardwareType?"},
		{"colour", "x", nil, "the keys are primaryHardwareType, model"},
		{strings.Repeat("model", 10000), "x", nil, "unknown X-Device-Info key"},
	} {
		got, err := CheckOverride(test.key, test.value)
		if got != test.want || (err == nil) != (test.want != nil) {
			t.Errorf("%s = %v: got %v, %v, want %v", test.key, test.value, got, err, test.want)
		}
		if err != nil && !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s = %v: the error %q does not say %q", test.key, test.value, err, test.says)
		}
	}
}

func TestOverridesWin(t *testing.T) {
	report := probeFiles(t, map[string]string{
		"proc/device-tree/model": "Example Board\x00",
		"proc/net/route":         routeTable("eth0 00000000 0 0003 0 0 0 00000000"),
	}, map[string]any{"model": "Shop Name", "manufacturer": "Shop", "connectionType": "WiFi", "displayWidth": int64(1920),
		"displayHeight": int64(1080), "diagonalScreenSize": 40.0})
	for key, want := range map[string]any{"model": "Shop Name", "vendor": "Shop", "connectionType": "WiFi",
		"connectionSecure": nil, "displayPpi": int64(55)} {
		if got, _ := report.Info.Get(key); got != want {
			t.Errorf("%s is %v, want %v", key, got, want)
		}
	}
	if got := report.Sources["model"]; got != "configuration" {
		t.Errorf("model is said to come from %q", got)
	}
	if got := report.Interface; got != "eth0" {
		t.Errorf("the interface is %q", got)
	}
}

// A value outside a restricted set is never sent, and a missing one that must be
// sent is warned about.
func TestWarnings(t *testing.T) {
	report := probeFiles(t, map[string]string{
		"etc/device.properties": "RDK_PROFILE=HUB\nMODEL_NUM=M1\n",
		"etc/authService.conf":  "deviceType=IpTv\n",
	}, map[string]any{"osVersion": "1"})
	if got, _ := report.Info.Get("primaryHardwareType"); got != "TV" {
		t.Errorf("primaryHardwareType is %v, want what the next source says", got)
	}
	var got []string
	for _, w := range report.Warnings {
		key, _, _ := strings.Cut(w.Detail, " ")
		got = append(got, w.Code+" "+key)
		if !strings.Contains(w.Detail, "[device]") {
			t.Errorf("%q does not say what to do", w.Detail)
		}
	}
	want := []string{"device_value_left_out primaryHardwareType", "device_key_missing connectionType"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}

func TestProbeOfNothing(t *testing.T) {
	report := probeFiles(t, nil, nil)
	want := `{"model":"unknown","version":"unknown","osName":"Linux","osFamily":"Linux","osVersion":"unknown",` +
		`"connectionType":"notAccessible"}`
	if got, err := json.Marshal(report.Info); string(got) != want || err != nil {
		t.Errorf("got %s, %v", got, err)
	}
	if report.Identifier.Source != "" {
		t.Errorf("an identifier out of nothing: %v", report.Identifier)
	}
	if _, err := Probe(Options{Root: filepath.Join(t.TempDir(), "missing")}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a root that is not there: %v", err)
	}
}

// Vu+'s file is on clones too: it names the maker unless the device calls itself
// something else.
func TestVuPlus(t *testing.T) {
	for _, test := range []struct {
		other string
		want  any
	}{{"", "Vu+"}, {"modelname", nil}, {"hwmodel", nil}, {"boxtype", nil}} {
		files := map[string]string{"proc/stb/info/vumodel": "duo2\n"}
		if test.other != "" {
			files["proc/stb/info/"+test.other] = "Clone HD\n"
		}
		if got, _ := probeFiles(t, files, nil).Info.Get("manufacturer"); got != test.want {
			t.Errorf("with %q: the manufacturer is %v, want %v", test.other, got, test.want)
		}
		if test.other == "" {
			continue
		}
		files["proc/stb/info/"+test.other] = "vuduo2\n"
		if got, _ := probeFiles(t, files, nil).Info.Get("manufacturer"); got != "Vu+" {
			t.Errorf("with a %s of its own: the manufacturer is %v", test.other, got)
		}
	}
}

// Every rule and every restricted set is of a documented key.
func TestRulesNameKeys(t *testing.T) {
	for _, r := range rules {
		if !slices.Contains(keys[:], r.key) {
			t.Errorf("a rule for %q", r.key)
		}
	}
	for _, r := range restricted {
		if !slices.Contains(keys[:], r.key) {
			t.Errorf("a set for %q", r.key)
		}
	}
}

// The live system has all keys that are required, and its kernel's release if
// nothing else.
func TestProbeLive(t *testing.T) {
	report, err := Probe(Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range required {
		if v, ok := report.Info.Get(key); !ok || v == "" || key == "osVersion" && v == "unknown" {
			t.Errorf("%s is %v", key, v)
		}
	}
}

// BenchmarkProbe is held to 10 ms and 1 MiB.
func BenchmarkProbe(b *testing.B) {
	for _, root := range []string{"", "testdata/dt-board", "testdata/android-stick"} {
		b.Run(filepath.Base("/"+root), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Probe(Options{Root: root}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
