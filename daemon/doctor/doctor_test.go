package doctor

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/tvpassd/tvpassd/daemon/clock"
	"github.com/tvpassd/tvpassd/daemon/dcr/dcrtest"
	"github.com/tvpassd/tvpassd/daemon/service"
	"github.com/tvpassd/tvpassd/device"
	"github.com/tvpassd/tvpassd/ipc"
	"github.com/tvpassd/tvpassd/storage"
)

// If all is well every check passes, for the price of one request without
// credentials.
func TestAllIsWell(t *testing.T) {
	s := newScene(t)
	r := s.run()
	var ids []string
	for _, c := range r.Checks {
		ids = append(ids, c.ID)
		if c.Status != Pass || c.Detail == "" || c.Todo != "" {
			t.Errorf("%+v", c)
		}
	}
	want := strings.Fields("config apps permissions statement:ref30 state_dir persistence disk database " +
		"service socket daemon build clock route proxy dns captive_portal tcp tls endpoint throttle device " +
		"identifier token:ref30")
	if diff := cmp.Diff(want, ids); diff != "" || r.Worst != Pass {
		t.Errorf("worst %s, ids (-want +got):\n%s", r.Worst, diff)
	}
	if diff := cmp.Diff([]string{"POST /o/client/token grant_type=client_credentials"}, s.asked); diff != "" {
		t.Errorf("what the server was asked (-want +got):\n%s", diff)
	}
	for id, words := range map[string]string{
		"tls": "from [http] ca_file", "statement:ref30": "issued by", "identifier": "soc-serial",
	} {
		if c := find(t, r, id); !strings.Contains(c.Detail, words) {
			t.Errorf("%q is not in %+v", words, c)
		}
	}
}

// trouble is one thing that is wrong, and the check that reports it.
type trouble struct {
	name   string
	spoil  func(*scene)
	id     string
	status Status
	words  string // in detail and todo
	hides  string // checks that are skipped for it
}

func (tr trouble) test(t *testing.T) {
	s := newScene(t)
	tr.spoil(s)
	r := s.run()
	c := find(t, r, tr.id)
	if c.Status != tr.status || !strings.Contains(c.Detail+" "+c.Todo, tr.words) ||
		(c.Todo == "") != (tr.status == Skipped) {
		t.Errorf("%+v, want %s with %q", c, tr.status, tr.words)
	}
	for id := range strings.FieldsSeq(tr.hides) {
		if c := find(t, r, id); c.Status != Skipped || !strings.Contains(c.Detail, "see "+tr.id) {
			t.Errorf("%+v is not hidden behind %s", c, tr.id)
		}
	}
	for _, other := range r.Checks {
		if other.Status == Failed && other.ID != tr.id {
			t.Errorf("%s fails too: %s", other.ID, other.Detail)
		}
	}
	if want := tr.status; want != Skipped && r.Worst != want {
		t.Errorf("worst is %s", r.Worst)
	}
	if len(s.asked) > 1 {
		t.Errorf("the server was asked %q", s.asked)
	}
}

func runAll(t *testing.T, troubles []trouble) {
	t.Helper()
	for _, tr := range troubles {
		t.Run(tr.name, func(t *testing.T) {
			t.Parallel()
			tr.test(t)
		})
	}
}

func TestConfiguration(t *testing.T) {
	runAll(t, []trouble{
		{"unknown key", func(s *scene) { s.app = "nonsense = 1\n" },
			"config", Failed, "config.toml:", "apps state_dir route tls device identifier endpoint"},
		{"statement of junk", func(s *scene) { s.write("apps.d/ref30.jwt", "secret-without-dots") },
			"apps", Failed, "not a software statement", ""},
		{"statement cut short", func(s *scene) {
			raw, err := os.ReadFile(s.path("apps.d/ref30.jwt"))
			s.must(err)
			s.write("apps.d/ref30.jwt", string(raw[:len(raw)/2]))
		}, "apps", Failed, "copy all of it", ""},
		{"another JWT", func(s *scene) { s.write("apps.d/ref30.jwt", "eyJhbGciOiJIUzI1NiJ9.e30.c2ln") },
			"statement:ref30", Warning, "names no issuer", ""},
		{"open to others", func(s *scene) { s.must(os.Chmod(s.path("apps.d/ref30.jwt"), 0o644)) },
			"permissions", Warning, "chmod o-r", ""},
		{"no way to an app", func(s *scene) {
			s.app = "[gateway]\nenabled = false\n"
			s.write("apps.d/ref30.toml",
				"[[app]]\nid = \"ref30\"\nsoftware_statement_file = \"ref30.jwt\"\nhand_out_token = false\n")
		}, "apps", Warning, "players of ref30 get nothing", ""},
		{"no app", func(s *scene) { s.must(os.RemoveAll(s.path("apps.d"))) }, "apps", Warning, "no app is configured", ""},
	})
}

