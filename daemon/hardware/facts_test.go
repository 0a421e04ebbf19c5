package hardware

import (
	"net/netip"
	"testing"

	"github.com/tvpassd/tvpassd/device"
)

// A call of the daemon's own names the address and port that it leaves from.
// Configured values win; a port of another address is left out.
func TestInfoFrom(t *testing.T) {
	const public, private = "93.184.216.34:4711", "192.168.1.2:4711"
	for _, tc := range []struct {
		local     string
		overrides map[string]any
		ip, port  any
	}{
		{public, nil, "93.184.216.34", int64(4711)},
		{"[2606:2800:220:1::1]:4711", nil, "2606:2800:220:1::1", int64(4711)},
		{"[::ffff:93.184.216.34]:4711", nil, "93.184.216.34", int64(4711)},
		{private, nil, nil, nil},
		{"127.0.0.1:4711", nil, nil, nil},
		{private, map[string]any{"connectionIp": "93.184.216.99"}, "93.184.216.99", nil},
		{public, map[string]any{"connectionPort": int64(99)}, "93.184.216.34", int64(99)},
		{private, map[string]any{"connectionIp": "93.184.216.99", "connectionPort": int64(99)}, "93.184.216.99", int64(99)},
	} {
		f := &facts{report: &device.Report{}, overrides: tc.overrides, address: "93.184.216.1"}
		for key, value := range tc.overrides {
			f.report.Info = f.report.Info.With(key, value)
		}
		info := f.infoFrom("APP", netip.MustParseAddrPort(tc.local))
		for _, call := range []struct{ app, local string }{ // each header but the last one is kept for the next
			{"APP", tc.local}, {"APP", tc.local}, {"OTHER", tc.local}, {"OTHER", "93.184.216.35:1"}, {"APP", tc.local},
		} {
			from := netip.MustParseAddrPort(call.local)
			if got := f.headerFrom(call.app, from); got != f.infoFrom(call.app, from).Header() {
				t.Errorf("%+v: the header of %v is %q", tc, call, got)
			}
		}
		ip, _ := info.Get("connectionIp")
		port, _ := info.Get("connectionPort")
		if app, _ := info.Get("applicationId"); ip != tc.ip || port != tc.port || app != "APP" {
			t.Errorf("from %s with %v: connectionIp %v, connectionPort %v, applicationId %v", tc.local, tc.overrides, ip, port,
				app)
		}

		// A player's own call has another port.
		players := f.info("APP")
		ip, _ = players.Get("connectionIp")
		port, _ = players.Get("connectionPort")
		wantIP, given := tc.overrides["connectionIp"]
		if !given {
			wantIP = "93.184.216.1"
		}
		if ip != wantIP || port != tc.overrides["connectionPort"] {
			t.Errorf("players with %v: connectionIp %v, connectionPort %v", tc.overrides, ip, port)
		}
	}
}
