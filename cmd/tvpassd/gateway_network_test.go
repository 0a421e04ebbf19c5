package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// globalLab is a lab whose device has a global address, and whose server is
// another host: each has a network namespace of its own.
type globalLab struct {
	*lab
	device, host []string // enter the namespaces
}

const (
	deviceAddress = "93.184.216.34"
	serverAddress = "93.184.216.10"
)

func newGlobalLab(t *testing.T) *globalLab {
	t.Helper()
	needRoot(t)
	for _, tool := range []string{"unshare", "nsenter", "ip", "python3"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%v: apt-get install util-linux iproute2 python3", err)
		}
	}
	l := &globalLab{lab: newLab(t)}
	namespace := func(name string) []string {
		ready := l.path(name)
		holder := l.start("unshare", "--net", "sh", "-c", "ip link set lo up && touch "+ready+" && exec sleep infinity")
		t.Cleanup(holder.kill)
		holder.until("the namespace", func() bool { return l.exists(name) })
		return []string{"nsenter", "-t", strconv.Itoa(holder.cmd.Process.Pid), "--net"}
	}
	l.device, l.host = namespace("device"), namespace("host")
	l.in(l.device, "ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth1", "netns", l.host[2])
	l.in(l.device, "ip", "addr", "add", deviceAddress+"/24", "dev", "eth0")
	l.in(l.device, "ip", "link", "set", "eth0", "up")
	l.in(l.host, "ip", "addr", "add", serverAddress+"/24", "dev", "eth1")
	l.in(l.host, "ip", "link", "set", "eth1", "up")
	l.in(l.device, "ip", "route", "add", "default", "via", serverAddress)
	l.must(exec.Command("rm", l.path("addr"), l.path("ca.pem"), l.path("admin")).Run())
	sim := l.start(l.host[0], append(l.host[1:], programs.passsim, "-listen", serverAddress+":443", "-tls",
		"-tls-hosts", serverAddress, "-ca-out", l.path("ca.pem"), "-addr-out", l.path("addr"), "-admin", "127.0.0.1:8080",
		"-admin-out", l.path("admin"))...)
	t.Cleanup(sim.kill)
	sim.until("its address", func() bool { return l.exists("addr") && l.exists("admin") })
	l.endpoint = "https://" + serverAddress
	return l
}

// in runs a command in a namespace.
func (l *globalLab) in(namespace []string, args ...string) string {
	l.t.Helper()
	r := l.exec(nil, "", namespace[0], append(namespace[1:], args...)...)
	r.expect(l.t, 0)
	return r.stdout
}

func (l *globalLab) up() {
	l.t.Helper()
	l.daemon = l.start(l.device[0], append(l.device[1:], programs.tvpassd, "run", "--config", l.path("config.toml"))...)
	l.t.Cleanup(l.daemon.kill)
	l.daemon.until("socket", func() bool { return l.exists("sock") })
}

// arrived returns the API calls that came to the simulator, as address and device
// info.
func (l *globalLab) arrived() (calls []struct {
	Path       string         `json:"path"`
	RemoteAddr string         `json:"remote_addr"`
	At         time.Time      `json:"at"`
	DeviceInfo map[string]any `json:"device_info"`
}) {
	l.t.Helper()
	all := calls
	l.must(json.Unmarshal([]byte(l.in(l.host, "curl", "-sS", "http://127.0.0.1:8080/requests")), &all))
	for _, c := range all {
		if strings.HasPrefix(c.Path, "/api/") {
			calls = append(calls, c)
		}
	}
	return calls
}