func TestState(t *testing.T) {
	runAll(t, []trouble{
		{"a file", func(s *scene) { s.must(os.RemoveAll(s.path("state"))); s.write("state", "") },
			"state_dir", Failed, "not a directory", "disk database"},
		{"open to others", func(s *scene) { s.must(os.Chmod(s.path("state"), 0o755)) },
			"state_dir", Warning, "chmod 700", ""},
		{"another's", func(s *scene) { s.serviceIs(service.State{User: "nobody", Active: "active"}) },
			"state_dir", Failed, "chown -R nobody", "disk database"},
		{"not written", func(s *scene) { s.status.Storage = ipc.Storage{Detail: "no space left on device"} },
			"database", Failed, "no space left", ""},
	})
	// In these cases the daemon is down, and that check fails too.
	for _, tc := range []struct {
		name, id string
		spoil    func(*scene)
		status   Status
		words    string
	}{
		{"gone", "state_dir", func(s *scene) { s.must(os.RemoveAll(s.path("state"))) }, Warning, "sign in again"},
		{"sound", "database", func(*scene) {}, Pass, "credentials of 1 app"},
		{"new", "database",
			func(s *scene) { s.must(os.RemoveAll(s.path("state"))); s.must(os.Mkdir(s.path("state"), 0o700)) },
			Pass, "first start"},
		{"damaged", "database", func(s *scene) { s.write("state/tvpassd.db", "noise") }, Warning, "damaged"},
		{"all damaged", "database",
			func(s *scene) { s.write("state/tvpassd.db", "noise"); s.write("state/tvpassd.copy", "noise") },
			Failed, "sign in again"},
		{"in use", "database", func(s *scene) {
			store, err := storage.Open(storage.Config{Dir: s.path("state"), Now: time.Now})
			s.must(err)
			s.t.Cleanup(func() { store.Close() })
		}, Skipped, "in use"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.down = true
			tc.spoil(s)
			r := s.run()
			if c := find(t, r, tc.id); c.Status != tc.status || !strings.Contains(c.Detail+c.Todo, tc.words) {
				t.Errorf("%+v, want %s with %q", c, tc.status, tc.words)
			}
			if c := find(t, r, "disk"); (c.Status == Skipped) != (tc.id == "state_dir") {
				t.Errorf("%+v", c)
			}
			if c := find(t, r, "socket"); c.Status != Failed || !strings.HasPrefix(c.Todo, "tvpassd restart") ||
				r.Worst != Failed {
				t.Errorf("worst %s, %+v", r.Worst, c)
			}
		})
	}
}

// A disk that is full, or read-only, as the kernel has it.
func TestDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a disk: run this test as root")
	}
	for _, tr := range []trouble{
		{"full", func(s *scene) { _ = os.WriteFile(s.path("state/filler"), make([]byte, 1<<20), 0o600) },
			"disk", Failed, "0 kB are free", ""},
		{"nearly full", func(s *scene) { s.must(os.WriteFile(s.path("state/filler"), make([]byte, 256<<10), 0o600)) },
			"disk", Warning, "kB are free", ""},
		{"read-only", func(s *scene) { s.must(unix.Mount("", s.path("state"), "", unix.MS_REMOUNT|unix.MS_RDONLY, "")) },
			"disk", Failed, "read-only", ""},
	} {
		t.Run(tr.name, func(t *testing.T) {
			spoil := tr.spoil
			tr.spoil = func(s *scene) {
				runtime.LockOSThread() // the mount is this thread's, and ends with it
				s.must(unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS))
				if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
					s.t.Skipf("no private mounts: %v: in a plain chroot, mount --bind its directory on itself first", err)
				}
				s.must(unix.Mount("tvpassd-test", s.path("state"), "tmpfs", 0, "size=512k,mode=0700"))
				spoil(s)
			}
			tr.test(t)
		})
	}
}

