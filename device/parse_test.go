package device

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestClean(t *testing.T) {
	for _, test := range []struct{ raw, want string }{
		{"Box\n", "Box"}, {"Box\x00rest", "Box"}, {"  Acme  \"Super\"\tBox \r\n", `Acme "Super" Box`},
		{"4.2\xff", "4.2"}, {"\xef\xbb\xbfBOM", "BOM"}, {"a\x07b", "ab"}, {"™ 4K", "™ 4K"}, {"\x00", ""}, {"", ""},
		{strings.Repeat("x", 300), strings.Repeat("x", 255)},
		{strings.Repeat("x", 254) + "é", strings.Repeat("x", 254)},
		{strings.Repeat("x", 253) + "é", strings.Repeat("x", 253) + "é"},
	} {
		if got := clean([]byte(test.raw)); got != test.want {
			t.Errorf("%q: got %q, want %q", test.raw, got, test.want)
		}
	}
}

func TestShellFile(t *testing.T) {
	got := shellFile.parse([]byte("\uFEFF# comment\r\n" + `A="x \"y\" \$z \n"` +
		"\r\nB='it $is'\nC=with blanks # and more\nexport D=\"d\" # gone\n" +
		"E=\"open\nF=$A\nG=\"`id`\"\nH=a=b\n=nothing\nno line\nI=1\nI=2\nJ=\nK=a\\ b\nL='open\n"))
	want := map[string]string{"A": `x "y" $z \n`, "B": "it $is", "C": "with blanks # and more", "D": "d", "H": "a=b",
		"I": "2",
		"J": "", "K": "a b"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestPropertyFile(t *testing.T) {
	got := propertyFile.parse([]byte("# c\nimport /x/${ro.y}\nro.a=first\nro.a=second\nro.b = \"kept\" \nro.c=a=b:c\n"))
	want := map[string]string{"ro.a": "first", "ro.b": `"kept"`, "ro.c": "a=b:c"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAFileThatWasCutLosesItsLastLine(t *testing.T) {
	for _, first := range []string{"A=1\n", "\uFEFFA=1\n"} {
		data := first + strings.Repeat("x", maxFile-len(first)-3) + "\nB=2"
		if got := shellFile.parse([]byte(data[:maxFile])); len(got) != 1 || got["A"] != "1" {
			t.Errorf("behind %q: got %v", first, got)
		}
	}
}

func TestNaturalOrder(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int
	}{
		{"HDMI-A-2", "HDMI-A-10", -1}, {"eth0", "eth0.2", -1}, {"eth10", "eth9", 1}, {"eth01", "eth1", 1}, {"a", "b", -1},
		{"", "a", -1}, {"eth0", "eth0", 0}, {"99999999999999999999999", "100000000000000000000000", -1},
	} {
		if got := naturalOrder(test.a, test.b); got != test.want {
			t.Errorf("%s, %s: got %d, want %d", test.a, test.b, got, test.want)
		}
		if got := naturalOrder(test.b, test.a); got != -test.want {
			t.Errorf("%s, %s: got %d, want %d", test.b, test.a, got, -test.want)
		}
	}
}

// The functions of rules, on real texts.
func TestValues(t *testing.T) {
	type as = func(string) string
	for _, test := range []struct {
		name       string
		as         as
		text, want string
	}{
		{"boardModel", boardModel, "Raspberry Pi 4 Model B Rev 1.4", "Raspberry Pi 4 Model B"},
		{"boardModel", boardModel, "Revo Box Rev C", "Revo Box Rev C"},
		{"boardModel", boardModel, "Amlogic", ""},
		{"boardRevision", boardRevision, "Raspberry Pi 4 Model B Rev 1.4", "1.4"},
		{"boardRevision", boardRevision, "Rev 1.4", ""},
		{"boardCode", boardCode, "amlogic, gxl", "gxl"},
		{"boardCode", boardCode, "sun4i-a10", "sun4i-a10"},
		{"boardCode", boardCode, "linux,dummy-virt", ""},
		{"dmiVersion", dmiVersion, "Raspberry Pi 3B+ (rev. A020D3)", "A020D3"},
		{"dmiVersion", dmiVersion, "V1.0", "V1.0"},
		{"chip", chip, "BCM7425B2 STB platform", "BCM7425B2"},
		{"chip", chip, "MediaTek MT7621 ver:1 eco:3", "MT7621"},
		{"chip", chip, "Generic DT based system", ""},
		{"chip", chip, "Rockchip (Device Tree)", ""},
		{"rdkRelease", rdkRelease, "PX051AEI_6.1s3_VBN_sey", "6.1"},
		{"rdkRelease", rdkRelease, "X1_VBN_22.10p2", "22.10"},
		{"rdkRelease", rdkRelease, "PX051AEI_VBN_2203_sprint_20220331225312sdy_NG", ""},
		{"rdkRelease", rdkRelease, "a1.2.3s", "2.3"},
		{"rdkRelease", rdkRelease, "7.", ""},
		{"rdkVersion", rdkVersion, "99.99.15.07", ""},
		{"rdkVersion", rdkVersion, "000.36.0.0", ""},
		{"rdkVersion", rdkVersion, "5.5.1", "5.5.1"},
		{"hdmiType", hdmiType, "0,5", "TV"},
		{"hdmiType", hdmiType, "5,4", "MediaPlayer"},
		{"hdmiType", hdmiType, "3", "SetTopBox"},
		{"hdmiType", hdmiType, "", ""},
		{"boxName", boxName, "Rockchip RK3318 BOX", "SetTopBox"},
		{"boxName", boxName, "rockchip,rk3318-box", "SetTopBox"},
		{"boxName", boxName, "Acme Set-Top 5", "SetTopBox"},
		{"boxName", boxName, "Mi TV Stick", ""},
		{"boxName", boxName, "Boxer Xboxes", ""},
		{"boxName", boxName, "Set of TV", ""},
		{"boardChassis", boardChassis, "television", "TV"},
		{"boardChassis", boardChassis, "embedded", ""},
		{"boardChassis", boardChassis, "toaster", "toaster"}, // ends as a warning
		{"dmiChassis", dmiChassis, "35", "Desktop"},
		{"dmiChassis", dmiChassis, "1", ""},
		{"veroMaker", veroMaker, "vero3", "OSMC"},
		{"veroMaker", veroMaker, "rbp4", ""},
		{"rdkProfile", rdkProfile, "tv", "TV"},
		{"rdkDeviceType", rdkDeviceType, "QamIpStb", "SetTopBox"},
		{"rdkClient", rdkClient, "hybrid", "SetTopBox"},
	} {
		if got := test.as(test.text); got != test.want {
			t.Errorf("%s(%q) is %q, want %q", test.name, test.text, got, test.want)
		}
	}
}

func TestVendorOf(t *testing.T) {
	for _, test := range []struct{ compatible, model, want string }{
		{"brcm,bcm7445", "", "Broadcom"}, {"amlogic, gxl", "", "Amlogic"}, {"acme,box", "Box", "Acme"},
		{"hlink,h28k", "HLink H28K", "HLink"}, {"éa,x", "", "Éa"}, {"linux,dummy-virt", "", ""}, {"nocomma", "", ""},
		{",x", "", ""},
	} {
		if got := vendorOf(test.compatible, test.model); got != test.want {
			t.Errorf("%q, %q: got %q, want %q", test.compatible, test.model, got, test.want)
		}
	}
	prefixes := map[string]bool{}
	findVendor(func(prefix, name string) bool {
		if prefix == "" || name == "" || prefixes[prefix] {
			t.Errorf("%q, %q: not whole, or there twice", prefix, name)
		}
		prefixes[prefix] = true
		return false
	})
}

// The checks that the fuzzers make on every text that is sent.
func checkSendable(t *testing.T, text string) {
	t.Helper()
	if !utf8.ValidString(text) || len(text) > maxText || strings.ContainsRune(text, 0) ||
		text != strings.TrimSpace(text) {
		t.Errorf("%q can't be sent", text)
	}
}