// connectionIp and connectionPort are those that the server sees, for each call,
// on a kept connection too. The player's own connection is another one.
func TestGatewayTellsItsAddress(t *testing.T) {
	l := newGlobalLab(t)
	l.configure("", "[device]", `model = "Box"`, `version = "1"`)
	l.up()
	call := func() {
		t.Helper()
		l.curl("/v1/api/v2/REF30/configuration", "-o", l.path("answer")).expect(t, 200)
	}
	call()
	call()
	// When the link changes the kept connection is dropped, and the next call
	// makes another.
	l.in(l.device, "ip", "addr", "add", "93.184.216.35/24", "dev", "eth0")
	l.in(l.device, "ip", "addr", "del", deviceAddress+"/24", "dev", "eth0")
	l.in(l.device, "ip", "addr", "add", "93.184.216.35/24", "dev", "eth0")
	l.in(l.device, "ip", "route", "replace", "default", "via", serverAddress)
	l.daemon.until("the other address", func() bool { return l.shown().Info["connectionIp"] == "93.184.216.35" })
	call()
	call()
	calls := l.arrived()
	if len(calls) != 4 {
		t.Fatalf("%d calls arrived, want 4: %+v", len(calls), calls)
	}
	for i, c := range calls {
		ip, port := c.DeviceInfo["connectionIp"], c.DeviceInfo["connectionPort"]
		if got := fmt.Sprintf("%v:%v", ip, port); got != c.RemoteAddr {
			t.Errorf("call %d tells %s and comes from %s", i, got, c.RemoteAddr)
		}
	}
	for i := 1; i < len(calls); i += 2 {
		soon := calls[i].At.Sub(calls[i-1].At) < time.Second // the daemon keeps it for 2 s
		if soon && calls[i].RemoteAddr != calls[i-1].RemoteAddr {
			t.Errorf("a connection was not kept: %+v", calls)
		}
	}
	for i, want := range []string{deviceAddress, deviceAddress, "93.184.216.35", "93.184.216.35"} {
		if host, _, _ := net.SplitHostPort(calls[i].RemoteAddr); host != want {
			t.Errorf("call %d comes from %s, want %s", i, host, want)
		}
	}
}

// proxy is a proxy for CONNECT only.
const proxy = `
import socket, sys, threading
def pump(a, b):
    try:
        while True:
            data = a.recv(65536)
            if not data: break
            b.sendall(data)
    except OSError: pass
    for s in (a, b):
        try: s.shutdown(socket.SHUT_RDWR)
        except OSError: pass
def serve(c):
    head = b''
    while b'\r\n\r\n' not in head: head += c.recv(4096)
    host, port = head.split()[1].decode().rsplit(':', 1)
    s = socket.create_connection((host, int(port)))
    c.sendall(b'HTTP/1.1 200 OK\r\n\r\n')
    threading.Thread(target=pump, args=(c, s)).start()
    pump(s, c)
l = socket.create_server(('` + serverAddress + `', 3128))
open(sys.argv[1], 'w')
while True: threading.Thread(target=serve, args=(l.accept()[0],), daemon=True).start()
`

// Behind a proxy the server sees the proxy's address: the daemon sends none.
func TestGatewayTellsNoAddressBehindAProxy(t *testing.T) {
	l := newGlobalLab(t)
	l.write("proxy.py", proxy)
	p := l.start(l.host[0], append(l.host[1:], "python3", l.path("proxy.py"), l.path("listening"))...)
	t.Cleanup(p.kill)
	p.until("the proxy", func() bool { return l.exists("listening") })
	l.configure("", "[device]", `model = "Box"`, `version = "1"`)
	const http = "[http]\n"
	through := http + "proxy = \"http://" + serverAddress + ":3128\"\n"
	l.write("config.toml", strings.Replace(l.read("config.toml"), http, through, 1))
	l.up()
	for range 2 {
		l.curl("/v1/api/v2/REF30/configuration", "-o", l.path("answer")).expect(t, 200)
	}
	for i, c := range l.arrived() {
		_, ip := c.DeviceInfo["connectionIp"]
		_, port := c.DeviceInfo["connectionPort"]
		if host, _, _ := net.SplitHostPort(c.RemoteAddr); ip || port || host != serverAddress {
			t.Errorf("call %d comes from %s and tells %v", i, c.RemoteAddr, c.DeviceInfo)
		}
	}
	if n := len(l.arrived()); n != 2 {
		t.Errorf("%d calls arrived, want 2", n)
	}
}

// A call that fails because a name is not found says so: nothing of it has left.
func TestGatewayWithoutNames(t *testing.T) {
	l := newNetworkLab(t)
	l.up()
	l.token()
	l.daemon.stop() // the next one knows no address that was good
	for kind, fault := range map[string]string{
		"no such name": `{"kind":"nxdomain"}`, "no answer": `{"kind":"servfail"}`,
		"a blocker": `{"kind":"address","address":"0.0.0.0"}`,
	} {
		l.admin("DELETE", "/dns/fault", "")
		l.admin("POST", "/dns/fault", fault)
		l.up()
		r := l.curl("/v1/api/v2/REF30/profiles", "-i", "-H", "Prefer: wait=60")
		for _, want := range []string{
			" 503 ", "Proxy-Status: tvpassd; error=dns_error\r\n", `"code":"offline"`, `"sent":false`, "sp.example",
		} {
			if !strings.Contains(r.stdout, want) {
				t.Errorf("%s: %q is not in\n%s", kind, want, r.stdout)
			}
		}
		l.daemon.stop()
	}
}