// vfat has neither owners nor modes: chmod would fail.
func TestAdviceOnAFileSystemWithoutModes(t *testing.T) {
	f := &facts{disk: unix.Statfs_t{Type: unix.MSDOS_SUPER_MAGIC}}
	if got := f.orMount("chmod 700 /state", 0); !strings.Contains(got, "uid=root,umask=077") {
		t.Errorf("on vfat the advice is %q", got)
	}
	f.disk.Type = unix.EXT4_SUPER_MAGIC
	if got := f.orMount("chmod 700 /state", 0); got != "chmod 700 /state" {
		t.Errorf("on ext4 the advice is %q", got)
	}
}

func (s *scene) serviceIs(st service.State) {
	st.Manager, st.Installed, st.Enabled = "systemd", true, true
	s.cfg.Service = func(context.Context) (service.State, error) { return st, nil }
}

// leaveSocket is what a killed daemon leaves.
func (s *scene) leaveSocket() {
	l, err := net.Listen("unix", s.path("sock"))
	s.must(err)
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	s.must(l.Close())
}

func TestServiceAndSocket(t *testing.T) {
	runAll(t, []trouble{
		{"not installed", func(s *scene) {
			s.cfg.Service = func(context.Context) (service.State, error) { return service.State{}, nil }
		}, "service", Warning, "tvpassd install", ""},
		{"not told", func(s *scene) {
			s.cfg.Service = func(context.Context) (service.State, error) { return service.State{}, errors.New("it hangs") }
		}, "service", Skipped, "it hangs", ""},
		{"unusable", func(s *scene) {
			s.down = true
			s.serviceIs(service.State{Active: "failed", Result: "exit-code", ExitStatus: 78})
		}, "service", Failed, "unusable (exit status 78)", "socket daemon"},
		{"ends again and again", func(s *scene) {
			s.down = true
			s.serviceIs(service.State{Active: "activating", Result: "signal", ExitStatus: 9, Restarts: 7})
		}, "service", Failed, "signal, exit status 9", "socket daemon"},
		{"not started", func(s *scene) { s.down = true; s.serviceIs(service.State{Active: "inactive"}) },
			"service", Failed, "not started", "socket daemon"},
		{"by hand", func(s *scene) { s.serviceIs(service.State{Active: "inactive"}) },
			"service", Warning, "not as the service", ""},
		{"restarted", func(s *scene) { s.serviceIs(service.State{Active: "active", Result: "oom-kill", Restarts: 9}) },
			"service", Warning, "9 times", ""},
		{"not enabled", func(s *scene) {
			s.cfg.Service = func(context.Context) (service.State, error) {
				return service.State{Installed: true, Active: "active"}, nil
			}
		}, "service", Warning, "enable", ""},

		{"no socket", func(s *scene) { s.down = true }, "socket", Failed, "no daemon runs", "daemon"},
		{"stale socket", func(s *scene) { s.down = true; s.leaveSocket() }, "socket", Failed, "stale", "daemon"},
		{"a file", func(s *scene) { s.write("sock", "") }, "socket", Failed, "not a socket", "daemon"},
		{"another mode", func(s *scene) { s.daemon(); s.must(os.Chmod(s.path("sock"), 0o600)) },
			"socket", Warning, "wants 0666", ""},
		{"a closed folder", func(s *scene) { s.must(os.Chmod(s.dir, 0o700)) }, "socket", Warning, "chmod 755", ""},
		{"another version", func(s *scene) { s.status.Version = "1.2.2" }, "daemon", Warning, "tvpassd restart", ""},
		{"warnings", func(s *scene) {
			s.status.Warnings = []ipc.Warning{{Code: "restart_needed", Detail: "the socket changed"}}
		}, "daemon", Warning, "restart_needed: the socket changed", ""},
		{"nonsense", func(s *scene) {
			l, err := net.Listen("unix", s.path("sock"))
			s.must(err)
			s.must(os.Chmod(s.path("sock"), 0o666))
			s.t.Cleanup(func() { l.Close() })
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					_, _ = c.Write([]byte("hello\n"))
					c.Close()
				}
			}()
		}, "daemon", Failed, "tvpassd restart", ""},
	})
}

// The socket's mode keeps out a user to whom the configuration allows the app.
func TestAPlayerThatIsLockedOut(t *testing.T) {
	s := newScene(t)
	s.write("apps.d/ref30.toml",
		"[[app]]\nid = \"ref30\"\nsoftware_statement_file = \"ref30.jwt\"\nallow_users = [\"nobody\"]\n")
	s.daemon()
	s.must(os.Chmod(s.path("sock"), 0o660))
	r := s.run()
	if c := find(t, r, "socket"); c.Status != Warning || !strings.Contains(c.Detail, "mode 0660, and") {
		t.Errorf("%+v", c) // the mode comes first
	}
	s.http_ = strings.Replace(s.http_, "[http]", "", 1)
	f := look(t.Context(), s.cfg)
	f.conf.Socket.Mode = 0o660
	if c := judgeSocket(f); c.Status != Warning || !strings.Contains(c.Detail+c.Todo, "usermod -aG") ||
		!strings.Contains(c.Detail, "user nobody may use ref30") {
		t.Errorf("%+v", c)
	}
}

