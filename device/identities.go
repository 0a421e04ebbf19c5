package device

import (
	"bytes"
	"cmp"
	"errors"
	"net"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tvpassd/tvpassd/device/hostfile"
)

const (
	maxSerial   = 512 // bytes of a serial number: a longer file holds something else
	boardSerial = "dmi-board-serial"
	rdkSerial   = "/tmp/.STB_SER_NO"
)

// identity is a kind of place that an identifier may come from. The same source
// name may stand in several rows.
type identity struct {
	source string
	list   func(p *probe, place string, add func(Candidate))
	place  string
}

// identities are in order of preference: what the operator or the maker burnt
// in, then what belongs to the board, then what might be exchanged.
// /etc/machine-id is not among them: images are cloned with it.
var identities = []identity{
	{"rdk-serial", listRDK, rdkSerial},
	{"webos-nduid", listNyx, nyxDevice},
	{"android-serialno", listProperty, "ro.serialno"},
	{"android-serialno", listProperty, "ro.boot.serialno"},
	{"android-serialno", listBootArgument, "androidboot.serialno"},
	{"cpuinfo-serial", listCPUInfo, "/proc/cpuinfo"},
	{"soc-serial", listFile, "/sys/devices/soc0/serial_number"},
	{"soc-serial", listFile, "/sys/bus/platform/devices/firmware:secure-monitor/serial"}, // Amlogic
	{"dt-serial", listFile, deviceTree + "serial-number"},
	{"emmc-cid", listMemory, "/sys/block"},
	{"dmi-product-uuid", listUUID, dmi + "product_uuid"},
	{"dmi-product-serial", listFile, dmi + "product_serial"},
	{boardSerial, listBoard, dmi + "board_serial"},
	{"mac", listMAC, netFolder},
}

// RootOnly reports whether only root can read a source: the kernel keeps DMI's
// serial numbers from everybody else.
func RootOnly(source string) bool { return strings.HasPrefix(source, "dmi-") }

// findIdentifiers lists what every source says, the best first, usable or not.
func (p *probe) findIdentifiers() []Candidate {
	var all []Candidate
	for _, id := range identities {
		id.list(p, id.place, func(c Candidate) {
			if len(c.Raw) > 0 {
				c.Source = id.source
				all = append(all, c)
			}
		})
	}
	return all
}

// choose returns the first candidate that may be used, or a zero Candidate.
func choose(candidates []Candidate) Candidate {
	for _, c := range candidates {
		if c.Doubt == "" {
			return c
		}
	}
	return Candidate{}
}

// serial makes a candidate of what a file or field holds: text without the white
// space around it, or the bytes as they are if they are not text.
func serial(place string, data []byte) Candidate {
	data = bytes.TrimRight(data, "\x00")
	c := Candidate{Place: place}
	if text := bytes.TrimSpace(data); isPrintable(text) {
		c.Raw, c.Doubt = text, doubtSerial(string(text))
	} else {
		c.Raw, c.Doubt = data, doubtBytes(data)
	}
	if len(c.Raw) > maxSerial {
		c.Raw, c.Doubt = c.Raw[:maxSerial], whyLong
	}
	c.Raw = bytes.Clone(c.Raw)
	return c
}

