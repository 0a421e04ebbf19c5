package main

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tvpassd/tvpassd/daemon/dcr/dcrtest"
)

// situation is one thing that goes wrong in the field, what a technician reads
// first, what to do, and the exit status.
type situation struct {
	name   string
	make   func(*scene) // makes it, and runs what is asked
	code   int
	first  string // how the first line that names the trouble begins
	advice string // what to do
	doctor bool   // the command is tvpassd doctor --failed, and one check fails
}

// scene is a lab in which a situation is made.
type scene struct {
	*lab
	net *networkLab // nil unless the situation needs a network of its own
	got result
}

// doctor asks for the failed checks.
func (s *scene) doctor(env ...string) { s.got = s.runFaked(nil, env, "doctor", "--failed") }

// service makes the service manager say so.
func (s *scene) service(load, active, result string, status int) {
	s.fakeSystem(map[string]string{"systemctl": fmt.Sprintf("printf 'LoadState=%s\\nUnitFileState=enabled\\n"+
		"ActiveState=%s\\nResult=%s\\nExecMainStatus=%d\\nNRestarts=0\\n'\n", load, active, result, status)})
}

// ends makes systemd report that the service ended with an exit status, and
// asks the doctor.
func ends(status int) func(*scene) {
	return func(s *scene) {
		s.service("loaded", "failed", "exit-code", status)
		s.doctor()
	}
}

// running starts the daemon and waits for a token.
func running(then func(*scene)) func(*scene) {
	return func(s *scene) {
		s.up()
		s.token()
		then(s)
	}
}

// fault makes the server fail from the first call on, and asks once the daemon
// has met that.
func fault(json string, ask func(*scene)) func(*scene) {
	return func(s *scene) {
		s.order("POST", "/fault", json)
		s.up()
		s.met()
		ask(s)
	}
}

func askDoctor(s *scene) { s.doctor() }
func askStatus(s *scene) { s.got = s.run("status") }

// badStatement starts the daemon with a statement that was cut short.
func badStatement(then func(*scene)) func(*scene) {
	return func(s *scene) {
		s.write("apps.d/ref30.jwt", s.read("apps.d/ref30.jwt")[:40])
		s.up()
		then(s)
	}
}

// passed starts the daemon with a socket that somebody else holds, as systemd
// does, and removes its path.
func passed(then func(*scene)) func(*scene) {
	return func(s *scene) {
		activate, err := exec.LookPath("systemd-socket-activate")
		if err != nil {
			s.t.Fatal("this test needs systemd-socket-activate: apt-get install systemd")
		}
		s.fakeSystem(map[string]string{"systemctl": serviceRuns + "printf '\\nLoadState=loaded\\nActiveState=active\\n'\n"})
		s.daemon = s.start(activate, "-l", s.path("sock"), programs.tvpassd, "run", "--config", s.path("config.toml"))
		s.t.Cleanup(s.daemon.kill)
		s.daemon.until("the socket", func() bool { return s.exists("sock") })
		s.token()
		s.must(os.Remove(s.path("sock")))
		then(s)
	}
}

// disk runs the daemon on a small disk of its own, spoils the disk, and asks
// the doctor.
func disk(spoil string) func(*scene) {
	return func(s *scene) {
		s.must(os.Mkdir(s.path("state"), 0o700))
		s.service("loaded", "active", "success", 0)
		script := `mount -t tmpfs -o size=512k,mode=700 tmpfs state
tvpassd=$1 config=$PWD/config.toml
$tvpassd run --config $config 2>log & trap "kill $!" EXIT
until $tvpassd token --config $config >/dev/null 2>&1; do sleep 0.1; done
` + spoil + `
$tvpassd refresh --app ref30 --config $config >/dev/null
"$@" --config $config
exit`
		s.mounted(script, "doctor", "--failed")
	}
}

// met waits until the app has a failure.
func (s *scene) met() {
	s.daemon.until("a failure", func() bool {
		return strings.Contains(s.run("status", "--json").stdout, `"last_error": {`)
	})
}

