package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// These tests run the built programs: the daemon on a real socket, real curl,
// the simulator over TLS. They wait until something has happened, for at most
// patience: it only limits how long a failing test takes.

const patience = 5 * time.Minute

// programs are the built binaries.
var programs struct{ dir, tvpassd, passsim, tags string }

// TestMain builds the programs once, with the race detector where the tests
// have it.
func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "tvpassd-test")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		if err := os.Chmod(dir, 0o755); err != nil { // other users run them too
			panic(err)
		}
		programs.dir, programs.tvpassd, programs.passsim = dir, filepath.Join(dir, "tvpassd"), filepath.Join(dir, "passsim")
		tags, err := exec.Command("../../scripts/buildflags", "tags").Output()
		if err != nil {
			panic(err)
		}
		programs.tags = strings.TrimSpace(string(tags))
		args := buildArgs("1767225600")
		if raceEnabled {
			args = append(args, "-race")
		}
		for _, build := range [][]string{append(args, "-o", programs.tvpassd, "."),
			{"build", "-o", programs.passsim, "../passsim"}} {
			if out, err := exec.Command("go", build...).CombinedOutput(); err != nil {
				fmt.Fprintf(os.Stderr, "go %s: %v\n%s", strings.Join(build, " "), err, out)
				return 1
			}
		}
		return m.Run()
	}())
}

// buildArgs builds a program of a date, in seconds since 1970.
func buildArgs(date string) []string {
	return []string{"build", "-tags", programs.tags, "-ldflags", "-X main.version=1.2.3 -X main.buildDate=" + date}
}

// lab is a directory with a configuration, a simulator and perhaps a daemon.
type lab struct {
	t        *testing.T
	dir      string
	endpoint string // of the simulator
	admin    string // its admin API
	daemon   *process
}

// newLab starts a simulator over TLS and writes a configuration with the one
// app ref30. The device has a model, a version and a serial number, so that
// there is nothing to warn of.
func newLab(t *testing.T, simFlags ...string) *lab {
	t.Helper()
	t.Parallel()                        // they mostly wait
	dir, err := os.MkdirTemp("", "lab") // t.TempDir's paths are too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l := &lab{t: t, dir: dir}
	l.must(os.Chmod(dir, 0o755))
	l.must(os.Mkdir(l.path("apps.d"), 0o755))
	sim := l.start(programs.passsim, append([]string{"-tls", "-ca-out", l.path("ca.pem"), "-addr-out", l.path("addr"),
		"-admin", "127.0.0.1:0", "-admin-out", l.path("admin")}, simFlags...)...)
	t.Cleanup(sim.kill)
	sim.until("its addresses", func() bool { return l.holds("addr") && l.holds("admin") })
	l.endpoint, l.admin = strings.TrimSpace(l.read("addr")), strings.TrimSpace(l.read("admin"))
	l.configure("", "[device]", `model = "Box"`, `version = "1"`)
	l.addApp("ref30", "")
	l.must(os.Mkdir(l.path("runtime"), 0o755))
	l.write("runtime/identifier", `{"source":"dmi-product-uuid","raw":"ODU1NjY0YWItYTE1Ny00Y2I2"}`)
	return l
}

func (l *lab) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) path(name string) string { return filepath.Join(l.dir, name) }

func (l *lab) exists(name string) bool {
	_, err := os.Stat(l.path(name))
	return err == nil
}

// holds reports whether a file is there and has been written to.
func (l *lab) holds(name string) bool {
	info, err := os.Stat(l.path(name))
	return err == nil && info.Size() > 0
}

func (l *lab) read(name string) string {
	l.t.Helper()
	content, err := os.ReadFile(l.path(name))
	l.must(err)
	return string(content)
}

func (l *lab) write(name, content string) {
	l.t.Helper()
	mode := fs.FileMode(0o644)
	if strings.HasSuffix(name, ".jwt") {
		mode = 0o600 // a secret
	}
	l.must(os.WriteFile(l.path(name), []byte(content), mode))
}

// program writes a file that can be run. Another process does it: while this
// one has the file open, children that it starts would have it open for a
// moment too, and a file that is open for writing can't be run.
func (l *lab) program(name, content string) {
	l.t.Helper()
	l.exec(nil, content, "install", "-m", "755", "/dev/stdin", l.path(name)).expect(l.t, 0)
}

// configure writes config.toml; more comes before the tables.
func (l *lab) configure(more string, tables ...string) {
	l.t.Helper()
	volatile := "accept_volatile_state = true" // it is below /tmp
	if strings.Contains(more, "accept_volatile_state") {
		volatile = ""
	}
	l.write("config.toml", fmt.Sprintf(
		"endpoint = %q\nstate_dir = \"state\"\n%s\n%s\n[socket]\npath = \"sock\"\ngroup = \"\"\nmode = \"0666\"\n"+
			"%s\n[http]\nca_file = \"ca.pem\"\ntimeout = \"1m\"\n",
		l.endpoint, volatile, more, strings.Join(tables, "\n")))
}

