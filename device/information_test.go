package device

import (
	"net"
	"strings"
	"testing"
)

func TestSerial(t *testing.T) {
	for _, test := range []struct{ data, want string }{
		{" PAW400003744 \n", "PAW400003744"},
		{"00000000c2b16ad3\x00", "00000000c2b16ad3"},
		{"320a0204000000002a07604125e05900\n", "320a0204000000002a07604125e05900"},
		{"1421323000000", "1421323000000"},
		{"G000N607821300B5", "G000N607821300B5"},
		{"HJ7GHL2", "HJ7GHL2"},
		{"VMware-42 1a 7b 0e 55 90 c1 3d-8f 6e 22 b0 41 d8 07 9a", "VMware-42 1a 7b 0e 55 90 c1 3d-8f 6e 22 b0 41 d8 07 9a"},
		{"\x01\xa2\x00\x3f\x91\x77", "\x01\xa2\x00\x3f\x91\x77"},
		{"\x01\xa2\x3f\x91\x77\x00", "\x01\xa2\x3f\x91\x77"},
		{strings.Repeat("a7", 0) + "5e0c91b2" + strings.Repeat("0", 100), "5e0c91b2" + strings.Repeat("0", 100)},
	} {
		if got := serial("", []byte(test.data)); string(got.Raw) != test.want || got.Doubt != "" {
			t.Errorf("%q: got %q, %s, want %q", test.data, got.Raw, got.Doubt, test.want)
		}
	}
}

// A serial number with little information is not unique.
func TestDoubtfulSerials(t *testing.T) {
	for why, serials := range map[string][]string{
		"nothing": {"", "  \x00\x00", "--"},
		"fillers": {"0000000000000000", "FFFFFFFF", "0x0", "XXXXXXXX", "00:00:00", "\x00\x00\x00\x00\x01",
			"\xff\xff\xff\xff\xff\xff"},
		"field words": {"unknown", "None", "Default string", "To be filled by O.E.M.", "System Serial Number",
			"Serial Number",
			"no_serial", "NOSERIAL", "$serial", "$(DEFAULT_STRING)", "Not Specified", "Chassis Serial Number", "SerialNumber",
			"N/A"},
		"counting": {"1234567890", "0123456789ABCDEF", "1234567890ABCDEF", "456789abc", "FEDCBA9876543210", "987654321",
			"SN1234567890",
			"ABC-12345678", "SER-12345678901", "RDK001234", "0000000012345678", "3456", "MB-1234567890-R2", "112233445566",
			"00112233445566778899aabbccddeeff", "a1b2c3d4e5f6", "0001000200030004", "02468ace02468ace",
			"\x01\x02\x03\x04\x05\x06\x07\x08",
			"\x10\x0f\x0e\x0d\x0c\x0b"},
		"few digits": {"EX00017", "PC-77", "SN-0000-0001", "10101010", "1", "2222222", "0000a0000b"},
		"no digit":   {"ABCDEFGHIJ", "deadbeef", "deadbeef00000000", "KXQZWTUV", "EVALUATION"},
		"repetition": {"deadbeef0deadbeef0", "12a412a412a4", "7f317f317f317f31"},
		"lists":      {"c3d9b8674f4b94f6", "C3D9B8674F4B94F6", "20080411"},
		"size":       {"\x01\x02", strings.Repeat("a7c", 300)},
	} {
		for _, data := range serials {
			if got := serial("", []byte(data)); got.Doubt == "" {
				t.Errorf("%q passes for a serial number: %s", data, why)
			}
		}
	}
}

func TestDoubtfulUUIDs(t *testing.T) {
	for _, uuid := range []string{
		"03000200-0400-0500-0006-000700080009", "00020003-0004-0005-0006-000700080009",
		"FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
		"00000000-0000-0000-0000-000000000000", "FEFEFEFE-FEFE-FEFE-FEFE-FEFEFEFEFEFE",
		"00010203-0405-0607-0809-0a0b0c0d0e0f",
		"03020100-0504-0706-0809-0A0B0C0D0E0F", "0f0e0d0c-0b0a-0908-0706-050403020100",
		"fedcba98-7654-3210-fedc-ba9876543210",
		"12345678-1234-5678-90ab-cddeefaabbcc", "00112233-4455-6677-8899-AABBCCDDEEFF",
		"deadbeef-dead-beef-dead-beefdeadbeef",
		"11111111-2222-3333-4444-555555555555", "03D40274-0435-05DC-8506-010700080009",
		"33695052-0000-0000-0000-000000000000",
		"4c4c4544-0000-2010-8020-80c04f202020", "20202020-2020-2020-2020-202020202020", "Not Settable",
		"00000000-0000-0000-0000-000000000001",
	} {
		if doubtUUID(uuid) == "" {
			t.Errorf("%q passes for a UUID", uuid)
		}
	}
	for _, uuid := range []string{"d2f7b8a0-1c2d-11ed-8000-9c6b00123456", "4C4C4544-004A-3710-8047-C8C04F484C32",
		"00000000-0000-0000-0000-ac1f6b7d20e4", "564d5a1c-8e0b-2f7d-9c31-0a4be76f5d28"} {
		if why := doubtUUID(uuid); why != "" {
			t.Errorf("%q passes for junk: %s", uuid, why)
		}
	}
}