// mounted runs a command of tvpassd behind commands of a shell, in a mount
// namespace.
func (s *scene) mounted(script string, args ...string) {
	s.t.Helper()
	needRoot(s.t)
	needMounts(s.t)
	all := append([]string{"--mount", "--propagation", "private", "sh", "-euc", script + "\nexec \"$@\"", "sh",
		programs.tvpassd}, args...)
	cmd := exec.Command("unshare", append(all, "--config", s.path("config.toml"))...)
	cmd.Env = append(os.Environ(), "PATH="+s.path("bin")+":"+os.Getenv("PATH"))
	cmd.Dir = s.dir
	s.got = output(s.t, cmd)
}

func output(t *testing.T, cmd *exec.Cmd) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// certified serves the simulator under a certificate of that day and at that
// address, by an authority that the configuration may trust.
func certified(day time.Time, listen string, trusted bool, ask func(*scene)) func(*scene) {
	return func(s *scene) {
		ca, cert, err := dcrtest.NewCA(day)
		s.must(err)
		if trusted {
			s.write("ca.pem", string(ca))
		}
		l, err := tls.Listen("tcp", listen, &tls.Config{Certificates: []tls.Certificate{cert}})
		s.must(err)
		sim := dcrtest.New(dcrtest.Config{Now: time.Now, Random: rand.Reader, Log: slog.New(slog.DiscardHandler)})
		server := &http.Server{Handler: sim, ErrorLog: log.New(io.Discard, "", 0)}
		go func() { _ = server.Serve(l) }() // until it is closed
		s.t.Cleanup(func() { server.Close() })
		s.replace(s.endpoint, "https://"+l.Addr().String())
		s.up()
		s.met()
		ask(s)
	}
}

func (s *scene) replace(old, now string) {
	s.t.Helper()
	text := s.read("config.toml")
	if !strings.Contains(text, old) {
		s.t.Fatalf("%q is not in %s", old, text)
	}
	s.write("config.toml", strings.Replace(text, old, now, 1))
}

// askInside asks the doctor in that network.
func askInside(s *scene) {
	s.met()
	s.got = s.net.do("env", "PATH="+s.path("bin")+":"+os.Getenv("PATH"), programs.tvpassd, "doctor", "--failed",
		"--config", s.path("config.toml"))
}

// portal answers every name with a page, as the network of a hotel does: HTTP
// in the server's place, and nothing on the port of TLS.
const portal = `import http.server
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(302)
        self.send_header("Location", "http://login.hotel.example/")
        self.end_headers()
http.server.HTTPServer(("192.0.2.99", 80), Page).serve_forever()
`

