package device

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// The values were made by: printf 'tvpassd/v1\000%s\000%s' SOURCE RAW | sha256sum
func TestIdentifierIsTheDocumentedHash(t *testing.T) {
	for _, test := range []struct{ source, raw, want string }{
		{"mac", "001dec0a0b0c", "27f0fd35cb407968635ffa0f219dc8c608f5e5045a439d75fb643f64ac218595"},
		{"cpuinfo-serial", "100000002914db7e", "031c686ad25cf4108a5f1c5786bb745edc97b8946bbb590824d3c996c5326342"},
	} {
		got := Candidate{Source: test.source, Raw: []byte(test.raw)}.Identifier()
		if got != (Identifier{test.want, test.source}) {
			t.Errorf("%s %s: got %v, want %s", test.source, test.raw, got, test.want)
		}
	}
	// printf %s VALUE | base64 -w0
	want := "fingerprint MjdmMGZkMzVjYjQwNzk2ODYzNWZmYTBmMjE5ZGM4YzYwOGY1ZTUwNDVhNDM5ZDc1ZmI2NDNmNjRhYzIxODU5NQ=="
	if got := (Candidate{Source: "mac", Raw: []byte("001dec0a0b0c")}).Identifier().Header(); got != want {
		t.Errorf("the header is %s, want %s", got, want)
	}
}

func TestGenerate(t *testing.T) {
	zeros, err := Generate(strings.NewReader(strings.Repeat("\x00", 16)))
	if err != nil || zeros.Source != "generated" || string(zeros.Raw) != "00000000-0000-4000-8000-000000000000" {
		t.Errorf("got %s %s, %v", zeros.Source, zeros.Raw, err)
	}
	ones, err := Generate(strings.NewReader(strings.Repeat("\xff", 16)))
	if err != nil || !regexp.MustCompile(`^ffffffff-ffff-4fff-bfff-ffffffffffff$`).Match(ones.Raw) {
		t.Errorf("got %s, %v", ones.Raw, err)
	}
	if _, err := Generate(iotest.ErrReader(io.ErrClosedPipe)); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("without randomness: %v", err)
	}
}

// identityFiles hold one identifier each, in the order in which they count.
var identityFiles = []struct {
	source, file, content, raw string
	more                       map[string]string
}{
	{"rdk-serial", "tmp/.STB_SER_NO", "RDK401739\n", "RDK401739",
		map[string]string{"etc/device.properties": "MODEL_NUM=M1\n"}},
	{"webos-nduid", "var/run/nyx/device_info.json", `{"nduid":"f0e9d2c7b4a1"}`, "f0e9d2c7b4a1", nil},
	{"android-serialno", "system/build.prop", "ro.serialno=unknown\nro.boot.serialno=AND401739\n", "AND401739", nil},
	{"android-serialno", "proc/cmdline", "quiet androidboot.serialno=AND905127\n", "AND905127", nil},
	{"cpuinfo-serial", "proc/cpuinfo", "Serial\t\t: 10000000f00dcafe\n", "10000000f00dcafe", nil},
	{"soc-serial", "sys/devices/soc0/serial_number", "92745abc\n", "92745abc", nil},
	{"soc-serial", "sys/bus/platform/devices/firmware:secure-monitor/serial", "290b70004ba5\n", "290b70004ba5", nil},
	{"dt-serial", "proc/device-tree/serial-number", "00000000c2b16ad3\x00", "00000000c2b16ad3", nil},
	{"emmc-cid", "sys/block/mmcblk2/device/cid", "150100424a5444345204\n", "150100424a5444345204",
		map[string]string{"sys/block/mmcblk2/device/type": "MMC\n"}},
	{"dmi-product-uuid", "sys/class/dmi/id/product_uuid", "d2f7b8a0-1c2d-11ed-8000-9c6b00123456\n",
		"d2f7b8a0-1c2d-11ed-8000-9c6b00123456", nil},
	{"dmi-product-serial", "sys/class/dmi/id/product_serial", "PC-70351\n", "PC-70351", nil},
	{"dmi-board-serial", "sys/class/dmi/id/board_serial", "B-70351\n", "Acme|Board|B-70351",
		map[string]string{"sys/class/dmi/id/board_vendor": "Acme\n", "sys/class/dmi/id/board_name": "Board\n"}},
	{"mac", "sys/class/net/eth1/address", "00:1B:21:0A:0B:0C\n", "001b210a0b0c",
		map[string]string{"sys/class/net/eth1/type": "1\n", "sys/class/net/eth1/addr_assign_type": "0\n",
			"sys/class/net/eth0/address": "02:1b:21:0a:0b:0c\n", "sys/class/net/eth0/type": "1\n",
			"sys/class/net/eth0/addr_assign_type": "0\n"}},
	{"mac", "sys/class/net/a-wlan/address", "00:1b:21:0a:0b:0d\n", "001b210a0b0d",
		map[string]string{"sys/class/net/a-wlan/type": "1\n", "sys/class/net/a-wlan/addr_assign_type": "0\n",
			"sys/class/net/a-wlan/phy80211/name": "phy0\n"}},
	{"", "etc/machine-id", "1c4ad377574c4263adbb7c624b6a3429\n", "", nil},
}

