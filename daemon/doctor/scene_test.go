package doctor

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tvpassd/tvpassd/daemon/clock"
	"github.com/tvpassd/tvpassd/daemon/config"
	"github.com/tvpassd/tvpassd/daemon/dcr/dcrtest"
	"github.com/tvpassd/tvpassd/daemon/service"
	"github.com/tvpassd/tvpassd/ipc"
	"github.com/tvpassd/tvpassd/storage"
)

// labTime is what every clock shows, far from the true time: certificates are
// valid only by the injected clock.
var labTime = time.Date(2031, 3, 1, 12, 0, 0, 0, time.UTC)

const (
	labEndpointSecret = "s3cret-of-the-client"
	labClient         = "7b1c-client-of-the-lab"
	labBoot           = "boot-of-the-lab"
)

// scene is a device on which all is well, until a test spoils something.
type scene struct {
	t       *testing.T
	dir     string
	cfg     Config
	clock   *labClock
	sim     *dcrtest.Server
	handler http.Handler // of the server, sim unless a test has another
	tls     *tls.Config
	listen  string // address of the server
	status  *ipc.Status
	asked   []string // requests that came to the server

	endpoint   string // "" is the server's
	app, http_ string // more lines for config.toml
	device     string
	down       bool // no daemon
}

type labClock struct {
	now clock.Reading
}

func (c *labClock) Now() clock.Reading { return c.now }
func (c *labClock) BootID() string     { return labBoot }
func (c *labClock) Synchronised() bool { return true }

func newScene(t *testing.T) *scene {
	t.Helper()
	dir, err := os.MkdirTemp("", "doctor") // t.TempDir's paths are too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &scene{t: t, dir: dir, clock: &labClock{clock.Reading{Boot: time.Hour, Wall: labTime}}, listen: "127.0.0.1:0"}
	s.must(os.Chmod(dir, 0o755))
	s.sim = dcrtest.New(dcrtest.Config{
		Now: func() time.Time { return labTime }, Random: rand.Reader, Log: slog.New(slog.DiscardHandler),
	})
	s.handler = s.sim
	s.certify(labTime)
	s.write("apps.d/ref30.jwt", dcrtest.Statement("ref30"))
	s.write("apps.d/ref30.toml", "[[app]]\nid = \"ref30\"\nsoftware_statement_file = \"ref30.jwt\"\n")
	s.device = "model = \"Box\"\nversion = \"1\"\nconnectionType = \"LAN\"\n"
	s.status = &ipc.Status{
		Version: "1.2.3", UptimeS: 90, Health: ipc.Healthy, Clock: ipc.Clock{Set: true},
		Throttle: ipc.Throttle{Open: true}, Storage: ipc.Storage{OK: true},
		Device: ipc.Device{Info: json.RawMessage("{}"), Identifier: &ipc.Identifier{Value: "00", Source: "soc-serial"}},
		Apps:   []ipc.AppStatus{{App: "ref30", State: ipc.StateReady}},
	}
	s.keep(func(*storage.Store) {})
	s.cfg = Config{
		ConfigFile: s.path("config.toml"), Version: "1.2.3", BuildDate: labTime.AddDate(-1, 0, 0),
		UID: os.Geteuid(), Clock: s.clock,
		Getenv: func(string) string { return "" },
		Load:   func() (*config.Config, error) { return config.Load(s.path("config.toml")) },
		Service: func(context.Context) (service.State, error) {
			return service.State{Manager: "systemd", Installed: true, Enabled: true, Active: "active", Result: "success"}, nil
		},
	}
	return s
}

func (s *scene) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) path(name string) string { return filepath.Join(s.dir, name) }

func (s *scene) write(name, content string) {
	s.t.Helper()
	s.must(os.MkdirAll(filepath.Dir(s.path(name)), 0o755))
	mode := fs.FileMode(0o644)
	if strings.HasSuffix(name, ".jwt") {
		mode = 0o600 // a secret
	}
	s.must(os.WriteFile(s.path(name), []byte(content), mode))
}

// certify gives the server a certificate of that day, and the device its authority.
func (s *scene) certify(day time.Time) {
	s.t.Helper()
	ca, cert, err := dcrtest.NewCA(day)
	s.must(err)
	s.tls = &tls.Config{Certificates: []tls.Certificate{cert}}
	s.write("ca.pem", string(ca))
	s.http_ = "ca_file = \"ca.pem\"\n"
}