// serviceSituations are those of the service and its socket.
func serviceSituations() []situation {
	return []situation{
		{"not started", func(s *scene) { s.service("loaded", "inactive", "success", 0); s.doctor() }, 2,
			"service: it is installed and not started", "tvpassd start", true},
		{"not installed", func(s *scene) { s.service("not-found", "inactive", "success", 0); s.doctor() }, 2,
			"service: tvpassd is not a service of this system", "tvpassd install, then tvpassd start", true},
		{"masked", func(s *scene) { s.service("masked", "inactive", "success", 0); s.doctor() }, 2,
			"service: the unit of tvpassd is masked", "systemctl unmask tvpassd, then tvpassd start", true},
		{"bad unit", func(s *scene) { s.service("bad-setting", "inactive", "success", 0); s.doctor() }, 2,
			"service: systemd can't load the unit of tvpassd", "systemctl daemon-reload", true},
		{"no program", ends(203), 2, "service: systemd can't start it: the program is missing", "install the package", true},
		{"no group", ends(216), 2, "service: systemd can't start it: the group of user tvpass does not exist",
			"tvpassd install", true},
		{"no user", ends(217), 2, "service: systemd can't start it: the user tvpass does not exist", "tvpassd install",
			true},
		{"no namespace", ends(226), 2, "service: systemd can't start it: its sandbox can't be set up", "journalctl", true},
		{"no state directory", ends(238), 2, "service: systemd can't start it: the state directory can't be made",
			"/var/lib is there, writable", true},
		{"another step of systemd", ends(209), 2, "service: systemd can't start it: a setting of the unit", "journalctl",
			true},
		{"killed, and the manager does not notice", running(func(s *scene) { s.daemon.kill(); s.doctor() }), 2,
			"socket: ", "tvpassd restart", true},
		{"killed, and no manager answers", running(func(s *scene) {
			s.daemon.kill()
			s.fakeSystem(map[string]string{"systemctl": "exec sleep 3600\n"})
			s.doctor()
		}), 2, "socket: ", "tvpassd start", true},
		{"status without a daemon", askStatus, 3, "not running", "`tvpassd start`", false},
		{"a file in the way", func(s *scene) { s.write("sock", ""); s.doctor() }, 2,
			"socket: ", "move it away, then tvpassd restart", true},
		{"socket gone, status", passed(askStatus), 3, "socket gone",
			"`systemctl restart tvpassd.socket", false},
		{"socket gone, doctor", passed(askDoctor), 2, "socket: a daemon runs, but ",
			"systemctl restart tvpassd.socket tvpassd", true},
		{"not allowed", func(s *scene) {
			needRoot(s.t)
			s.replace(`mode = "0666"`, `mode = "0600"`)
			s.up()
			s.got = s.exec(stranger, "", programs.tvpassd, "status", "--socket", s.path("sock"))
		}, 4, "no permission", "join the group", false},
		{"a second daemon", running(func(s *scene) { s.got = s.run("run") }), 78,
			"tvpassd: open the state: ", "another tvpassd uses this state directory: stop it first", false},
	}
}

// configSituations are those of the configuration.
func configSituations() []situation {
	return []situation{
		{"unknown key", func(s *scene) {
			s.write("config.toml", "environmant = \"x\"\n"+s.read("config.toml"))
			s.service("loaded", "failed", "exit-code", 78)
			s.doctor()
		}, 2, "config: ", "config.toml:1: unknown key", true},
		{"exit 78, and the configuration is good", ends(78), 2,
			"service: it ended, and is not started again: the configuration or the state is unusable", "journalctl", true},
		{"a bad statement, doctor", badStatement(askDoctor), 2, "apps: ",
			"copy all of it from the TVE Dashboard", true},
		{"a bad statement, status", badStatement(askStatus), 1, "no apps",
			"mend what the warning app_disabled names", false},
		{"a new file in apps.d", running(func(s *scene) {
			s.addApp("second", "")
			s.daemon.until("the file", func() bool { return strings.Contains(s.run("status").stdout, "reload_needed") })
			s.got = s.run("status")
		}), 1, "warning reload_needed", "then `tvpassd reload`", false},
		{"a proxy that is misread", func(s *scene) {
			s.fakeSystem(map[string]string{"systemctl": serviceRuns, "tvpassd": "" +
				"HTTPS_PROXY=http://me:12/pr0xy@proxy.example:3128 exec " + programs.tvpassd + " \"$@\"\n"})
			s.replace(s.endpoint, "https://sp.example")
			s.daemon = s.start(s.path("bin/tvpassd"), "run", "--config", s.path("config.toml"))
			s.t.Cleanup(s.daemon.kill)
			s.daemon.until("the socket", func() bool { return s.exists("sock") })
			s.met()
			s.doctor()
			s.got.stderr += s.run("status", "--all").stdout + s.daemon.stderr.String()
		}, 2, "proxy: HTTPS_PROXY of the daemon is misread", "with %2F for /", true},
	}
}