// addApp drops an app's files into apps.d, as a player's package does.
func (l *lab) addApp(id, more string) {
	l.t.Helper()
	statement, err := exec.Command(programs.passsim, "-statement", id).Output()
	l.must(err)
	l.write("apps.d/"+id+".jwt", string(statement))
	l.write("apps.d/"+id+".toml", fmt.Sprintf(
		"[[app]]\nid = %q\nsoftware_statement_file = \"%s.jwt\"\napplication_id = \"REF30\"\n%s\n", id, id, more))
}

// process is a running program.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	stderr *logBuffer
	done   chan struct{}
	err    error // of its end
}

// logBuffer may be read while it is written.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *lab) start(name string, args ...string) *process {
	l.t.Helper()
	return l.startAs(nil, name, args...)
}

func (l *lab) startAs(who *syscall.Credential, name string, args ...string) *process {
	l.t.Helper()
	p := &process{t: l.t, cmd: exec.Command(name, args...), stderr: &logBuffer{}, done: make(chan struct{})}
	p.cmd.Stderr, p.cmd.Stdout = p.stderr, p.stderr
	return p.run(l, who)
}

// startTo starts a program whose standard error is a file of the caller's.
func (l *lab) startTo(stderr *os.File, name string, args ...string) *process {
	l.t.Helper()
	p := &process{t: l.t, cmd: exec.Command(name, args...), stderr: &logBuffer{}, done: make(chan struct{})}
	p.cmd.Stderr = stderr
	return p.run(l, nil)
}

// startOn starts a program on a terminal.
func (l *lab) startOn(terminal *os.File, name string, args ...string) *process {
	l.t.Helper()
	p := &process{t: l.t, cmd: exec.Command(name, args...), stderr: &logBuffer{}, done: make(chan struct{})}
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = terminal, terminal, terminal
	return p.run(l, nil)
}

func (p *process) run(l *lab, who *syscall.Credential) *process {
	l.t.Helper()
	p.cmd.Env = append(os.Environ(), "RUNTIME_DIRECTORY="+l.path("runtime"))
	if who != nil {
		p.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: who}
	}
	l.must(p.cmd.Start())
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it has ended, or ends now
	<-p.done
}

// stop ends a daemon as a service manager does, and expects a clean end.
func (p *process) stop() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatalf("%v\n%s", err, p.stderr)
	}
	if code := p.exit(); code != 0 {
		p.t.Errorf("exit status %d after SIGTERM\n%s", code, p.stderr)
	}
}

// exit waits for the end and returns the exit status.
func (p *process) exit() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		p.t.Fatalf("it does not end\n%s", p.stderr)
	}
	return p.cmd.ProcessState.ExitCode()
}

// until waits for something to become true while the process runs.
func (p *process) until(what string, ready func() bool) {
	p.t.Helper()
	deadline := time.Now().Add(patience)
	for !ready() {
		select {
		case <-p.done:
			p.t.Fatalf("%s ended before %s: %v\n%s", p.cmd.Path, what, p.err, p.stderr)
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s: no %s\n%s", p.cmd.Path, what, p.stderr)
		}
	}
}

// up starts the daemon and waits for its socket.
func (l *lab) up() *process {
	l.t.Helper()
	l.daemon = l.start(programs.tvpassd, "run", "--config", l.path("config.toml"))
	d := l.daemon
	l.t.Cleanup(d.kill)
	d.until("socket", func() bool {
		c, err := net.Dial("unix", l.path("sock"))
		return err == nil && c.Close() == nil
	})
	return d
}

// result is what a command printed, and its exit status.
type result struct {
	stdout, stderr string
	code           int
}

// run runs a command of tvpassd with the lab's configuration.
func (l *lab) run(args ...string) result {
	l.t.Helper()
	return l.exec(nil, "", programs.tvpassd, append(args, "--config", l.path("config.toml"))...)
}

func (l *lab) exec(who *syscall.Credential, stdin, name string, args ...string) result {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	if who != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: who}
	}
	err := cmd.Run()
	if ctx.Err() != nil || cmd.ProcessState == nil {
		l.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, &stderr)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// curl asks the socket, as a player would. The answer's status is in code.
func (l *lab) curl(path string, more ...string) result { return l.curlAs(nil, path, more...) }