// keep changes the state directory as a daemon does.
func (s *scene) keep(change func(*storage.Store)) {
	s.t.Helper()
	store, err := storage.Open(storage.Config{Dir: s.path("state"), Now: func() time.Time { return labTime }})
	s.must(err)
	s.must(store.SaveIdentifier(storage.Identifier{Value: strings.Repeat("0", 64), Source: "soc-serial"}))
	pair := &storage.Credentials{ClientID: labClient, ClientSecret: labEndpointSecret}
	s.must(store.SaveApp("https://sp.example", "ref30", storage.App{Credentials: pair}))
	change(store)
	s.must(store.Close())
}

// run runs the doctor on the scene.
func (s *scene) run() Report {
	s.t.Helper()
	if s.endpoint == "" {
		s.endpoint = s.serve()
	}
	s.write("config.toml", fmt.Sprintf("endpoint = %q\nstate_dir = \"state\"\naccept_volatile_state = true\n"+
		"[socket]\npath = \"sock\"\ngroup = \"\"\nmode = \"0666\"\n[device]\n%s[http]\n%s%s",
		s.endpoint, s.device, s.http_, s.app))
	if !s.down {
		s.daemon()
	}
	r := Run(s.t.Context(), s.cfg)
	s.noSecrets(r)
	return r
}

// serve begins to serve, and notes what is asked.
func (s *scene) serve() (url string) {
	s.t.Helper()
	l, err := net.Listen("tcp", s.listen)
	s.must(err)
	scheme := "http://"
	if s.tls != nil {
		l, scheme = tls.NewListener(l, s.tls), "https://"
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.asked = append(s.asked, r.Method+" "+r.URL.Path+" "+string(body))
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		s.handler.ServeHTTP(w, r)
	})
	server := &http.Server{ErrorLog: log.New(io.Discard, "", 0), Handler: handler}
	go func() { _ = server.Serve(l) }() // until it is closed
	s.t.Cleanup(func() { server.Close() })
	return scheme + l.Addr().String()
}

// daemon answers on the socket as a running one does.
func (s *scene) daemon() {
	s.t.Helper()
	if _, err := os.Lstat(s.path("sock")); !errors.Is(err, os.ErrNotExist) {
		return // a test has made something of its own
	}
	l, err := net.Listen("unix", s.path("sock"))
	s.must(err)
	s.must(os.Chmod(s.path("sock"), 0o666))
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(s.status)
	})}
	go func() { _ = server.Serve(l) }()
	s.t.Cleanup(func() { server.Close() })
}

// noSecrets expects no secret in a report.
func (s *scene) noSecrets(r Report) {
	s.t.Helper()
	said, err := json.Marshal(r)
	s.must(err)
	parts := strings.Split(dcrtest.Statement("ref30"), ".")
	for _, secret := range append(parts, labEndpointSecret, labClient, "pr0xy-passw0rd") {
		if strings.Contains(string(said), secret) {
			s.t.Errorf("%.10s... is told: %s", secret, said)
		}
	}
}

// handle serves with a function in the simulator's place.
func (s *scene) handle(f http.HandlerFunc) { s.handler = f }

// other starts a server without TLS that is not the daemon's.
func (s *scene) other(f http.HandlerFunc) *url.URL {
	s.t.Helper()
	server := httptest.NewServer(f)
	s.t.Cleanup(server.Close)
	u, err := url.Parse(server.URL)
	s.must(err)
	return u
}

// secureProxy is an https proxy with the server's certificate.
func (s *scene) secureProxy() string {
	proxy := httptest.NewUnstartedServer(http.NotFoundHandler())
	proxy.Config.ErrorLog = log.New(io.Discard, "", 0)
	proxy.TLS = s.tls
	proxy.StartTLS()
	s.t.Cleanup(proxy.Close)
	return proxy.URL
}

func find(t *testing.T, r Report, id string) Check {
	t.Helper()
	for _, c := range r.Checks {
		if c.ID == id {
			return c
		}
	}
	t.Fatalf("there is no check %s in %+v", id, r)
	return Check{}
}
