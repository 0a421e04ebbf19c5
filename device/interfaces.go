package device

import (
	"cmp"
	"slices"
	"strings"
)

const (
	netFolder = "/sys/class/net/"
	maxStack  = 8 // interfaces upon interfaces: a VLAN on a bridge on a bond
)

// The kernel's types of interfaces, <linux/if_arp.h>.
const (
	typeEthernet = "1"
	typePPP      = "512"
	typeRawIP    = "519"   // Qualcomm's modems
	typeNone     = "65534" // modems that speak IP without Ethernet's headers, and tunnels
)

// tunnelTypes are those of interfaces that carry packets within others: IPIP,
// IPv6 in IPv6, SIT, GRE, GRE in IPv6.
var tunnelTypes = []string{typeNone, "768", "769", "776", "778", "823"}

// tunnelKinds are what uevent calls interfaces that carry packets within others.
var tunnelKinds = []string{"wireguard", "vxlan", "geneve", "gre", "gretap", "l2tpeth", "ppp", "xfrm"}

// The drivers of USB network functions. A modem's is an Ethernet adapter to the
// kernel; a phone's leads to whatever the phone uses.
var (
	modemDrivers = []string{"cdc_ether"}
	phoneDrivers = []string{"rndis_host", "ipheth", "cdc_ncm", "cdc_eem", "cdc_subset"}
	classDrivers = []string{"cdc_ether", "cdc_ncm", "cdc_eem"} // also serve adapters whose own driver is missing
)

// ethernetMakers are the USB vendors of such adapters.
var ethernetMakers = []string{
	"bda", "b95", "424", // Realtek, ASIX, Microchip
	"13b1", "17e9", "17ef", "2001", "2357", "45e",
	"955", // Linksys, DisplayLink, Lenovo, D-Link, TP-Link, Microsoft, NVIDIA
}

// modemNames begin the names that drivers give to modems. A modem of raw IP has
// a tunnel's type, and old kernels say no more about it.
var modemNames = []string{"wwan", "rmnet", "ccmni"}

// dockersMAC begins the addresses that Docker gives to containers.
const dockersMAC = "02:42:"

// wiredNames begin the names of wired Ethernet adapters. A tree of files that
// were copied one by one has nothing else to tell them by.
var wiredNames = []string{"eth", "en", "em", "lan", "wan", "moca"}

// interfaceKind returns what an interface connects the device by, one of the
// kinds; "" if that can't be known. through is true for a tunnel: it says
// nothing, and what lies beneath it counts.
func (p *probe) interfaceKind(name string) (kind string, through bool) {
	return p.kindBelow(name, maxStack)
}

func (p *probe) kindBelow(name string, depth int) (kind string, through bool) {
	switch {
	case depth == 0:
		return "", false
	case p.isWiFi(name):
		return kindWiFi, false
	case p.isModem(name):
		return kindCellular, false
	case p.isPhone(name):
		return "", false
	}
	if lower := p.lower(name); len(lower) > 0 {
		return p.commonKind(lower, depth), false
	}
	switch {
	case p.isTunnel(name):
		return "", true
	case p.isCable(name):
		return kindLAN, false
	}
	return "", false
}

// commonKind returns the kind of what a stacked interface lies upon, if its live
// parts agree.
func (p *probe) commonKind(lower []string, depth int) string {
	common := ""
	for _, below := range lower {
		if !isInterfaceName(below) || p.isDown(below) {
			continue
		}
		kind, _ := p.kindBelow(below, depth-1)
		if kind == "" {
			continue
		}
		if common != "" && kind != common {
			return ""
		}
		common = kind
	}
	return common
}

// lower returns the interfaces that another one lies upon.
func (p *probe) lower(name string) []string {
	folder := netFolder + name
	if p.hasEntry(name, "bonding") {
		return strings.Fields(cmp.Or(p.about(name, "bonding/active_slave"), p.about(name, "bonding/slaves")))
	}
	devType := p.devType(name)
	if devType == "dsa" { // a switch's port: the link to the switch does not matter
		return nil
	}
	if p.hasEntry(name, "brif") {
		return p.list(folder + "/brif")
	}
	var lower []string
	for _, entry := range p.list(folder) {
		if below, ok := strings.CutPrefix(entry, "lower_"); ok {
			lower = append(lower, below)
		}
	}
	if len(lower) > 0 {
		return lower
	}
	switch {
	case devType == "bridge", devType == "bond", p.hasEntry(name, "bridge"):
		return p.ports(name)
	case devType == "vlan":
		return p.underVLAN(name)
	case slices.Contains([]string{"macvlan", "macvtap", "ipvlan"}, devType):
		return p.byIndex(p.about(name, "iflink"))
	case devType == "ppp", p.about(name, "type") == typePPP:
		return p.underPPP()
	}
	return nil
}

// ports returns the interfaces that name another one as their master.
func (p *probe) ports(master string) []string {
	return slices.DeleteFunc(slices.Clone(p.interfaces()), func(name string) bool {
		return p.linkBase(netFolder+name+"/master") != master
	})
}