// hotel answers with a page for people.
func hotel(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html")
	_, _ = w.Write([]byte("<html>Welcome to the hotel</html>"))
}

func TestBuildAndClock(t *testing.T) {
	runAll(t, []trouble{
		{"undated", func(s *scene) { s.cfg.Undated = true }, "build", Warning, "does not know its build date", ""},
		{"clock unset", func(s *scene) { s.clock.now.Wall = time.Unix(3600, 0) },
			"clock", Failed, "1970-01-01", "tls endpoint"},
		{"clock behind", func(s *scene) { s.clock.now.Wall = labTime.Add(-10 * time.Minute) },
			"clock", Warning, "10m0s behind", ""},
		{"clock ahead", func(s *scene) { s.clock.now.Wall = labTime.Add(10 * time.Minute) },
			"clock", Warning, "ahead of", ""},
	})
}

func TestProxy(t *testing.T) {
	runAll(t, []trouble{
		{"malformed proxy", func(s *scene) { s.env("HTTPS_PROXY", "http://user:pr0xy-passw0rd@host:port") },
			"proxy", Warning, "silently ignored", ""},
		{"proxy refuses", func(s *scene) {
			u := s.other(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusProxyAuthRequired) })
			s.http_ += "proxy = \"http://user:pr0xy-passw0rd@" + u.Host + "\"\n"
		}, "tcp", Failed, "HTTP 407", "tls endpoint"},
		{"proxy hangs up", func(s *scene) {
			u := s.other(func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) })
			s.http_ += "proxy = \"" + u.String() + "\"\n"
		}, "tcp", Failed, "takes connections, but does not connect to", "tls endpoint"},
		{"proxy of an unknown authority", func(s *scene) { s.http_ = "proxy = \"" + s.secureProxy() + "\"\n" },
			"tcp", Failed, "does not know the authority behind the certificate of the proxy 127.0.0.1", "tls endpoint"},
		{"proxy with an expired certificate", func(s *scene) {
			s.certify(labTime.AddDate(-3, 0, 0))
			s.http_ += "proxy = \"" + s.secureProxy() + "\"\n"
		}, "tcp", Failed, "the certificate of the proxy 127.0.0.1", "tls endpoint"},
		{"proxy is gone", func(s *scene) {
			u := &url.URL{Scheme: "http", Host: dcrtest.Vacant}
			s.cfg.Proxy = http.ProxyURL(u)
			s.env("HTTPS_PROXY", u.String())
		}, "tcp", Failed, "connection refused", "tls endpoint"},
	})
}

func TestWayToTheServer(t *testing.T) {
	runAll(t, []trouble{
		{"no such name", func(s *scene) { s.endpoint = "https://" + strings.Repeat("x", 64) + ".example" },
			"dns", Failed, "can't be resolved", "captive_portal tcp tls endpoint"},
		{"closed port", func(s *scene) { s.endpoint = "https://" + dcrtest.Vacant },
			"tcp", Failed, "connection refused", "tls endpoint"},
		{"portal redirects", func(s *scene) {
			s.endpoint = "https://" + dcrtest.Vacant
			s.cfg.Portal = s.other(func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "http://portal.example/login", http.StatusFound)
			}).String()
		}, "captive_portal", Failed, "redirects to http://portal.example", "tcp tls endpoint"},
		{"portal's page", func(s *scene) {
			s.endpoint = "https://" + dcrtest.Vacant
			s.cfg.Portal = s.other(hotel).String()
		}, "captive_portal", Failed, "sign this device in", "tcp tls endpoint"},
		{"RFC 6585", func(s *scene) {
			s.endpoint = "https://" + dcrtest.Vacant
			s.cfg.Portal = s.other(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(511) }).String()
		}, "captive_portal", Failed, "511", "tcp tls endpoint"},
	})
}