func (l *lab) curlAs(who *syscall.Credential, path string, more ...string) result {
	l.t.Helper()
	r := l.exec(who, "", "curl", append([]string{"-sS", "--max-time", "300", "-w", "\n%{http_code}", "--unix-socket",
		l.path("sock"), "http://tvpassd" + path}, more...)...)
	if r.code != 0 {
		l.t.Fatalf("curl %s: exit %d\n%s", path, r.code, r.stderr)
	}
	cut := strings.LastIndexByte(r.stdout, '\n')
	_, err := fmt.Sscan(r.stdout[cut+1:], &r.code)
	l.must(err)
	r.stdout = r.stdout[:cut]
	return r
}

// token gets ref30's token with curl.
func (l *lab) token() (accessToken string) {
	l.t.Helper()
	return l.tokenOf(nil, "ref30")
}

// tokenOf gets an app's token as somebody. After a failed call it waits until
// the daemon has tried again, which may take longer than one request waits.
func (l *lab) tokenOf(who *syscall.Credential, app string) (accessToken string) {
	l.t.Helper()
	var r result
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		switch r = l.curlAs(who, "/v1/apps/"+app+"/token?wait=30s"); r.code {
		case http.StatusOK:
			return field(l.t, r.stdout, "access_token")
		case http.StatusServiceUnavailable, http.StatusBadGateway, http.StatusInternalServerError:
		default: // no retry helps
			deadline = time.Now()
		}
	}
	l.t.Fatalf("no token of %s: %d %s\n%s", app, r.code, r.stdout, l.daemon.stderr)
	return ""
}

// storedToken gets ref30's token and waits until it is on disk: the daemon hands
// a token out first and stores it then.
func (l *lab) storedToken() (accessToken string) {
	l.t.Helper()
	accessToken = l.token()
	l.daemon.until("the token on disk", func() bool {
		content, err := os.ReadFile(l.path("state/tvpassd.db"))
		return err == nil && strings.Contains(string(content), accessToken)
	})
	return accessToken
}

// field is a string in a JSON object.
func field(t *testing.T, object, name string) string {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal([]byte(object), &fields); err != nil {
		t.Fatalf("%v: %s", err, object)
	}
	text, _ := fields[name].(string)
	return text
}

// order sends a command to the simulator's admin API.
func (l *lab) order(method, path, body string) {
	l.t.Helper()
	if status, answer := l.sim(method, path, body); status != http.StatusNoContent {
		l.t.Fatalf("%s %s: %d %s", method, path, status, answer)
	}
}

func (l *lab) sim(method, path, body string) (int, string) {
	l.t.Helper()
	req, err := http.NewRequestWithContext(l.t.Context(), method, l.admin+path, strings.NewReader(body))
	l.must(err)
	resp, err := http.DefaultClient.Do(req)
	l.must(err)
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	l.must(err)
	return resp.StatusCode, string(answer)
}

// request is what the simulator remembers of one.
type request struct {
	At         time.Time      `json:"at"`
	Path       string         `json:"path"`
	Status     int            `json:"status"`
	ClientID   string         `json:"client_id"`
	DeviceInfo map[string]any `json:"device_info"`
	UserAgent  string         `json:"user_agent"`
}

// requests came to the simulator, with a path that ends so.
func (l *lab) requests(suffix string) []request {
	l.t.Helper()
	_, answer := l.sim(http.MethodGet, "/requests", "")
	var all, some []request
	l.must(json.Unmarshal([]byte(answer), &all))
	for _, r := range all {
		if strings.HasSuffix(r.Path, suffix) {
			some = append(some, r)
		}
	}
	return some
}

// expectCalls expects so many registrations and token requests at the
// simulator.
func (l *lab) expectCalls(registers, tokens int) {
	l.t.Helper()
	if r, t := len(l.requests("/register")), len(l.requests("/token")); r != registers || t != tokens {
		l.t.Errorf("%d registrations and %d token requests, want %d and %d\n%s", r, t, registers, tokens, l.daemon.stderr)
	}
}

// expect expects an exit status, and words in the output.
func (r result) expect(t *testing.T, code int, words ...string) {
	t.Helper()
	if r.code != code {
		t.Errorf("status %d, want %d\n%s%s", r.code, code, r.stdout, r.stderr)
	}
	for _, w := range words {
		if !strings.Contains(r.stdout+r.stderr, w) {
			t.Errorf("%q is not in\n%s%s", w, r.stdout, r.stderr)
		}
	}
}

// The users of these tests; giving a process another one takes root.
var (
	player   = &syscall.Credential{Uid: 61001, Gid: 61001, Groups: []uint32{61500}}
	stranger = &syscall.Credential{Uid: 61002, Gid: 61002}
)

// needMounts skips a test where a mount would not be this test's alone.
func needMounts(t *testing.T) {
	t.Helper()
	if out, err := exec.Command("unshare", "--mount", "true").CombinedOutput(); err != nil {
		t.Skipf("no private mounts: %v: %s: in a plain chroot, mount --bind its directory on itself first", err, out)
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can be several users: run this test as root")
	}
}
