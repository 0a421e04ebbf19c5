package device

import (
	"bytes"
	"cmp"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// The kinds of connection that connectionType names.
const (
	kindLAN           = "LAN"
	kindWiFi          = "WiFi"
	kindCellular      = "cellular"
	kindNotConnected  = "notConnected"
	kindNotAccessible = "notAccessible"
)

const (
	routes4   = "/proc/net/route"
	routes6   = "/proc/net/ipv6_route"
	netFolder = "/sys/class/net/"

	// Of a route's flags, <linux/route.h>.
	flagUp     = 0x1
	flagReject = 0x200

	rawIP       = "65534"     // ARPHRD_NONE: modems that speak IP without Ethernet's headers, but tunnels too
	maxStack    = 4           // VLANs upon VLANs
	modemDriver = "cdc_ether" // by which most USB modems show as a network adapter
)

// connection is how the box is connected, and what says so.
type connection struct {
	kind, from string
	route      string // interface of the default route
}

// route is a default route.
type route struct {
	name   string
	metric uint64
}

// findConnection looks where packets to the world go. IPv4's table counts first, as Adobe's hosts and most homes have it;
// tunnels only where there is nothing else, for they are not what the box is connected by.
func (t *tree) findConnection() connection {
	data4, err4 := t.read(routes4)
	data6, err6 := t.read(routes6)
	for _, table := range []struct {
		from   string
		routes []route
	}{{routes4, parseRoutes4(data4)}, {routes6, parseRoutes6(data6)}} {
		if len(table.routes) == 0 {
			continue
		}
		best := slices.MinFunc(table.routes, func(a, b route) int {
			return cmp.Or(boolOrder(t.isTunnel(a.name), t.isTunnel(b.name)), cmp.Compare(a.metric, b.metric))
		})
		return connection{kind: t.interfaceKind(best.name), from: table.from + " " + best.name, route: best.name}
	}
	if err4 != nil || err6 != nil && !errors.Is(err6, fs.ErrNotExist) {
		return connection{kind: kindNotAccessible, from: routes4}
	}
	return connection{kind: kindNotConnected, from: routes4}
}

func boolOrder(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// parseRoutes4 finds the default routes that are up in /proc/net/route. Lines that make no sense are passed over.
func parseRoutes4(table []byte) []route {
	var routes []route
	for line := range bytes.Lines(wholeLines(table)) {
		// Iface Destination Gateway Flags RefCnt Use Metric Mask ...
		f := strings.Fields(string(line))
		if len(f) < 8 || f[1] != "00000000" || f[7] != "00000000" {
			continue
		}
		flags, err1 := strconv.ParseUint(f[3], 16, 32)
		metric, err2 := strconv.ParseUint(f[6], 10, 32)
		if err1 == nil && err2 == nil {
			routes = appendRoute(routes, f[0], flags, metric)
		}
	}
	return routes
}

// parseRoutes6 finds the default routes that are up in /proc/net/ipv6_route.
func parseRoutes6(table []byte) []route {
	var routes []route
	for line := range bytes.Lines(wholeLines(table)) {
		// destination, its length, source, its length, gateway, metric, references, use, flags, interface
		f := strings.Fields(string(line))
		if len(f) < 10 || f[0] != strings.Repeat("0", 32) || f[1] != "00" {
			continue
		}
		metric, err1 := strconv.ParseUint(f[5], 16, 32)
		flags, err2 := strconv.ParseUint(f[8], 16, 32)
		if err1 == nil && err2 == nil {
			routes = appendRoute(routes, f[9], flags, metric)
		}
	}
	return routes
}

func appendRoute(routes []route, name string, flags, metric uint64) []route {
	if flags&flagUp == 0 || flags&flagReject != 0 || !isInterfaceName(name) || name == "lo" {
		return routes
	}
	return append(routes, route{name, metric})
}

// isInterfaceName follows the kernel's dev_valid_name.
func isInterfaceName(name string) bool {
	return name != "" && len(name) < 16 && name != "." && name != ".." && name != "*" && !strings.ContainsAny(name, "/:")
}

// wholeLines leaves out the last line of a file that was cut at 64 KiB.
func wholeLines(data []byte) []byte {
	if len(data) == maxFile {
		return data[:bytes.LastIndexByte(data, '\n')+1]
	}
	return data
}

// interfaceKind tells Wi-Fi, cellular and the rest, which is a cable. A VLAN is what it is stacked upon.
func (t *tree) interfaceKind(name string) string {
	for range maxStack {
		switch {
		case t.isWiFi(name):
			return kindWiFi
		case t.isModem(name):
			return kindCellular
		}
		below := t.lower(name)
		if below == "" {
			break
		}
		name = below
	}
	return kindLAN
}

func (t *tree) isWiFi(name string) bool {
	folder := netFolder + name
	return t.devType(name) == "wlan" || t.exists(folder+"/phy80211") || t.exists(folder+"/wireless")
}

func (t *tree) isModem(name string) bool {
	return t.devType(name) == "wwan" || t.text(netFolder+name+"/type") == rawIP && !t.isTunnel(name) || t.isEthernetModem(name)
}

// isTunnel: a VPN has a modem's type, but is made by software.
func (t *tree) isTunnel(name string) bool {
	return t.devType(name) == "wireguard" || t.exists(netFolder+name+"/tun_flags")
}

// ethernetMakers are the USB vendors of network adapters that cdc_ether may drive where their own driver is missing.
var ethernetMakers = []string{
	"bda", "b95", "424", // Realtek, ASIX, Microchip
	"13b1", "17ef", "2001", "2357", "45e", "5ac", "955", // Linksys, Lenovo, D-Link, TP-Link, Microsoft, Apple, NVIDIA
}

// isEthernetModem: the driver says so, unless it stands in for that of a network adapter.
func (t *tree) isEthernetModem(name string) bool {
	folder := netFolder + name + "/device"
	uevent := t.fields(shellFile, folder+"/uevent")
	if uevent["DRIVER"] != modemDriver && t.linkBase(folder+"/driver") != modemDriver {
		return false
	}
	maker, _, _ := strings.Cut(uevent["PRODUCT"], "/") // PRODUCT=12d1/14db/102
	return !slices.Contains(ethernetMakers, strings.TrimLeft(strings.ToLower(maker), "0"))
}

// lower is the one interface that a VLAN or the like is stacked upon; "" where there is none, or several.
func (t *tree) lower(name string) string {
	var lower []string
	for _, entry := range t.list(netFolder + name) {
		if below, ok := strings.CutPrefix(entry, "lower_"); ok {
			lower = append(lower, below)
		}
	}
	if len(lower) == 1 {
		return lower[0]
	}
	if below, _, ok := strings.Cut(name, "."); ok && len(lower) == 0 && t.devType(name) == "vlan" {
		return below
	}
	return ""
}

func (t *tree) devType(name string) string {
	return t.fields(shellFile, netFolder+name+"/uevent")["DEVTYPE"]
}

// notPublic are blocks inside what looks global that can't be another's way to this box (IANA's special-purpose
// address registries).
var notPublic = []string{
	"0.0.0.0/8",
	"100.64.0.0/10", // behind a provider's NAT
	"192.0.0.0/24",
	"192.0.2.0/24",
	"192.88.99.0/24",
	"198.18.0.0/15",
	"198.51.100.0/24",
	"203.0.113.0/24",
	"240.0.0.0/4",
	"2001::/23",
	"2001:db8::/32",
	"2002::/16",
	"3fff::/20",
}

// ConnectionIP returns an address as connectionIp sends it; false unless it is globally routable. A private one is left
// out, for the server sees a better one itself.
func ConnectionIP(addr netip.Addr) (string, bool) {
	addr = addr.Unmap()
	if !addr.IsGlobalUnicast() || addr.IsPrivate() || addr.Zone() != "" ||
		addr.Is6() && !netip.MustParsePrefix("2000::/3").Contains(addr) {
		return "", false
	}
	for _, block := range notPublic {
		if netip.MustParsePrefix(block).Contains(addr) {
			return "", false
		}
	}
	return addr.String(), true
}

// probeTargets are addresses out in the world, as good as any other: nothing is sent to them.
var probeTargets = []string{"[2001:4860:4860::8888]:443", "8.8.8.8:443"}

// AddressInUse returns the public address that this machine sends from now; false if there is none, or if the way out
// is not by interfaceName ("" is any). It sends nothing: the kernel picks the address when a UDP socket is connected.
func AddressInUse(interfaceName string) (netip.Addr, bool) {
	for _, target := range probeTargets {
		conn, err := net.Dial("udp", target)
		if err != nil { // no route in this family
			continue
		}
		local, ok := conn.LocalAddr().(*net.UDPAddr)
		conn.Close() // of a socket that sent nothing
		if !ok {
			continue
		}
		addr := local.AddrPort().Addr().Unmap()
		if _, public := ConnectionIP(addr); public && (interfaceName == "" || hasAddress(interfaceName, addr)) {
			return addr, true
		}
	}
	return netip.Addr{}, false
}

func hasAddress(interfaceName string, addr netip.Addr) bool {
	i, err := net.InterfaceByName(interfaceName)
	if err != nil {
		return false
	}
	addrs, err := i.Addrs()
	if err != nil {
		return false
	}
	return slices.ContainsFunc(addrs, func(a net.Addr) bool {
		prefix, err := netip.ParsePrefix(a.String())
		return err == nil && prefix.Addr().Unmap() == addr
	})
}