func TestTLS(t *testing.T) {
	runAll(t, []trouble{
		{"expired", func(s *scene) { s.certify(labTime.AddDate(-3, 0, 0)) },
			"tls", Failed, "expired on 2029-03-01", "endpoint"},
		{"not yet valid", func(s *scene) { s.certify(labTime.AddDate(3, 0, 0)) },
			"tls", Failed, "check the clock", "endpoint"},
		{"about to expire", func(s *scene) { s.certify(labTime.AddDate(-1, 0, 1)) },
			"tls", Warning, "ends on 2031-03-02", ""},
		{"wrong name", func(s *scene) { s.listen = "127.0.0.2:0" },
			"tls", Failed, "certificate for \"localhost, 127.0.0.1, ::1\"", "endpoint"},
		{"unknown authority", func(s *scene) { s.http_ = "" },
			"tls", Failed, "\"CN=passsim\" from \"CN=passsim throw-away CA\"", "endpoint"},
		{"plain HTTP on the port", func(s *scene) {
			s.endpoint = strings.Replace(s.other(hotel).String(), "http:", "https:", 1)
		}, "tls", Failed, "does not speak TLS", "endpoint"},
		{"no ca_file", func(s *scene) { s.must(os.Remove(s.path("ca.pem"))) }, "tls", Failed, "ca_file", "endpoint"},
		{"cut off", func(s *scene) { s.endpoint = "https://" + hangUp(s.t) },
			"tls", Failed, "the TLS handshake breaks off", "endpoint"},
	})
}

func TestServer(t *testing.T) {
	runAll(t, []trouble{
		{"server in trouble",
			func(s *scene) { s.handle(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }) },
			"endpoint", Failed, "HTTP 503", ""},
		{"redirect", func(s *scene) {
			s.handle(func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "https://portal.example/login", http.StatusFound)
			})
		}, "endpoint", Failed, "redirects to https://portal.example", ""},
		{"page", func(s *scene) { s.handle(hotel) }, "endpoint", Failed, "not as Adobe Pass does", ""},
		{"wrong path", func(s *scene) { s.handle(http.NotFound) }, "endpoint", Failed, "HTTP 404", ""},
		{"throttled", func(s *scene) {
			s.handle(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) })
		}, "throttle", Warning, "too many requests", ""},
		{"the daemon waits", func(s *scene) {
			s.status.Throttle = ipc.Throttle{OpensInMS: 42_000}
			s.handle(func(http.ResponseWriter, *http.Request) { s.t.Error("the server was asked") })
		}, "throttle", Warning, "42s", "dns tls endpoint"},
	})
}

func TestToken(t *testing.T) {
	runAll(t, []trouble{
		{"rejected", func(s *scene) {
			s.status.Apps[0].State = ipc.StateRejected
			s.status.Apps[0].LastError = &ipc.LastError{
				Code: ipc.CodeRejected, ServerCode: "invalid_software_statement", Detail: "get a new one",
			}
		}, "token:ref30", Failed, "(invalid_software_statement)", ""},
		{"under way", func(s *scene) { s.status.Apps[0].State = ipc.StateRegistering },
			"token:ref30", Warning, "none yet: registering", ""},
		{"stale", func(s *scene) { s.status.Apps[0].State = ipc.StateStale }, "token:ref30", Warning, "good still", ""},
		{"offline", func(s *scene) {
			s.endpoint = "https://" + dcrtest.Vacant
			s.status.Apps[0] = ipc.AppStatus{
				App: "ref30", State: ipc.StateWaiting, LastError: &ipc.LastError{Code: ipc.CodeOffline},
			}
		}, "tcp", Failed, "connection refused", "tls token:ref30"},
	})
}

func (s *scene) env(name, value string) {
	s.cfg.Getenv = func(asked string) string {
		if asked == name {
			return value
		}
		return ""
	}
}

// hangUp is a server that takes connections and ends them.
func hangUp(t *testing.T) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 1))
			c.Close()
		}
	}()
	return l.Addr().String()
}

// The throttle that a daemon met before its end counts in the same boot only.
func TestAThrottleThatIsKept(t *testing.T) {
	for boot, shut := range map[string]bool{labBoot: true, "an earlier one": false} {
		s := newScene(t)
		s.down = true
		s.keep(func(store *storage.Store) {
			noted := storage.Stamp{BootID: boot, Boot: time.Hour - time.Minute}
			s.must(store.SaveGate(storage.Gate{Noted: noted, Wait: 10 * time.Minute}))
		})
		c := find(t, s.run(), "throttle")
		if shut != (c.Status == Warning) || shut != strings.Contains(c.Detail, "9m0s") || shut == (len(s.asked) > 0) {
			t.Errorf("boot %q: %+v, and the server was asked %q", boot, c, s.asked)
		}
	}
}