// stateSituations are those of the state directory and its disk.
func stateSituations() []situation {
	return []situation{
		{"/var is read-only", func(s *scene) {
			s.must(os.Mkdir(s.path("var"), 0o755))
			s.replace(`state_dir = "state"`, `state_dir = "var/lib/tvpassd"`)
			s.service("loaded", "failed", "exit-code", 238)
			s.mounted("mount -t tmpfs -o ro tmpfs var", "doctor", "--failed")
		}, 2, "state_dir: ", "writable", true},
		{"a link to nowhere", func(s *scene) {
			s.must(os.Symlink("/media/none", s.path("state")))
			s.service("loaded", "failed", "exit-code", 78)
			s.doctor()
		}, 2, "state_dir: ", "mount what it leads to", true},
		{"the disk is read-only", disk("mount -o remount,ro state"), 2,
			"disk: the disk under ", "dmesg", true},
		{"the disk is full", disk("dd if=/dev/zero of=state/filler 2>/dev/null || true"), 2,
			"disk: 0 kB are free", "delete what fills the disk", true},
		{"the disk is mounted late", running(func(s *scene) {
			s.service("loaded", "active", "success", 0)
			s.storedToken()
			s.must(os.Rename(s.path("state"), s.path("early")))
			s.must(os.CopyFS(s.path("state"), os.DirFS(s.path("early"))))
			s.run("refresh", "--app", "ref30").expect(s.t, 0)
			s.daemon.until("the failure", func() bool { return strings.Contains(s.run("status").stdout, "FAILS") })
			s.doctor()
		}), 2, "database: it can't be written: ", "tvpassd restart, to use what is there", true},
		{"the state does not last", func(s *scene) {
			s.replace("accept_volatile_state = true", "accept_volatile_state = false")
			s.service("loaded", "active", "success", 0)
			s.mounted("mkdir -p state; mount -t tmpfs -o mode=700 tmpfs state; tvpassd=$1; config=$PWD/config.toml\n"+
				"$tvpassd run --config $config 2>log & trap \"kill $!\" EXIT\n"+
				"until $tvpassd token --config $config >/dev/null 2>&1; do sleep 0.1; done\n\"$@\" --config $config\nexit",
				"doctor", "--failed")
		}, 2, "persistence: the state does not last", "set state_dir to", true},
	}
}

// serverSituations are those of the network and the server.
func serverSituations() []situation {
	return []situation{
		{"no route", func(s *scene) {
			needRoot(s.t)
			s.replace(s.endpoint, "https://192.0.2.1")
			s.up()
			s.got = s.runFaked(&syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}, nil, "doctor", "--failed")
		}, 2, "route: there is no default route", "DHCP", true},
		{"nobody listens", func(s *scene) {
			s.replace(s.endpoint, "https://127.0.0.1:1") // which no other test takes
			s.up()
			s.met()
			s.doctor()
		}, 2, "tcp: 127.0.0.1:", "check the cable", true},
		{"an expired certificate", certified(time.Now().AddDate(-3, 0, 0), "127.0.0.1:0", true, askDoctor), 2,
			"tls: the certificate of 127.0.0.1 expired on 20",
			"check the clock; if it is right", true},
		{"an authority that nobody knows", certified(time.Now(), "127.0.0.1:0", false, askDoctor), 2,
			"tls: this device does not know the authority", "[http] ca_file", true},
		{"a certificate for another name", certified(time.Now(), "127.0.0.2:0", true, askDoctor), 2,
			"tls: what answers as 127.0.0.2",
			"correct the endpoint", true},
		{"HTML without a portal", fault(`{"kind":"html"}`, askDoctor), 2,
			"endpoint: 127.0.0.1 answers HTTP 200, and not as Adobe", "correct environment or endpoint", true},
		{"HTML without a portal, status", fault(`{"kind":"html"}`, askStatus), 2,
			"app ref30: NO TOKEN, waiting: server_error", "check environment or endpoint in config.toml", false},
		{"an expired certificate, status", certified(time.Now().AddDate(-3, 0, 0), "127.0.0.1:0", true, askStatus), 2,
			"app ref30: NO TOKEN, waiting: offline", "and not at the device's time: check the clock", false},
		{"the server has trouble", fault(`{"kind":"status","status":503}`, askDoctor), 2,
			"endpoint: 127.0.0.1 has trouble of its own", "the daemon retries by itself", true},
		{"throttled", fault(`{"kind":"429","retry_after":"600"}`, askDoctor), 2, "throttle: ", "so many requests", true},
		{"a refused statement", func(s *scene) {
			s.order("POST", "/statement", `{"approved":false}`)
			s.up()
			s.met()
			s.doctor()
		}, 2, "token:ref30: there is none: rejected (unapproved_software_statement)", "TVE Dashboard", true},
		{"a server that hangs, token", func(s *scene) {
			s.order("POST", "/fault", `{"kind":"hang"}`)
			s.up()
			s.got = s.run("token")
		}, 1, "tvpassd: not_ready: the token is being fetched", "ask again", false},
	}
}

