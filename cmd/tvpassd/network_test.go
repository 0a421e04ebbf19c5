package main

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// networkLab is a lab in a network namespace of its own: the server is
// sp.example at 192.0.2.10, and the name server at 192.0.2.53 is the only one
// in /etc/resolv.conf.
type networkLab struct {
	*lab
	enter []string // enters the namespace
}

func newNetworkLab(t *testing.T, simFlags ...string) *networkLab {
	t.Helper()
	needRoot(t)
	needMounts(t)
	l := &networkLab{lab: newLab(t)}
	for _, tool := range []string{"unshare", "nsenter", "ip", "mount"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%v: apt-get install util-linux iproute2 mount", err)
		}
	}
	l.write("resolv.conf", "nameserver 192.0.2.53\n")
	l.write("namespace", fmt.Sprintf(`set -e
ip link set lo up
ip addr add 192.0.2.10/32 dev lo
ip addr add 192.0.2.53/32 dev lo
ip link add eth0 type veth peer name peer0
ip addr add 10.99.0.2/24 dev eth0
ip link set eth0 up
ip link set peer0 up
ip route add default via 10.99.0.1 dev eth0
mount --bind %s /etc/resolv.conf
touch %s
exec sleep infinity
`, l.path("resolv.conf"), l.path("ready")))
	holder := l.start("unshare", "--net", "--mount", "sh", l.path("namespace"))
	t.Cleanup(holder.kill)
	holder.until("the network", func() bool { return l.exists("ready") })
	l.enter = []string{"nsenter", "-t", fmt.Sprint(holder.cmd.Process.Pid), "--net", "--mount", "--root", "--wd"}
	l.must(exec.Command("rm", l.path("addr"), l.path("ca.pem")).Run())
	sim := l.inside(append([]string{programs.passsim, "-listen", "192.0.2.10:443", "-tls", "-tls-hosts", "sp.example",
		"-ca-out", l.path("ca.pem"), "-addr-out", l.path("addr"), "-admin", "127.0.0.1:8080",
		"-dns", "192.0.2.53:53", "-dns-host", "sp.example=192.0.2.10"}, simFlags...)...)
	t.Cleanup(sim.kill)
	sim.until("its address", func() bool { return l.exists("addr") })
	l.endpoint = "https://sp.example"
	l.configure("", "[device]", `model = "Box"`, `version = "1"`)
	return l
}

// inside starts a program in the namespace.
func (l *networkLab) inside(args ...string) *process {
	l.t.Helper()
	return l.start(l.enter[0], append(l.enter[1:], args...)...)
}

// do runs a command in the namespace.
func (l *networkLab) do(args ...string) result {
	l.t.Helper()
	return l.exec(nil, "", l.enter[0], append(l.enter[1:], args...)...)
}

func (l *networkLab) up() {
	l.t.Helper()
	l.daemon = l.inside(programs.tvpassd, "run", "--config", l.path("config.toml"))
	l.t.Cleanup(l.daemon.kill)
	l.daemon.until("socket", func() bool { return l.exists("sock") })
}

// admin asks the simulator's admin API.
func (l *networkLab) admin(method, path, body string) string {
	l.t.Helper()
	r := l.do("curl", "-sS", "--max-time", "30", "-X", method, "-d", body, "http://127.0.0.1:8080"+path)
	r.expect(l.t, 0)
	return r.stdout
}

// seen returns how many token requests came, and how many queries.
func (l *networkLab) seen() (tokens, queries int) {
	l.t.Helper()
	var counts struct{ Token int }
	l.must(json.Unmarshal([]byte(l.admin("GET", "/counts", "")), &counts))
	var list []struct{}
	l.must(json.Unmarshal([]byte(l.admin("GET", "/dns/queries", "")), &list))
	return counts.Token, len(list)
}

// check returns a check of the doctor's.
func (l *networkLab) check(id string) string {
	l.t.Helper()
	var report struct {
		Checks []struct{ ID, Status, Detail, Todo string }
	}
	l.must(
		json.Unmarshal(
			[]byte(l.do(programs.tvpassd, "doctor", "--json", "--config", l.path("config.toml")).stdout),
			&report,
		),
	)
	for _, c := range report.Checks {
		if c.ID == id {
			return c.Status + ": " + c.Detail + ": " + c.Todo
		}
	}
	return ""
}