// With plain HTTP, as in a lab, there is no certificate to look at.
func TestALabWithoutTLS(t *testing.T) {
	s := newScene(t)
	s.tls = nil
	if r := s.run(); r.Worst != Pass || !strings.Contains(find(t, r, "tls").Detail, "not used") {
		t.Errorf("%+v", r)
	}
}

func TestDevice(t *testing.T) {
	runAll(t, []trouble{
		{"not reachable",
			func(s *scene) { s.device = "model = \"Box\"\nversion = \"1\"\nconnectionType = \"notAccessible\"\n" },
			"device", Warning, "connectionType", ""},
		{"generated", func(s *scene) { s.status.Device.Identifier.Source = "generated" },
			"identifier", Warning, "generated one", ""},
	})
	f := &facts{
		device: &device.Report{Identifier: device.Candidate{Source: "soc-serial", Raw: []byte("1")}},
		kept:   storage.Inspection{Identifier: &storage.Identifier{Source: "soc-serial", Value: "of another device"}},
	}
	s := newScene(t)
	s.run()
	g := look(t.Context(), s.cfg)
	f.conf = g.conf
	if c := judgeIdentifier(f); c.Status != Warning || !strings.Contains(c.Detail, "now yields another") {
		t.Errorf("%+v", c)
	}
}

// A state that can't be read may be sound: nobody is told that it is lost.
func TestAStateThatCantBeRead(t *testing.T) {
	for errno, advice := range map[error]string{
		unix.EIO: "dmesg", unix.ENOTCONN: "mount its file system", unix.EACCES: "owner and mode",
	} {
		f := &facts{kept: storage.Inspection{Database: storage.ErrDamaged, Copy: errno, Refused: errno}}
		c := judgeDatabase(f)
		if c.Status != Failed || !strings.Contains(c.Todo, advice) || strings.Contains(c.Todo, "sign in") ||
			!strings.Contains(c.Detail, errno.Error()) {
			t.Errorf("%v: %+v", errno, c)
		}
	}
}

// A check of what only root may see is skipped for everybody else, and says so.
func TestAsAnOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user: run this test as root")
	}
	if os.Getenv("TVPASSD_DOCTOR_CHILD") == "" {
		exe, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), exe, "-test.run=^TestAsAnOrdinaryUser$")
		cmd.Env = append(os.Environ(), "TVPASSD_DOCTOR_CHILD=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	s := newScene(t)
	s.down = true
	s.must(os.Chmod(s.path("apps.d/ref30.jwt"), 0o600))
	s.endpoint = s.serve()
	s.write("config.toml", "")
	s.must(os.Chown(s.path("config.toml"), 65534, 65534))
	s.must(unix.Setuid(65534))
	s.cfg.UID = 65534
	r := s.run()
	for _, id := range []string{"apps", "database"} {
		if c := find(t, r, id); c.Status != Skipped || !strings.Contains(c.Detail, "root") {
			t.Errorf("%+v", c)
		}
	}
	if c := find(t, r, "tls"); c.Status != Pass {
		t.Errorf("%+v", c)
	}
}

var _ clock.Clock = (*labClock)(nil)

// Checks name other checks by their ids: in the table of what they need, and in
// calls that look for the cause of a failure.
func TestChecksNameChecks(t *testing.T) {
	known := map[string]bool{}
	for _, c := range (&facts{}).checks() {
		for id := range strings.FieldsSeq(c.needs) {
			if !known[id] {
				t.Errorf("%s needs %s, which is not an earlier check", c.id, id)
			}
		}
		known[c.id] = true
	}
	lists := []string{wayToServer}
	for _, code := range []string{ipc.CodeClockUnset, ipc.CodeThrottled, ipc.CodeStorage} {
		lists = append(lists, causes("", &ipc.LastError{Code: code}))
	}
	calls := regexp.MustCompile(`\b(?:blame\((?:true|total), |firstFailed\(|failed\(|behind\()"([^"]+)"`)
	for _, name := range []string{"local.go", "network.go", "running.go"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range calls.FindAllStringSubmatch(string(text), -1) {
			lists = append(lists, m[1])
		}
	}
	if len(lists) < 10 {
		t.Fatalf("only %q name checks", lists)
	}
	for id := range strings.FieldsSeq(strings.Join(lists, " ")) {
		if !known[id] {
			t.Errorf("there is no check %s", id)
		}
	}
}