func TestDoubtfulMACs(t *testing.T) {
	for _, address := range []string{
		"00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:01", "00:00:00:12:a4:56", "00:1b:21:00:00:00",
		"00:1b:21:ff:ff:ff",
		"00:11:22:33:44:55", "00:01:02:03:04:05", "00:01:02:a7:33:19", "00:1d:ec:01:02:03", "00:1d:ec:33:22:11",
		"00:12:34:56:78:9a",
		"00:15:18:01:81:31", "00:90:4c:11:22:33", "00:e0:4c:53:44:58", "0c:5b:8f:27:9a:64",
		"02:63:14:00:00:01", "01:63:14:00:00:01", "00:11:22:33:44:55:66:77",
	} {
		mac, err := net.ParseMAC(address)
		if err != nil {
			t.Fatal(err)
		}
		if why, _ := doubtMAC(mac, "0"); why == "" {
			t.Errorf("%s passes for an address of its own", address)
		}
	}
	mac, _ := net.ParseMAC("C8:63:14:00:00:01")
	for assign, own := range map[string]bool{"0": true, "1": false, "2": false, "3": false, "": false} {
		if why, burntIn := doubtMAC(mac, assign); (why == "") != own || burntIn != own {
			t.Errorf("addr_assign_type %q: %q, %v, want %v", assign, why, burntIn, own)
		}
	}
}

func TestDoubtfulTexts(t *testing.T) {
	for _, junk := range []string{
		"", " ", "0", "-", "...", "xxxx", "x.x", "X.XX", "Rev x.0x", "0.0", "ffff", "??", "To Be Filled By O.E.M.",
		"to be filled by oem",
		"To-Be-Filled_By.OEM", "TBD by OEM", "O.E.M", "Default string", "default_string", "DEFAULTSTRING",
		"$(DEFAULT_STRING)",
		"Type2 - Board Version", "Type1- x", "Type2 - Board Vendor Name1", "System Product Name", "All Series",
		"Not Applicable",
		"System SKUNumber", "System SKU#", "Base Board Product Name", "01234567890", "123456789", "SN 1234567890", "N/A",
		"NA",
		"Unknown Product", "Unknow", "Fill By OEM", "<BAD INDEX>", "S/N", "Not Present", "asus-notebooksku", "Type1Family",
		"Aptio CRB", "None", "Other", "Product Name",
	} {
		if doubtText(junk) == "" {
			t.Errorf("%q passes for a value", junk)
		}
	}
	for _, value := range []string{"NUC7i5BNK", "1.0", "2", "A", "11", "F", "X96", "Poem", "5.19", "Nano", "Set-top",
		"AAAA",
		"OneBox", "Model B", "ID5", "V0.04", "ZBOX-ID92", "20ABCDEF"} {
		if why := doubtText(value); why != "" {
			t.Errorf("%q passes for junk: %s", value, why)
		}
	}
	for _, model := range []string{"Amlogic", "rockchip", "linux,dummy-virt", "Generic", "HiSilicon", "mainline",
		"generic_arm64",
		"Generic DT based system"} {
		if doubtModel(model) == "" {
			t.Errorf("%q passes for a model", model)
		}
	}
	if why := doubtModel("Amlogic P212"); why != "" {
		t.Errorf("a model that begins with its maker passes for junk: %s", why)
	}
}

func TestLongestRun(t *testing.T) {
	for text, want := range map[string]int{"": 0, "a": 0, "ab": 2, "123": 3, "90ab": 4, "9ab": 3, "f01": 3, "321zz": 3,
		"xyz":              0,
		"1234567890abcdef": 16, "fedcba9876543210": 16, "13": 0} {
		if got := longestRun(text); got != want && (got > 1 || want > 1) {
			t.Errorf("%q: got %d, want %d", text, got, want)
		}
	}
}

// The serial number in a memory's CID is what differs within a series.
func TestDoubtfulCIDs(t *testing.T) {
	for cid, want := range map[string]string{
		"150100424a54443452042f3b1c0aa1f3": "", "150100424a544434520400000000a1f3": whyFew,
		"150100424a5444345204ffffffffa1f3": whyFew,
		"150100424a5444345204":             "", // not a whole one
	} {
		if got := doubtCID(cid); got != want {
			t.Errorf("%s: got %q, want %q", cid, got, want)
		}
	}
}