// Each source counts before those below it, and if those above it are missing.
func TestIdentifierOrder(t *testing.T) {
	files := map[string]string{}
	for _, id := range identityFiles {
		files[id.file] = id.content
		for name, content := range id.more {
			files[name] = content
		}
	}
	root := writeTree(t, files)
	for _, id := range identityFiles {
		report, err := Probe(Options{Root: root})
		if err != nil {
			t.Fatal(err)
		}
		if got := report.Identifier; got.Source != id.source || string(got.Raw) != id.raw {
			t.Errorf("got %s %q, want %s %q", got.Source, got.Raw, id.source, id.raw)
		}
		if err := os.Remove(root + "/" + id.file); err != nil {
			t.Fatal(err)
		}
	}
}

// A boot loader may hand over a placeholder on the command line, and the serial
// number in bootconfig.
func TestBootLoadersSerial(t *testing.T) {
	report := probeFiles(t,
		map[string]string{"proc/cmdline": "androidboot.serialno=0123456789ABCDEF androidboot.serialno=\n",
			"proc/bootconfig": "androidboot.serialno = \"7Q42B0915C\"\n"}, nil)
	if got := report.Identifier; string(got.Raw) != "7Q42B0915C" || got.Place != "/proc/bootconfig androidboot.serialno" {
		t.Errorf("got %q from %s", got.Raw, got.Place)
	}
}

// A stored identifier is compared with what its own source says, in either
// case, by the rules of any version.
func TestCompare(t *testing.T) {
	old := func(source, raw string) Identifier {
		return Candidate{Source: source, Raw: []byte(raw)}.hash([]byte(raw))
	}
	const uuid, upper = "d2f7b8a0-1c2d-11ed-8000-9c6b005a07c4", "D2F7B8A0-1C2D-11ED-8000-9C6B005A07C4"
	candidates := []Candidate{
		{Source: "rdk-serial", Raw: []byte("PAW409913744"), Untrusted: true},
		{Source: "android-serialno", Raw: []byte("1234567890ABCDEF"), Doubt: whyCounts},
		{Source: "dmi-product-uuid", Raw: []byte(upper)},
		{Source: "dt-serial", Raw: []byte("82c00107e4a3b9c5")},
		{Source: boardSerial, Raw: []byte("Acme|Board FF|AB12CD34")},
		{Source: "mac", Raw: []byte("001b215a07c4")},
		{Source: "mac", Raw: []byte("001b215a07c5")},
		{Source: "webos-nduid", Raw: []byte("8fd5"), Untrusted: true},
	}
	for _, test := range []struct {
		name   string
		stored Identifier
		want   Comparison
	}{
		{"as the kernel wrote it", old("dmi-product-uuid", upper), Same},
		{"as it is chosen now", candidates[2].Identifier(), Same},
		{"as another kernel wrote it", old("dmi-product-uuid", uuid), Same},
		{"as an older kernel wrote it", old("dt-serial", "82C00107E4A3B9C5"), Same},
		{"another UUID", old("dmi-product-uuid", "e"+uuid[1:]), Different},
		{"a board's, in lower case", old(boardSerial, "Acme|Board FF|ab12cd34"), Same},
		{"another board's", old(boardSerial, "Acme|Board EE|AB12CD34"), Different},
		{"chosen under older rules", old("android-serialno", "1234567890ABCDEF"), Same},
		{"another one chosen under older rules", old("android-serialno", "0123456789ABCDEF"), Different},
		{"the second adapter's", old("mac", "001b215a07c5"), Same},
		{"no adapter's", old("mac", "001b215a07c6"), Different},
		{"what another user may have left", old("rdk-serial", "PAW409913744"), Same},
		{"what another user may have changed", old("rdk-serial", "PAW000000001"), Unreadable},
		{"an address that software made up", old("webos-nduid", "8fd6"), Unreadable},
		{"a source that can't be read", old("emmc-cid", "150100424a54443452042f3b1c0aa1f3"), Unreadable},
		{"a generated one", old(Generated, uuid), Same},
		{"the same text of another source", old("soc-serial", upper), Unreadable},
	} {
		if got := Compare(candidates, test.stored); got != test.want {
			t.Errorf("%s: got %d, want %d", test.name, got, test.want)
		}
	}
	if got, want := candidates[2].Identifier(), old("dmi-product-uuid", uuid); got != want {
		t.Error("a UUID is not folded to lower case before it is hashed")
	}
	if got, want := (Candidate{Source: "dt-serial", Raw: []byte("G000N6078")}).Identifier(),
		old("dt-serial", "G000N6078"); got != want {
		t.Error("a serial number that is not hexadecimal was changed")
	}
}

// Candidates go from one process to another.
func TestCandidatesAsJSON(t *testing.T) {
	want := []Candidate{{Source: "dt-serial", Raw: []byte("\x01\xff"), Place: "/x", Doubt: "y", Untrusted: true},
		{Source: "mac", Raw: []byte("a")}}
	data, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got []Candidate
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
