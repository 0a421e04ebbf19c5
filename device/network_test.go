package device

import (
	"net/netip"
	"strings"
	"testing"
)

// routeTable writes a /proc/net/route of rows: interface, destination, gateway, flags, refcnt, use, metric, mask.
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
	wlan6   = zeros6 + " 00 " + zeros6 + " 00 fe800000000000000000000000000001 00000400 00000001 00000000 00450003    wlan0\n"
)

func TestConnection(t *testing.T) {
	wifi := map[string]string{"sys/class/net/wlan0/phy80211/name": "phy0\n"}
	for _, test := range []struct {
		name           string
		route4, route6 string
		files          map[string]string
		kind, route    string
	}{
		{"lowest metric", routeTable("wlan0 00000000 0 0003 0 0 600 00000000", "eth0 00000000 0 0003 0 0 100 00000000"), "",
			wifi, "LAN", "eth0"},
		{"a route that is down", routeTable("wlan0 00000000 0 0003 0 0 600 00000000", "eth0 00000000 0 0002 0 0 0 00000000"), "",
			wifi, "WiFi", "wlan0"},
		{"a rejecting route", routeTable("eth0 00000000 0 0201 0 0 0 00000000"), "", nil, "notConnected", ""},
		{"half of the world", routeTable("eth0 00000000 0 0003 0 0 0 00000080"), "", nil, "notConnected", ""},
		{"IPv6 only", routeTable(), reject6 + wlan6, wifi, "WiFi", "wlan0"},
		{"IPv6 rejects", routeTable(), reject6, nil, "notConnected", ""},
		{"nothing readable", "", "", nil, "notAccessible", ""},
		{"IPv6 alone readable", "", wlan6, wifi, "WiFi", "wlan0"},
		{"old wireless", routeTable("ath0 00000000 0 0003 0 0 0 00000000"), "",
			map[string]string{"sys/class/net/ath0/wireless/status": "0"}, "WiFi", "ath0"},
		{"modem", routeTable("wwan0 00000000 0 0001 0 0 0 00000000"), "",
			map[string]string{"sys/class/net/wwan0/type": "65534\n"}, "cellular", "wwan0"},
		{"modem as Ethernet", routeTable("eth1 00000000 0 0003 0 0 0 00000000"), "",
			map[string]string{"sys/class/net/eth1/device/uevent": "DRIVER=cdc_ether\nPRODUCT=12d1/14db/102\n"}, "cellular", "eth1"},
		{"adapter without its driver", routeTable("eth1 00000000 0 0003 0 0 0 00000000"), "",
			map[string]string{"sys/class/net/eth1/device/uevent": "DRIVER=cdc_ether\nPRODUCT=bda/8153/3000\n"}, "LAN", "eth1"},
		{"tunnel over Wi-Fi", routeTable("tun0 00000000 0 0001 0 0 0 00000000", "wlan0 00000000 0 0003 0 0 600 00000000"), "",
			map[string]string{"sys/class/net/tun0/type": "65534\n", "sys/class/net/tun0/tun_flags": "0x1\n",
				"sys/class/net/wlan0/uevent": "DEVTYPE=wlan\n"}, "WiFi", "wlan0"},
		{"VLAN on Wi-Fi", routeTable("wan 00000000 0 0003 0 0 0 00000000"), "",
			map[string]string{"sys/class/net/wan/lower_wlan0": "-> ../wlan0", "sys/class/net/wlan0/uevent": "DEVTYPE=wlan\n"},
			"WiFi", "wan"},
		{"VLANs in a ring", routeTable("a 00000000 0 0003 0 0 0 00000000"), "",
			map[string]string{"sys/class/net/a/lower_b": "", "sys/class/net/b/lower_a": ""}, "LAN", "a"},
		{"a name that is a path", routeTable("../../x 00000000 0 0003 0 0 0 00000000"), "", nil, "notConnected", ""},
	} {
		files := map[string]string{}
		for name, content := range test.files {
			files[name] = content
		}
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
			t.Errorf("%s: got %v by %q, want %s by %q", test.name, kind, report.Interface, test.kind, test.route)
		}
		if (secure == true) != (kind == "LAN") {
			t.Errorf("%s: connectionSecure is %v", test.name, secure)
		}
	}
}

func TestConnectionIP(t *testing.T) {
	for _, test := range []struct{ addr, want string }{
		{"8.8.8.8", "8.8.8.8"}, {"::ffff:8.8.8.8", "8.8.8.8"}, {"2a00:1450:4001::1", "2a00:1450:4001::1"},
		{"10.0.0.1", ""}, {"172.16.0.1", ""}, {"192.168.1.1", ""}, {"127.0.0.1", ""}, {"169.254.1.1", ""}, {"0.0.0.0", ""},
		{"100.64.0.1", ""}, {"192.0.2.1", ""}, {"198.51.100.7", ""}, {"203.0.113.9", ""}, {"198.18.0.1", ""}, {"224.0.0.1", ""},
		{"240.0.0.1", ""}, {"255.255.255.255", ""}, {"::1", ""}, {"::", ""}, {"fe80::1", ""}, {"fd00::1", ""}, {"ff02::1", ""},
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

// What the machine's network is like is not known here; what is said must be sendable, and must fit the interface.
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
