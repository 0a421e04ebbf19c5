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
		report := probeTree(tree, Options{Root: empty})
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
		if len(report.Identifier.Raw) > maxSerial+2*maxText+2 {
			t.Errorf("an identifier of %d bytes", len(report.Identifier.Raw))
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
			t.Errorf("something of an EDID that is none: %v", s)
		}
		if s.inches != 0 && (s.inches < minInches || s.inches > maxInches) || s.width < 0 || s.height < 0 || s.width > 4095 ||
			s.height > 2*4095 {
			t.Errorf("no screen is like this: %v", s)
		}
	})
}
