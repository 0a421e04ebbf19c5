package device

import (
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
)

func seed(f *testing.F, suffixes ...string) {
	f.Helper()
	for _, suffix := range suffixes {
		everyFile(f, suffix, func(data []byte) { f.Add(data) })
	}
}

// fuzzFile probes a tree that holds nothing but this one file.
func fuzzFile(f *testing.F, name string, suffixes ...string) {
	seed(f, suffixes...)
	empty := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		tree := testTree(t, empty)
		tree.files[name] = content{data: data[:min(len(data), maxFile)]} // as if it had been read already
		report := probeTree(tree, Options{Root: empty, All: true})
		object, err := report.Info.MarshalJSON()
		if err != nil || !json.Valid(object) {
			t.Fatalf("no JSON: %s, %v", object, err)
		}
		for _, key := range Keys() {
			value, ok := report.Info.Get(key)
			if !ok {
				continue
			}
			if text, ok := value.(string); ok {
				checkSendable(t, text)
			}
			if key == "connectionType" {
				continue
			}
			if n, ok := value.(int64); ok && (n < 1 || n > maxNumber) {
				t.Errorf("%s is %d", key, n)
			}
			if _, err := CheckOverride(key, value); err != nil {
				t.Errorf("what was found could not be configured: %v", err)
			}
		}
		for _, c := range report.Identifiers {
			if len(c.Raw) == 0 || len(c.Raw) > maxSerial+2*maxText+2 || c.Source == "" || c.Place == "" {
				t.Errorf("an identifier of %d bytes from %q at %q", len(c.Raw), c.Source, c.Place)
			}
			if !c.Matches(c.Identifier()) {
				t.Errorf("%q does not match its own identifier", c.Raw)
			}
		}
	})
}

func FuzzOSRelease(f *testing.F)        { fuzzFile(f, "/etc/os-release", "os-release", "openwrt_release") }
func FuzzBuildProp(f *testing.F)        { fuzzFile(f, "/system/build.prop", ".prop") }
func FuzzDeviceProperties(f *testing.F) { fuzzFile(f, "/etc/device.properties", "device.properties") }
func FuzzVersionTxt(f *testing.F)       { fuzzFile(f, "/version.txt", "version.txt") }
func FuzzCPUInfo(f *testing.F)          { fuzzFile(f, "/proc/cpuinfo", "cpuinfo") }
func FuzzNyx(f *testing.F)              { fuzzFile(f, "/var/run/nyx/device_info.json", "_info.json") }
func FuzzRoute4(f *testing.F)           { fuzzFile(f, "/proc/net/route", "net/route") }
func FuzzRoute6(f *testing.F)           { fuzzFile(f, "/proc/net/ipv6_route", "ipv6_route") }
func FuzzDeviceTreeModel(f *testing.F)  { fuzzFile(f, "/proc/device-tree/model", "device-tree/model") }
func FuzzCompatible(f *testing.F)       { fuzzFile(f, "/proc/device-tree/compatible", "compatible") }
func FuzzSerial(f *testing.F)           { fuzzFile(f, "/proc/device-tree/serial-number", "serial-number") }
func FuzzBootConfig(f *testing.F)       { fuzzFile(f, "/proc/bootconfig", "proc/bootconfig") }
func FuzzAddresses6(f *testing.F)       { fuzzFile(f, "/proc/net/if_inet6", "if_inet6") }
func FuzzBoardJSON(f *testing.F)        { fuzzFile(f, "/etc/board.json", "board.json") }
func FuzzAmlogicMode(f *testing.F)      { fuzzFile(f, "/sys/class/display/mode", "display/mode") }
func FuzzFrameBuffer(f *testing.F) {
	fuzzFile(f, "/sys/class/graphics/fb0/virtual_size", "virtual_size")
}

func FuzzEDID(f *testing.F) {
	seed(f, "/edid")
	everyFile(f, "/rawedid", func(data []byte) {
		if edid, err := hex.DecodeString(strings.TrimSpace(string(data))); err == nil {
			f.Add(edid)
		}
	})
	f.Fuzz(func(t *testing.T, data []byte) {
		s, ok := parseEDID(data)
		if !ok && s != (screen{}) {
			t.Errorf("a damaged EDID says %v", s)
		}
		if s.inches != 0 && (s.inches < minInches || s.inches > maxInches) || s.width < 0 || s.height < 0 ||
			s.width > 4095 ||
			s.height > 2*4095 {
			t.Errorf("no screen has this size: %v", s)
		}
	})
}

// A value is judged the same in either case, and one without digits is never a
// serial number.
func FuzzInformation(f *testing.F) {
	for _, text := range []string{"1234567890ABCDEF", "03000200-0400-0500-0006-000700080009", "no_serial", "PAW400003744",
		"$(SERIAL)",
		"d2f7b8a0-1c2d-11ed-8000-9c6b00123456", "001b215a07c4", "serialserialserialserialserial", "À0é1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		doubtText(text)
		doubtModel(text)
		serial, uuid := doubtSerial(text), doubtUUID(text)
		if !strings.ContainsAny(text, "0123456789") && serial == "" {
			t.Errorf("%q has no digit and passes for a serial number", text)
		}
		if isHex(text) && (serial != doubtSerial(strings.ToUpper(text)) || uuid != doubtUUID(strings.ToUpper(text))) {
			t.Errorf("%q is judged differently in upper case", text)
		}
		doubtBytes([]byte(text))
		doubtCID(text)
	})
}
