package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// The identifier is chosen once: it outlives a lost database, and hardware that
// says something else later only causes a warning.
func TestTheIdentifierStays(t *testing.T) {
	l := newLab(t)
	l.up()
	before := l.shown()
	l.daemon.stop()

	l.write("runtime/identifier", `{"source":"dmi-product-uuid","raw":"YW5vdGhlcg=="}`)
	l.up()
	if after := l.shown(); after.Identifier != before.Identifier {
		t.Errorf("the identifier is %v, and was %v", after.Identifier, before.Identifier)
	}
	l.token()
	l.run("status").expect(t, 1, "warning identifier_mismatch", "copied state directory")
	l.daemon.stop()

	l.must(os.Remove(l.path("state/tvpassd.db")))
	l.must(os.Remove(l.path("runtime/identifier")))
	l.up()
	if after := l.shown(); after.Identifier != before.Identifier {
		t.Errorf("without the database the identifier is %v, and was %v", after.Identifier, before.Identifier)
	}
	l.token()
	l.expectCalls(1, 2) // the credentials are in the copy, the token was in the database alone
}

// shown is what tvpassd device --json prints.
type shown struct {
	Info       map[string]any                 `json:"info"`
	Identifier struct{ Value, Source string } `json:"device_identifier"`
}

func (l *lab) shown() (dev shown) {
	l.t.Helper()
	r := l.run("device", "--json")
	r.expect(l.t, 0)
	l.must(json.Unmarshal([]byte(r.stdout), &dev))
	return dev
}

// What players send follows the network: a connection, an address, another
// address. A virtual adapter is no evidence of a cable.
func TestTheHeaderFollowsTheNetwork(t *testing.T) {
	needRoot(t)
	needMounts(t)
	l := newLab(t)
	ns := fmt.Sprintf("tvpassd-%d", os.Getpid())
	ip := func(args ...string) {
		t.Helper()
		r := l.exec(nil, "", "ip", args...)
		if r.code != 0 {
			t.Fatalf("ip %s: %s (apt-get install iproute2)", strings.Join(args, " "), r.stderr)
		}
	}
	ip("netns", "add", ns)
	t.Cleanup(func() {
		if out, err := exec.Command("ip", "netns", "del", ns).CombinedOutput(); err != nil {
			t.Errorf("ip netns del: %v\n%s", err, out)
		}
	})
	in := func(args ...string) { t.Helper(); ip(append([]string{"-n", ns}, args...)...) }
	in("link", "set", "lo", "up")
	l.daemon = l.start("ip", "netns", "exec", ns, programs.tvpassd, "run", "--config", l.path("config.toml"))
	t.Cleanup(l.daemon.kill)
	l.daemon.until("socket", func() bool { return l.exists("sock") })
	if got := l.shown().Info; got["connectionType"] != "notConnected" {
		t.Errorf("without a network: %v", got)
	}
	expect := func(what string, ip any) {
		t.Helper()
		l.daemon.until(what, func() bool {
			got := l.shown().Info
			return got["connectionType"] == "notAccessible" && got["connectionSecure"] == nil && got["connectionIp"] == ip
		})
	}
	in("link", "add", "eth0", "type", "veth", "peer", "name", "peer0")
	in("addr", "add", "93.184.216.34/24", "dev", "eth0")
	in("link", "set", "eth0", "up")
	in("link", "set", "peer0", "up")
	in("route", "add", "default", "via", "93.184.216.1", "dev", "eth0")
	expect("public address", "93.184.216.34")
	in("addr", "flush", "dev", "eth0")
	in("addr", "add", "192.168.7.2/24", "dev", "eth0")
	in("route", "add", "default", "via", "192.168.7.1", "dev", "eth0")
	expect("private address, which is left out", nil)
	in("link", "del", "eth0")
	l.daemon.until("no network", func() bool { return l.shown().Info["connectionType"] == "notConnected" })
}