func isPrintable(text []byte) bool {
	return utf8.Valid(text) && bytes.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

// distrust marks a candidate that is listed only to be compared with a stored
// identifier: an earlier version may have chosen it.
func (c Candidate) distrust(why string) Candidate {
	c.Doubt, c.Untrusted = why, true
	return c
}

func listFile(p *probe, place string, add func(Candidate)) {
	if data, err := p.read(place); err == nil {
		add(serial(place, data))
	}
}

// listRDK reads the one serial number that stands in a folder for everybody. A
// file that another user could have put there, or that stands there on another
// system, only serves for a comparison. A link is not followed then, and a file
// that its owner keeps from others is not read.
func listRDK(p *probe, place string, add func(Candidate)) {
	data, err := p.read(place)
	switch {
	case errors.Is(err, hostfile.ErrUntrusted):
		if data, ok := p.readPublic(place); ok {
			add(serial(place, data).distrust(errors.Unwrap(err).Error()))
		}
	case err != nil:
	case p.get(rdk) == "":
		add(serial(place, data).distrust("counts on RDK alone"))
	default:
		add(serial(place, data))
	}
}

func listNyx(p *probe, place string, add func(Candidate)) {
	add(serial(place+" nduid", []byte(p.json(place)["nduid"])))
}

func listProperty(p *probe, key string, add func(Candidate)) {
	for _, name := range p.propertyFiles() {
		add(serial(name+" "+key, []byte(p.fields(propertyFile, name)[key])))
	}
}

func listBootArgument(p *probe, name string, add func(Candidate)) {
	for _, f := range p.bootArguments(name) {
		add(serial(f.where, []byte(f.text)))
	}
}

func listCPUInfo(p *probe, place string, add func(Candidate)) {
	add(serial(place+" Serial", []byte(p.fields(cpuinfoFile, place)["Serial"])))
}

// listMemory lists the numbers of memories that are soldered in; an SD card is
// not the device.
func listMemory(p *probe, place string, add func(Candidate)) {
	for _, name := range p.list(place) {
		folder := place + "/" + name + "/device/"
		if !strings.HasPrefix(name, "mmcblk") || p.text(folder+"type") != "MMC" {
			continue
		}
		data, err := p.read(folder + "cid")
		if err != nil {
			continue
		}
		c := serial(folder+"cid", data)
		c.Doubt = cmp.Or(c.Doubt, doubtCID(string(c.Raw)))
		add(c)
	}
}

// doubtCID judges the serial number in a memory's CID (JESD84, "CID register"):
// the rest is the same in the whole series.
func doubtCID(cid string) string {
	const from, to, whole = 20, 28, 32
	if len(cid) == whole && isHex(cid) && distinct(cid[from:to]) == 1 {
		return whyFew
	}
	return ""
}

func listUUID(p *probe, place string, add func(Candidate)) {
	if data, err := p.read(place); err == nil {
		c := serial(place, data)
		c.Doubt = cmp.Or(c.Doubt, doubtUUID(string(c.Raw)))
		add(c)
	}
}

// listBoard adds vendor and name to the board's serial number: makers number the
// boards of each model from the same start.
func listBoard(p *probe, place string, add func(Candidate)) {
	data, err := p.read(place)
	if err != nil {
		return
	}
	if c := serial(place, data); len(c.Raw) > 0 {
		c.Raw = slices.Concat([]byte(p.text(dmi+"board_vendor")+"|"+p.text(dmi+"board_name")+"|"), c.Raw)
		add(c)
	}
}

// listMAC lists the addresses of network adapters, Ethernet before Wi-Fi. A
// bond gives its slaves its own address; theirs is the permanent one.
func listMAC(p *probe, place string, add func(Candidate)) {
	var wifi []Candidate
	for _, name := range p.interfaces() {
		kind := p.devType(name)
		if kind != "" && kind != "wlan" && kind != "dsa" || p.text(place+name+"/type") != "1" {
			continue // a VLAN, a bridge, a modem; not Ethernet at all
		}
		take := add
		if p.isWiFi(name) {
			take = func(c Candidate) { wifi = append(wifi, c) }
		}
		p.addresses(name, func(c Candidate) {
			switch {
			case c.Doubt != "":
			case p.isModem(name) || p.isPhone(name):
				c.Doubt = "belongs to a modem or a phone"
			case !p.isHardware(name):
				c = c.distrust("belongs to an interface made by software")
			}
			take(c)
		})
	}
	for _, c := range wifi {
		add(c)
	}
}

// addresses lists the permanent and the current address of an adapter.
func (p *probe) addresses(name string, add func(Candidate)) {
	folder := netFolder + name
	address := func(text, assignType, place string) {
		if mac, err := net.ParseMAC(text); err == nil {
			why, burntIn := doubtMAC(mac, assignType)
			raw := []byte(strings.ReplaceAll(mac.String(), ":", ""))
			add(Candidate{Place: place, Raw: raw, Doubt: why, Untrusted: !burntIn})
		}
	}
	if p.hasEntry(name, "bonding_slave") {
		place := folder + "/bonding_slave/perm_hwaddr"
		address(p.text(place), "0", place)
	}
	for _, bond := range p.list(bondFolder) { // before Linux 3.14
		address(p.permanentAddress(bondFolder+"/"+bond, name), "0", bondFolder+"/"+bond)
	}
	address(p.text(folder+"/address"), p.text(folder+"/addr_assign_type"), folder+"/address")
}

const bondFolder = "/proc/net/bonding"

// permanentAddress finds a slave's address in the description of a bond; "" if
// it is not one of the bond's.
func (p *probe) permanentAddress(bond, slave string) string {
	current := ""
	for _, f := range p.rows(bond) {
		switch line := strings.Join(f, " "); {
		case strings.HasPrefix(line, "Slave Interface: "):
			current = f[2]
		case strings.HasPrefix(line, "Permanent HW addr: ") && current == slave:
			return f[3]
		}
	}
	return ""
}