// The name servers of home routers that glibc copes with give a token here too,
// and the doctor names the fault.
func TestRouters(t *testing.T) {
	for name, tc := range map[string]struct{ faults, told string }{
		"EDNS0 refused": {"edns=true kind=formerr", "192.0.2.53 answers FORMERR when asked with EDNS0"},
		"EDNS0 dropped": {"edns=true kind=drop", "192.0.2.53 does not answer when asked with EDNS0"},
		"EDNS0 mangled": {"edns=true kind=mangle", "192.0.2.53 sends broken answers when asked with EDNS0"},
		"EDNS0 cut short": {"edns=true kind=truncate;proto=tcp kind=drop",
			"192.0.2.53 sends answers that are cut short when asked with EDNS0"},
		"AAAA never": {"type=AAAA kind=drop", "192.0.2.53 does not answer queries for AAAA records"},
		"AAAA fails": {"type=AAAA kind=servfail", ""},
		"AAAA never, EDNS0": {"type=AAAA kind=drop;edns=true kind=drop",
			"192.0.2.53 does not answer queries for AAAA records"},
		"slow":               {"kind=delay delay=6s", "192.0.2.53 does not answer within 2.5s"},
		"cut short, no TCP":  {"kind=partial;proto=tcp kind=drop", "192.0.2.53 can't be asked over TCP (EOF)"},
		"forged and true":    {"kind=forge", ""},
		"answers over TCP":   {"kind=truncate", ""},
		"the server as good": {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var flags []string
			for fault := range strings.SplitSeq(tc.faults, ";") {
				if fault != "" {
					flags = append(flags, "-dns-fault", fault)
				}
			}
			l := newNetworkLab(t, flags...)
			l.up()
			l.token()
			if log := l.daemon.stderr.String(); strings.Contains(log, "no new token") {
				t.Errorf("a call failed:\n%s", log)
			}
			if got := l.check("dns"); !strings.Contains(got, tc.told) ||
				(tc.told != "") != strings.HasPrefix(got, "warning: ") && name != "AAAA fails" &&
					name != "answers over TCP" {
				t.Errorf("the doctor says %q, want %q", got, tc.told)
			}
		})
	}
}

// Whatever DHCP leaves in resolv.conf, status and doctor say what is wrong with
// it, and a better one is used without a restart.
func TestResolvConf(t *testing.T) {
	const none = "/etc/resolv.conf names no name server but this device, which does not answer DNS"
	for name, tc := range map[string]struct{ text, told string }{
		"empty":         {"", none},
		"only a domain": {"search lan\n", none},
		"with a port":   {"nameserver 192.0.2.53:53\n", none},
		"a stub that is gone": {"nameserver 127.0.0.53\noptions edns0 trust-ad\n",
			"127.0.0.53 can't be reached (connection refused)"},
		"CR LF":                      {"nameserver 192.0.2.53\r\n", ""},
		"the second answers":         {"nameserver 192.0.2.54\nnameserver 192.0.2.53\n", ""},
		"a domain that has the name": {"search lan\nnameserver 192.0.2.53\noptions ndots:5\n", ""},
		"impatient, and TCP for all": {"nameserver 192.0.2.53\noptions timeout:30 attempts:10 rotate use-vc\n", ""},
		"a zone that is not there":   {"nameserver fe80::1%nowhere\nnameserver 192.0.2.53\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			l := newNetworkLab(t, "-dns-host", "sp.example.lan=192.0.2.54")
			l.write("resolv.conf", tc.text)
			l.up()
			if tc.told != "" {
				l.daemon.until("the fault in status",
					func() bool { return strings.Contains(l.run("status", "--json").stdout, tc.told) })
				if got := l.check("dns"); !strings.HasPrefix(got, "failed: ") || !strings.Contains(got, tc.told) {
					t.Errorf("the doctor says %q, want %q", got, tc.told)
				}
				l.write("resolv.conf", "nameserver 192.0.2.53\n")
			}
			l.token()
		})
	}
}

// The address that was good last serves when all look-ups fail.
func TestTheLastGoodAddress(t *testing.T) {
	l := newNetworkLab(t)
	l.up()
	l.token()
	l.admin("POST", "/dns/fault", `{"kind":"servfail"}`)
	l.admin("DELETE", "/dns/queries", "")
	const established, https = " 01 ", ":01BB"
	l.daemon.until("end of the kept connection", func() bool {
		for line := range strings.Lines(l.do("cat", "/proc/net/tcp").stdout) {
			if strings.Contains(line, established) && strings.Contains(line, https) {
				return false
			}
		}
		return true
	})
	before, _ := l.seen()
	l.run("refresh", "--app", "ref30").expect(t, 0)
	l.daemon.until("a token by the last good address", func() bool {
		tokens, queries := l.seen()
		return tokens > before && queries > 0
	})
}

// What a DNS blocker gives as the server's address is named, and never
// connected to: the simulator serves there too.
func TestABlocker(t *testing.T) {
	for name, tc := range map[string]struct{ fault, hosts, told string }{
		"0.0.0.0":    {"kind=address address=0.0.0.0", "", "a DNS blocker answers 0.0.0.0 for sp.example"},
		"127.0.0.1":  {"kind=address address=127.0.0.1", "", "a DNS blocker answers 127.0.0.1 for sp.example"},
		"hosts file": {"", "0.0.0.0 sp.example", "/etc/hosts blocks sp.example (0.0.0.0)"},
	} {
		t.Run(name, func(t *testing.T) {
			flags := []string{"-listen", "0.0.0.0:443", "-dns-host", "sp.example="}
			if tc.fault != "" {
				flags = append(flags, "-dns-fault", tc.fault)
			}
			l := newNetworkLab(t, flags...)
			if tc.hosts != "" {
				l.write("hosts", tc.hosts+"\n")
				l.do("mount", "--bind", l.path("hosts"), "/etc/hosts").expect(t, 0)
			}
			l.up()
			l.daemon.until(
				"the blocker in status",
				func() bool { return strings.Contains(l.run("status", "--json").stdout, tc.told) },
			)
			if got := l.check("dns"); !strings.HasPrefix(got, "failed: ") || !strings.Contains(got, tc.told) {
				t.Errorf("the doctor says %q, want %q", got, tc.told)
			}
			if got := l.admin("GET", "/requests", ""); strings.TrimSpace(got) != "[]" {
				t.Errorf("the server got %s", got)
			}
		})
	}
}