// underVLAN returns the interface that a VLAN lies upon on kernels that have no
// link to it: "eth0.2" says so itself.
func (p *probe) underVLAN(name string) []string {
	if below := p.byIndex(p.about(name, "iflink")); below != nil {
		return below
	}
	for _, f := range p.rows("/proc/net/vlan/config") { // "vlan2 | 2 | eth0"
		if len(f) == 5 && f[0] == name {
			return f[4:]
		}
	}
	if below, _, ok := strings.Cut(name, "."); ok {
		return []string{below}
	}
	return nil
}

// byIndex returns the interface with an index.
func (p *probe) byIndex(index string) []string {
	for _, name := range p.interfaces() {
		if index != "" && p.about(name, "ifindex") == index {
			return []string{name}
		}
	}
	return nil
}

// underPPP returns the interfaces of PPPoE's sessions. Other PPP runs over a
// modem or through a tunnel, of which nothing can be known.
func (p *probe) underPPP() []string {
	var lower []string
	for _, f := range p.rows("/proc/net/pppoe") { // Id Address Device
		if len(f) == 3 && f[0] != "Id" {
			lower = append(lower, f[2])
		}
	}
	return lower
}

// about returns what a file of sysfs says about an interface.
func (p *probe) about(name, file string) string { return p.text(netFolder + name + "/" + file) }

func (p *probe) interfaces() []string { return p.list(strings.TrimSuffix(netFolder, "/")) }

func (p *probe) isWiFi(name string) bool {
	return p.devType(name) == "wlan" || p.hasEntry(name, "phy80211") || p.hasEntry(name, "wireless") ||
		p.hasWirelessStatistics(name)
}

// hasWirelessStatistics is for drivers so old that sysfs does not know them.
func (p *probe) hasWirelessStatistics(name string) bool {
	for _, f := range p.rows("/proc/net/wireless") {
		if len(f) > 0 && f[0] == name+":" {
			return true
		}
	}
	return false
}

func (p *probe) isModem(name string) bool {
	kind := p.about(name, "type")
	return p.devType(name) == "wwan" || kind == typeRawIP || p.isUSBFunction(name, modemDrivers) ||
		kind == typeNone && (p.hasDevice(name) || beginsWith(name, modemNames))
}

func (p *probe) isPhone(name string) bool { return p.isUSBFunction(name, phoneDrivers) }

// isUSBFunction reports whether one of the drivers serves an interface, and not
// in place of a network adapter's own.
func (p *probe) isUSBFunction(name string, drivers []string) bool {
	folder := netFolder + name + "/device"
	uevent := p.fields(shellFile, folder+"/uevent")
	driver := cmp.Or(uevent["DRIVER"], p.linkBase(folder+"/driver"))
	if !slices.Contains(drivers, driver) {
		return false
	}
	maker, _, _ := strings.Cut(uevent["PRODUCT"], "/") // PRODUCT=12d1/14db/102
	isAdapter := slices.Contains(ethernetMakers, strings.TrimLeft(strings.ToLower(maker), "0"))
	return !isAdapter || !slices.Contains(classDrivers, driver)
}

// isTunnel reports whether an interface carries its packets within those of
// another.
func (p *probe) isTunnel(name string) bool {
	kind := p.about(name, "type")
	return slices.Contains(tunnelKinds, p.devType(name)) || p.hasEntry(name, "tun_flags") || kind == typePPP ||
		slices.Contains(tunnelTypes, kind) && !p.hasDevice(name)
}

// isCable reports whether an interface is proven to be a wired Ethernet adapter.
func (p *probe) isCable(name string) bool {
	kind := p.devType(name)
	return (kind == "" || kind == "dsa") && p.about(name, "type") == typeEthernet && p.isHardware(name)
}

func (p *probe) hasDevice(name string) bool { return p.hasEntry(name, "device") }

// hasEntry reports whether sysfs has a file or folder about an interface.
func (p *probe) hasEntry(name, entry string) bool {
	return slices.Contains(p.list(netFolder+name), entry)
}

// isHardware reports whether there is a device behind an interface. In sysfs
// every interface is a link, and its device tells. A tree of copied files may
// lack that: then one with a usual name counts unless something shows that
// software made it.
func (p *probe) isHardware(name string) bool {
	folder := netFolder + name
	switch {
	case p.hasDevice(name):
		return true
	case p.live || p.linkBase(folder) != "" || p.list(folder) == nil:
		return false
	}
	index, link := p.about(name, "ifindex"), p.about(name, "iflink")
	return (index == "" || link == "" || index == link) && !p.hasEntry(name, "bridge") && !p.hasEntry(name, "bonding") &&
		(p.isWiFi(name) || beginsWith(name, wiredNames) && !strings.HasPrefix(p.about(name, "address"), dockersMAC))
}

func beginsWith(name string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// isDown reports whether an interface is known to have no connection.
func (p *probe) isDown(name string) bool {
	return p.about(name, "carrier") == "0" ||
		slices.Contains([]string{"down", "lowerlayerdown", "notpresent"}, p.about(name, "operstate"))
}

// isUp reports whether an interface is known to have a connection.
func (p *probe) isUp(name string) bool {
	return !p.isDown(name) && (p.about(name, "carrier") == "1" || p.about(name, "operstate") == "up")
}

func (p *probe) devType(name string) string {
	return p.fields(shellFile, netFolder+name+"/uevent")["DEVTYPE"]
}