// networkSituations are those that take a network of its own, and the faults of
// its name server.
func networkSituations() map[string]situation {
	hotel := func(s *scene) {
		s.net.do("ip", "addr", "add", "192.0.2.99/32", "dev", "lo").expect(s.t, 0)
		page := s.net.inside("python3", "-c", portal)
		s.t.Cleanup(page.kill)
		page.until("the portal", func() bool {
			return s.net.do("curl", "-s", "--max-time", "5", "http://192.0.2.99/").code == 0
		})
		askInside(s)
	}
	return map[string]situation{
		"kind=drop": {"no name server", askInside, 2, "dns: sp.example can't be resolved", "/etc/resolv.conf", true},
		"kind=address address=0.0.0.0": {"a DNS blocker", askInside, 2,
			"dns: a DNS blocker answers 0.0.0.0 for sp.example", "allow", true},
		"kind=address address=192.0.2.99": {"a captive portal", hotel, 2,
			"captive_portal: in place of sp.example something redirects", "sign this device in", true},
	}
}

// TestSituations makes each situation, and checks what a technician reads.
func TestSituations(t *testing.T) {
	list := slices.Concat(serviceSituations(), configSituations(), stateSituations(), serverSituations())
	if len(list) < 30 {
		t.Fatalf("only %d situations", len(list))
	}
	for _, sit := range list {
		t.Run(sit.name, func(t *testing.T) {
			s := &scene{lab: healthyLab(t)}
			sit.make(s)
			sit.judge(t, s.got)
		})
	}
	for fault, sit := range networkSituations() {
		t.Run(sit.name, func(t *testing.T) {
			net := newNetworkLab(t, "-dns-fault", fault)
			net.fakeSystem(map[string]string{"systemctl": serviceRuns})
			net.up()
			s := &scene{lab: net.lab, net: net}
			sit.make(s)
			sit.judge(t, s.got)
		})
	}
}

func (sit situation) judge(t *testing.T, got result) {
	t.Helper()
	text := got.stdout + got.stderr
	t.Logf("%s", text)
	all := strings.Join(strings.Fields(text), " ") // lines are broken
	if got.code != sit.code || !strings.Contains(all, sit.first) || !strings.Contains(all, sit.advice) {
		t.Errorf("exit status %d, want %d, %q and %q", got.code, sit.code, sit.first, sit.advice)
	}
	for _, no := range []string{"?wait=", "1 apps", "me:12", "pr0xy"} {
		if strings.Contains(text, no) {
			t.Errorf("it says %q", no)
		}
	}
	if sit.doctor && (strings.Count(text, "\nFAILED ") != 1 || !strings.Contains(text, " 1 failed\nFAILED   ") ||
		!strings.Contains(all, "FAILED "+sit.first)) {
		t.Errorf("not one failure, %q", sit.first)
	}
	start := text[:min(len(text), 300)]
	if !sit.doctor && !strings.HasPrefix(text, sit.first) && !strings.Contains(start, "\n"+sit.first) {
		t.Errorf("%q does not come first", sit.first)
	}
}
