package device

import (
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// routeTable writes a /proc/net/route of rows: interface, destination, gateway,
// flags, refcnt, use, metric, mask.
func routeTable(rows ...string) string {
	table := "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
	for _, row := range rows {
		table += strings.Join(strings.Fields(row), "\t") + "\t0\t0\t0\n"
	}
	return table
}

const (
	zeros6  = "00000000000000000000000000000000"
	reject6 = zeros6 + " 00 " + zeros6 + " 00 " + zeros6 + " ffffffff 00000001 00000000 00200200       lo\n"
	wlan6   = zeros6 + " 00 " + zeros6 +
		" 00 fe800000000000000000000000000001 00000400 00000001 00000000 00450003    wlan0\n"
)

// sysfs is what a tree holds of network interfaces, one a line: its name, then
// file=content; "device" stands for a device, "->x" for the link lower_x, and
// uevent=X for DEVTYPE=X.
func sysfs(lines ...string) map[string]string {
	files := map[string]string{}
	for _, line := range lines {
		f := strings.Fields(line)
		folder := "sys/class/net/" + f[0] + "/"
		files[folder+"type"] = "1\n"
		for _, file := range f[1:] {
			name, content, _ := strings.Cut(file, "=")
			switch {
			case name == "device":
				files[folder+"device/uevent"] = strings.ReplaceAll(content, ";", "\n")
			case strings.HasPrefix(name, "->"):
				files[folder+"lower_"+name[2:]] = "-> ../" + name[2:]
			case name == "uevent":
				files[folder+name] = "DEVTYPE=" + content + "\n"
			default:
				files[folder+name] = strings.ReplaceAll(content, ",", " ") + "\n"
			}
		}
	}
	return files
}

// linked is a device's routes and interfaces, and what it is connected by.
type linked struct {
	name           string
	route4, route6 string
	sysfs          map[string]string
	kind, route    string
}

// Lines of sysfs, and the rest of a route.
const (
	eth    = "eth0 device carrier=1"
	wlan   = "wlan0 uevent=wlan device carrier=1 operstate=up"
	subnet = " 0001A8C0 00000000 0001 0 0 0 00FFFFFF"
)

// way is a table whose one default route is by an interface.
func way(name string) string { return routeTable(name + " 00000000 0 0003 0 0 0 00000000") }

func testConnections(t *testing.T, connections []linked) {
	t.Helper()
	for _, test := range connections {
		t.Run(test.name, test.test)
	}
}

func (test linked) test(t *testing.T) {
	files := merge(test.sysfs, nil)
	if test.route4 != "" {
		files["proc/net/route"] = test.route4
	}
	if test.route6 != "" {
		files["proc/net/ipv6_route"] = test.route6
	}
	report := probeFiles(t, files, nil)
	kind, _ := report.Info.Get("connectionType")
	secure, _ := report.Info.Get("connectionSecure")
	if kind != test.kind || report.Interface != test.route {
		t.Errorf("got %v by %q, want %s by %q", kind, report.Interface, test.kind, test.route)
	}
	if (secure == true) != (kind == "LAN") {
		t.Errorf("connectionSecure is %v", secure)
	}
}

// The route says which interface is used.
func TestConnectionByRoute(t *testing.T) {
	testConnections(t, []linked{
		{"lowest metric", routeTable("wlan0 00000000 0 0003 0 0 600 00000000", "eth0 00000000 0 0003 0 0 100 00000000"), "",
			sysfs(eth, wlan), "LAN", "eth0"},
		{"a route that is down", routeTable("wlan0 00000000 0 0003 0 0 600 00000000", "eth0 00000000 0 0002 0 0 0 00000000"),
			"",
			sysfs(eth, wlan), "WiFi", "wlan0"},
		{"a cable that was pulled", routeTable("wlan0 00000000 0 0003 0 0 600 00000000",
			"eth0 00000000 0 0003 0 0 100 00000000"), "",
			sysfs("eth0 device carrier=0", wlan), "WiFi", "wlan0"},
		{"the only cable was pulled", way("eth0"), "", sysfs("eth0 device carrier=0 operstate=down"), "notConnected", ""},
		{"a rejecting route", routeTable("eth0 00000000 0 0201 0 0 0 00000000"), "", sysfs(eth), "notConnected", ""},
		{"half of the world", routeTable("tun0 00000000 0 0003 0 0 0 00000080"), "", sysfs("tun0 tun_flags=0x1 type=65534"),
			"notConnected", ""},
		{"IPv6 only", routeTable(), reject6 + wlan6, sysfs(wlan), "WiFi", "wlan0"},
		{"IPv6 rejects", routeTable(), reject6, nil, "notConnected", ""},
		{"nothing readable", "", "", sysfs(eth), "notAccessible", ""},
		{"IPv6 alone readable", "", wlan6, sysfs(wlan), "WiFi", "wlan0"},
		{"IPv6 alone readable, without a way", "", reject6, nil, "notAccessible", ""},
		{"a name that is a path", routeTable("../../x 00000000 0 0003 0 0 0 00000000"), "", nil, "notConnected", ""},
	})
}

// Android, and every policy routing: the main table has no default route.
func TestConnectionByPolicy(t *testing.T) {
	testConnections(t, []linked{
		{"policy routing", routeTable("eth0" + subnet), "", sysfs("eth0 device carrier=1 operstate=up"), "LAN", "eth0"},
		{"policy routing by Wi-Fi", routeTable("wlan0" + subnet), "", sysfs("eth0 device carrier=0 operstate=down", wlan),
			"WiFi", "wlan0"},
		{"a subnet that is down", routeTable("wlan0" + subnet), "", sysfs("wlan0 uevent=wlan carrier=0"), "notConnected",
			""},
		{"a subnet of containers", routeTable("docker0"+subnet, "wlan0"+subnet), "",
			sysfs("docker0 uevent=bridge carrier=1 ->veth1", "veth1 carrier=1", wlan), "WiFi", "wlan0"},
	})
}

// What is not a cable.
func TestConnectionByInterface(t *testing.T) {
	testConnections(t, []linked{
		{"a route without an interface", way("eth0"), "", nil, "notAccessible", "eth0"},
		{"old wireless", way("ath0"), "", sysfs("ath0 device wireless/status=0"), "WiFi", "ath0"},
		{"older wireless", way("eth1"), "", merge(sysfs("eth1 device"),
			map[string]string{"proc/net/wireless": "Inter-| sta-|\n eth1: 0000 54.\n"}),
			"WiFi", "eth1"},
		{"modem", way("wwan0"), "", sysfs("wwan0 type=65534 uevent=wwan"), "cellular", "wwan0"},
		{"modem by its name", way("wwan0"), "", sysfs("wwan0 type=65534"), "cellular", "wwan0"},
		{"modem of raw IP", way("wwan0"), "", sysfs("wwan0 type=65534 device=DRIVER=qmi_wwan"), "cellular", "wwan0"},
		{"Qualcomm's modem", way("rmnet_data0"), "", sysfs("rmnet_data0 type=519"), "cellular", "rmnet_data0"},
		{"modem as Ethernet", way("eth1"), "", sysfs("eth1 device=DRIVER=cdc_ether;PRODUCT=12d1/14db/102"), "cellular",
			"eth1"},
		{"adapter without its driver", way("eth1"), "", sysfs("eth1 device=DRIVER=cdc_ether;PRODUCT=bda/8153/3000"), "LAN",
			"eth1"},
		{"adapter as cdc_ncm", way("eth1"), "", sysfs("eth1 device=DRIVER=cdc_ncm;PRODUCT=bda/8156/3000"), "LAN", "eth1"},
		{"phone", way("usb0"), "", sysfs("usb0 device=DRIVER=rndis_host;PRODUCT=18d1/4ee4/404", eth), "notAccessible",
			"usb0"},
		{"iPhone as cdc_ncm", way("eth1"), "", sysfs("eth1 device=DRIVER=cdc_ncm;PRODUCT=5ac/12a8/1000"), "notAccessible",
			"eth1"},
		{"iPhone", way("eth1"), "", sysfs("eth1 device=DRIVER=ipheth;PRODUCT=5ac/12a8/1000"), "notAccessible", "eth1"},
		{"phone as cdc_ncm", way("usb0"), "", sysfs("usb0 device=DRIVER=cdc_ncm;PRODUCT=18d1/4eec/515"), "notAccessible",
			"usb0"},
		{"USB gadget", way("usb0"), "", sysfs("usb0 uevent=gadget device=DRIVER=configfs-gadget.g1"), "notAccessible",
			"usb0"},
		{"Bluetooth", way("bnep0"), "", sysfs("bnep0 uevent=bluetooth device"), "notAccessible", "bnep0"},
		{"container", way("eth0"), "", sysfs("eth0 ifindex=7 iflink=8"), "notAccessible", "eth0"},
		{"container, by its address", way("eth0"), "", sysfs("eth0 address=02:42:ac:11:00:02"), "notAccessible", "eth0"},
		{"container, as sysfs has it", way("eth0"), "",
			map[string]string{"sys/class/net/eth0": "-> ../../devices/virtual/net/eth0",
				"sys/devices/virtual/net/eth0/type": "1\n"}, "notAccessible", "eth0"},
		{"infiniband", way("ib0"), "", sysfs("ib0 type=32 device"), "notAccessible", "ib0"},
		{"a switch's port", way("wan"), "", sysfs("wan uevent=dsa device ->eth0", "eth0 device"), "LAN", "wan"},
	})
}

// Tunnels: what lies beneath counts.
func TestConnectionOfTunnels(t *testing.T) {
	testConnections(t, []linked{
		{"tunnel over Wi-Fi", routeTable("tun0 00000000 0 0001 0 0 0 00000000", "wlan0 00000000 0 0003 0 0 600 00000000"),
			"",
			sysfs("tun0 type=65534 tun_flags=0x1", wlan), "WiFi", "wlan0"},
		{"WireGuard over a cable", routeTable("wg0 00000000 0 0001 0 0 0 00000000", "eth0"+subnet), "",
			sysfs("wg0 type=65534 uevent=wireguard", "eth0 device carrier=1 operstate=up"), "LAN", "eth0"},
		{"xfrm over Wi-Fi", routeTable("ipsec0 00000000 0 0001 0 0 0 00000000", "wlan0"+subnet), "",
			sysfs("ipsec0 type=65534", wlan), "WiFi", "wlan0"},
		{"GRE over Wi-Fi", routeTable("gre1 00000000 0 0001 0 0 0 00000000", "wlan0"+subnet), "",
			sysfs("gre1 type=778", wlan), "WiFi", "wlan0"},
		{"L2TP over Wi-Fi", routeTable("l2tp0 00000000 0 0001 0 0 0 00000000", "wlan0"+subnet), "",
			sysfs("l2tp0 uevent=l2tpeth", wlan), "WiFi", "wlan0"},
		{"a bridge over a tap", routeTable("tap0 00000000 0 0001 0 0 0 00000000", "wlan0"+subnet), "",
			sysfs("tap0 tun_flags=0x2", wlan), "WiFi", "wlan0"},
		{"a tunnel over nothing", way("tun0"), "", sysfs("tun0 type=65534 tun_flags=0x1"), "notAccessible", "tun0"},
		{"PPPoE", way("ppp0"), "", merge(sysfs("ppp0 type=512 uevent=ppp", eth),
			map[string]string{"proc/net/pppoe": "Id       Address              Device\n00000001 00:1b:21:aa:17:0c     eth0\n"}),
			"LAN", "ppp0"},
		{"PPP over a modem", way("ppp0"), "", sysfs("ppp0 type=512 uevent=ppp"), "notAccessible", "ppp0"},
	})
}

// Stacks: the live lower one counts.
func TestConnectionOfStacks(t *testing.T) {
	testConnections(t, []linked{
		{"VLAN on Wi-Fi", way("wan"), "", sysfs("wan ->wlan0", wlan), "WiFi", "wan"},
		{"VLAN by its name", way("eth0.2"), "", sysfs("eth0.2 uevent=vlan", eth), "LAN", "eth0.2"},
		{"VLAN by its index", way("vlan2"), "", sysfs("vlan2 uevent=vlan iflink=3", "wlan0 uevent=wlan ifindex=3"), "WiFi",
			"vlan2"},
		{"VLAN by its table", way("vlan2"), "", merge(sysfs("vlan2 uevent=vlan", eth),
			map[string]string{"proc/net/vlan/config": "VLAN Dev name | VLAN ID\nvlan2 | 2 | eth0\n"}), "LAN", "vlan2"},
		{"macvlan", way("mac0"), "", sysfs("mac0 uevent=macvlan ->eth0", eth), "LAN", "mac0"},
		{"bond's active slave", way("bond0"), "",
			sysfs("bond0 uevent=bond bonding/active_slave=wlan0 bonding/slaves=eth0,wlan0 ->eth0 ->wlan0", eth, wlan), "WiFi",
			"bond0"},
		{"bond of two cables", way("bond0"), "",
			sysfs("bond0 uevent=bond bonding/slaves=eth0,eth1 ->eth0 ->eth1", eth, "eth1 device carrier=0"), "LAN", "bond0"},
		{"bond of both, all in use", way("bond0"), "", sysfs("bond0 uevent=bond bonding/slaves=eth0,wlan0", eth, wlan),
			"notAccessible", "bond0"},
		{"bridge by its ports", way("br0"), "",
			merge(sysfs("br0 uevent=bridge", "eth1 device carrier=0", wlan),
				map[string]string{"sys/class/net/wlan0/master": "-> ../br0",
					"sys/class/net/eth1/master": "-> ../br0"}), "WiFi", "br0"},
		{"team", way("team0"), "", sysfs("team0 ->eth0 ->wlan0", "eth0 device carrier=0", wlan), "WiFi", "team0"},
		{"bridge of a cable and containers", way("br0"), "",
			sysfs("br0 uevent=bridge brif/eth0/port_no=1 brif/veth1/port_no=2 ->eth0 ->veth1", eth,
				"veth1 ifindex=9 iflink=2 carrier=1"), "LAN", "br0"},
		{"bridge of a cable and Wi-Fi", way("br0"), "", sysfs("br0 uevent=bridge ->eth0 ->wlan0", eth, wlan),
			"notAccessible", "br0"},
		{"bridge of a dead cable and Wi-Fi", way("br0"), "",
			sysfs("br0 uevent=bridge ->eth0 ->wlan0", "eth0 device operstate=down", wlan), "WiFi", "br0"},
		{"VLAN on a bridge on a bond", way("br0.7"), "",
			sysfs("br0.7 uevent=vlan ->br0", "br0 uevent=bridge ->bond0", "bond0 bonding/active_slave=eth0", eth), "LAN",
			"br0.7"},
		{"VLANs in a ring", way("a"), "", sysfs("a ->b", "b ->a"), "notAccessible", "a"},
	})
}

// A connection that is configured proves no cable.
func TestConfiguredConnectionIsNotSecure(t *testing.T) {
	report := probeFiles(t, merge(sysfs("wlan0 uevent=wlan"),
		map[string]string{"proc/net/route": routeTable("wlan0 00000000 0 0003 0 0 0 00000000")}),
		map[string]any{"connectionType": "LAN"})
	if secure, ok := report.Info.Get("connectionSecure"); ok {
		t.Errorf("connectionSecure is %v", secure)
	}
}

// The main table of a network namespace is empty, and its default route stands
// in a table of its own: only the kernel knows it.
func TestPolicyRoutingLive(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("run as root: this makes a network namespace")
	}
	ip := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v\n%s(apt-get install iproute2)", strings.Join(args, " "), err, out)
		}
	}
	runtime.LockOSThread() // never unlocked: the thread ends with the test, and the namespace with it
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skip("can't make a network namespace here: ", err)
	}
	if name, reachable := interfaceInUse(); name != "" || reachable {
		t.Errorf("without a route: %q, %v", name, reachable)
	}
	ip("link", "set", "lo", "up")
	ip("link", "add", "eth0", "type", "veth", "peer", "name", "p0")
	ip("addr", "add", "192.168.7.2/24", "dev", "eth0")
	ip("link", "set", "eth0", "up")
	ip("link", "set", "p0", "up")
	ip("route", "add", "default", "via", "192.168.7.1", "dev", "eth0", "table", "201")
	if name, _ := interfaceInUse(); name != "" {
		t.Errorf("without a rule: %q", name)
	}
	ip("rule", "add", "from", "all", "lookup", "201", "priority", "32000")
	if name, reachable := interfaceInUse(); name != "eth0" || !reachable {
		t.Errorf("with a rule: %q, %v", name, reachable)
	}
}

