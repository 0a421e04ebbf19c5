package device

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxSerial bounds a serial number, in bytes: a file that holds more holds something else.
const maxSerial = 512

// Candidate is something that tells this device from all others.
type Candidate struct {
	Source string // "rdk-serial", "mac", Generated, ...; "": there is nothing usable
	Raw    []byte
}

// Identifier is what the server knows this device by. It must never change ("Header - AP-Device-Identifier").
type Identifier struct {
	Value  string // 64 hexadecimal digits
	Source string
}

// Identifier hashes the candidate. The prefix keeps it from equalling what others make of the same serial number.
func (c Candidate) Identifier() Identifier {
	h := sha256.New()
	fmt.Fprintf(h, "tvpassd/v1\x00%s\x00", c.Source)
	h.Write(c.Raw)
	return Identifier{Value: hex.EncodeToString(h.Sum(nil)), Source: c.Source}
}

// Header is the value of the AP-Device-Identifier header ("Header - AP-Device-Identifier").
func (i Identifier) Header() string {
	return "fingerprint " + base64.StdEncoding.EncodeToString([]byte(i.Value))
}

// Generated is the source of an identifier that comes from no hardware.
const Generated = "generated"

// Generate makes a candidate for a device whose hardware has none. It is worth something only once it is stored.
func Generate(random io.Reader) (Candidate, error) {
	var b [16]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return Candidate{}, fmt.Errorf("generating a device identifier: %w", err)
	}
	b[6] = b[6]&0x0F | 0x40 // version 4: random
	b[8] = b[8]&0x3F | 0x80
	uuid := fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
	return Candidate{Source: Generated, Raw: []byte(uuid)}, nil
}

// identity is one place that an identifier may come from. The same source name may stand in several rows.
type identity struct {
	source string
	file   string             // that holds a serial number and nothing else
	find   func(*tree) []byte // where it is not as easy; it returns nil if there is nothing usable
}

// identities are in the order in which they count: what the operator or the maker burnt in, then what belongs to the
// board, then what might be exchanged. /etc/machine-id is not among them: images are cloned with it.
var identities = []identity{
	{"rdk-serial", "/tmp/.STB_SER_NO", nil},
	{"webos-nduid", "", func(t *tree) []byte { return serial([]byte(t.json(nyxDevice)["nduid"])) }},
	{"android-serialno", "", func(t *tree) []byte { return t.propertySerial("ro.serialno") }},
	{"android-serialno", "", func(t *tree) []byte { return t.propertySerial("ro.boot.serialno") }},
	{"android-serialno", "", func(t *tree) []byte { return serial([]byte(t.bootArgument("androidboot.serialno"))) }},
	{"cpuinfo-serial", "", func(t *tree) []byte { return serial([]byte(t.fields(cpuinfoFile, "/proc/cpuinfo")["Serial"])) }},
	{"soc-serial", "/sys/devices/soc0/serial_number", nil},
	{"soc-serial", "/sys/bus/platform/devices/firmware:secure-monitor/serial", nil}, // Amlogic
	{"dt-serial", deviceTree + "serial-number", nil},
	{"emmc-cid", "", (*tree).emmcCID},
	{"dmi-product-uuid", "", (*tree).productUUID},
	{"dmi-product-serial", dmi + "product_serial", nil},
	{"dmi-board-serial", "", (*tree).boardSerial},
	{"mac", "", (*tree).macAddress},
}

// RootOnly tells whether only root can read a source: the kernel keeps DMI's serial numbers from everybody else.
func RootOnly(source string) bool { return strings.HasPrefix(source, "dmi-") }

func (t *tree) findIdentifier() Candidate {
	for _, id := range identities {
		var raw []byte
		if id.find != nil {
			raw = id.find(t)
		} else {
			raw = t.serialFile(id.file)
		}
		if raw != nil {
			return Candidate{Source: id.source, Raw: raw}
		}
	}
	return Candidate{}
}

// serial makes a serial number of what a file holds: text without the white space around it, or the bytes as they
// stand where they are none (some boards burn in raw bytes). nil if it is one that many devices carry.
func serial(data []byte) []byte {
	data = bytes.TrimRight(data, "\x00")
	if len(data) > maxSerial {
		return nil
	}
	if text := bytes.TrimSpace(data); isPrintable(text) {
		if isJunkSerial(string(text)) {
			return nil
		}
		return bytes.Clone(text)
	}
	if len(data) < 4 || len(bytes.Trim(data, string(data[:1]))) == 0 {
		return nil
	}
	return bytes.Clone(data)
}

func isPrintable(text []byte) bool {
	return utf8.Valid(text) && bytes.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

func (t *tree) serialFile(name string) []byte {
	data, err := t.read(name)
	if err != nil {
		return nil
	}
	return serial(data)
}

func (t *tree) propertySerial(key string) []byte {
	for _, name := range propertyFiles {
		if raw := serial([]byte(t.fields(propertyFile, name)[key])); raw != nil {
			return raw
		}
	}
	return nil
}

// emmcCID is the number of the memory that is soldered in; an SD card is not the device.
func (t *tree) emmcCID() []byte {
	for _, name := range t.list("/sys/block") {
		folder := "/sys/block/" + name + "/device/"
		if !strings.HasPrefix(name, "mmcblk") || t.text(folder+"type") != "MMC" {
			continue
		}
		if raw := t.serialFile(folder + "cid"); raw != nil {
			return raw
		}
	}
	return nil
}

func (t *tree) productUUID() []byte {
	raw := t.serialFile(dmi + "product_uuid")
	if isJunkUUID(string(raw)) {
		return nil
	}
	return raw
}

// boardSerial holds vendor and name too: makers number the boards of each model from the same start.
func (t *tree) boardSerial() []byte {
	raw := t.serialFile(dmi + "board_serial")
	if raw == nil {
		return nil
	}
	return fmt.Appendf(nil, "%s|%s|%s", t.text(dmi+"board_vendor"), t.text(dmi+"board_name"), raw)
}

// macAddress is the first address that was burnt in, of an Ethernet adapter before one for Wi-Fi.
func (t *tree) macAddress() []byte {
	var wifi []byte
	for _, name := range t.list(strings.TrimSuffix(netFolder, "/")) {
		kind := t.devType(name)
		if kind != "" && kind != "wlan" || t.text(netFolder+name+"/type") != "1" {
			continue // a VLAN, a bridge, a modem; not Ethernet at all
		}
		address := burntIn(t.text(netFolder+name+"/address"), t.text(netFolder+name+"/addr_assign_type"))
		switch {
		case address == nil:
		case !t.isWiFi(name):
			return address
		case wifi == nil:
			wifi = address
		}
	}
	return wifi
}

// burntIn returns a MAC address as hexadecimal digits; nil if it is not the maker's own, or one that many devices carry.
func burntIn(address, assignType string) []byte {
	mac, err := net.ParseMAC(address)
	if err != nil || len(mac) != 6 || assignType != "0" {
		return nil
	}
	const multicast, local = 1, 2
	text := hex.EncodeToString(mac)
	if mac[0]&(multicast|local) != 0 || oneCharacter(text) {
		return nil
	}
	for _, junk := range junkMACs {
		if text == junk {
			return nil
		}
	}
	return []byte(text)
}