func merge(a, b map[string]string) map[string]string {
	all := map[string]string{}
	maps.Copy(all, a)
	maps.Copy(all, b)
	return all
}

func TestConnectionIP(t *testing.T) {
	for _, test := range []struct{ addr, want string }{
		{"8.8.8.8", "8.8.8.8"}, {"::ffff:8.8.8.8", "8.8.8.8"}, {"2a00:1450:4001::1", "2a00:1450:4001::1"},
		{"10.0.0.1", ""}, {"172.16.0.1", ""}, {"192.168.1.1", ""}, {"127.0.0.1", ""}, {"169.254.1.1", ""}, {"0.0.0.0", ""},
		{"100.64.0.1", ""}, {"192.0.2.1", ""}, {"198.51.100.7", ""}, {"203.0.113.9", ""}, {"198.18.0.1", ""},
		{"224.0.0.1", ""},
		{"240.0.0.1", ""}, {"255.255.255.255", ""}, {"::1", ""}, {"::", ""}, {"fe80::1", ""}, {"fd00::1", ""},
		{"ff02::1", ""},
		{"2001:db8::1", ""}, {"2002:808:808::1", ""}, {"64:ff9b::808:808", ""}, {"3fff::1", ""}, {"2a00::1%eth0", ""},
		{"::ffff:10.0.0.1", ""},
	} {
		got, ok := ConnectionIP(netip.MustParseAddr(test.addr))
		if got != test.want || ok != (test.want != "") {
			t.Errorf("%s: got %q, %v, want %q", test.addr, got, ok, test.want)
		}
	}
	if got, ok := ConnectionIP(netip.Addr{}); ok {
		t.Errorf("no address at all: got %q", got)
	}
}

// What this device's network is like is not known here: the address must be one
// that can be sent, and must fit the interface.
func TestAddressInUse(t *testing.T) {
	addr, ok := AddressInUse("")
	if _, public := ConnectionIP(addr); public != ok {
		t.Errorf("got %v, %v", addr, ok)
	}
	if addr, ok := AddressInUse("no-such-thing"); ok {
		t.Errorf("by an interface that is not there: %v", addr)
	}
	if addr, ok := AddressInUse("lo"); ok {
		t.Errorf("by loopback: %v", addr)
	}
}
