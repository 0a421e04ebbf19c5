package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tvpassd/tvpassd/daemon/dcr/dcrtest"
)

// build makes the binary once for all tests that run it.
func build(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "passsim")
	out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput()
	if err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

// process is a running passsim.
type process struct {
	cmd    *exec.Cmd
	stderr *bytes.Buffer
	done   chan error
}

func start(t *testing.T, binary string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(binary, args...), stderr: &bytes.Buffer{}, done: make(chan error, 1)}
	p.cmd.Stderr = p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.done <- p.cmd.Wait() }()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it has ended, unless the test failed
	})
	return p
}

// content waits for a file that the process writes.
func (p *process) content(t *testing.T, path string) string {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		raw, err := os.ReadFile(path)
		if err == nil {
			return strings.TrimSpace(string(raw))
		}
		select {
		case err := <-p.done:
			t.Fatalf("ended with %v\n%s", err, p.stderr)
		case <-deadline:
			t.Fatalf("no %s\n%s", path, p.stderr)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// stop sends a signal and expects a clean end.
func (p *process) stop(t *testing.T, signal os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-p.done:
		if err != nil {
			t.Errorf("after %v: %v\n%s", signal, err, p.stderr)
		}
	case <-time.After(time.Minute):
		t.Fatalf("still runs after %v\n%s", signal, p.stderr)
	}
}

// trusting returns a client that trusts the certificates of a file.
func trusting(t *testing.T, ca string) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(read(t, ca))) {
		t.Fatal("no certificate in -ca-out")
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
}

func get(t *testing.T, client *http.Client, url string) (status int, body string) {
	t.Helper()
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(raw)
}

func TestServeTLS(t *testing.T) {
	binary, dir := build(t), t.TempDir()
	addr, ca, admin := filepath.Join(dir, "addr"), filepath.Join(dir, "ca.pem"), filepath.Join(dir, "admin")
	p := start(t, binary, "-tls", "-addr-out", addr, "-ca-out", ca, "-admin", "127.0.0.1:0", "-admin-out", admin,
		"-fault", "path=token kind=hang", "-fault", "path=api kind=status status=502 count=1")
	base := p.content(t, addr) // the last file to be written: the others are there
	if !strings.HasPrefix(base, "https://127.0.0.1:") {
		t.Errorf("base URL %q", base)
	}
	client := trusting(t, ca)
	get := func(url string) (int, string) {
		t.Helper()
		return get(t, client, url)
	}
	if status, body := get(base + "/api/v2/a"); status != 502 {
		t.Errorf("with a fault: %d %s, want 502", status, body)
	}
	if status, body := get(base + "/api/v2/a"); status != 401 {
		t.Errorf("after the fault: %d %s, want 401", status, body)
	}
	if _, err := (&http.Client{}).Get(base); err == nil {
		t.Error("the certificate is good without the CA")
	}
	if status, body := get(strings.TrimSpace(read(t, admin)) + "/counts"); status != 200 ||
		!strings.Contains(body, `"api":2`) {
		t.Errorf("admin: %d %s, want 2 api requests", status, body)
	}

	// A hanging request does not keep it from stopping, and ends without an
	// answer.
	hanging := make(chan error, 1)
	go func() {
		resp, err := client.Post(base+"/o/client/token", "text/plain", nil)
		if err == nil {
			resp.Body.Close()
		}
		hanging <- err
	}()
	for under := false; !under; {
		select {
		case err := <-hanging:
			t.Fatalf("the hanging request ended with %v", err)
		case <-time.After(5 * time.Millisecond):
			_, body := get(strings.TrimSpace(read(t, admin)) + "/counts")
			under = strings.Contains(body, `"token":1`)
		}
	}
	p.stop(t, syscall.SIGTERM)
	if err := <-hanging; err == nil {
		t.Error("the hanging request was answered")
	}
}

// Flags change the answers, over plain HTTP too, and SIGINT stops the server.
func TestServeFlags(t *testing.T) {
	binary, dir := build(t), t.TempDir()
	addr := filepath.Join(dir, "addr")
	p := start(t, binary, "-addr-out", addr, "-token-life", "90s", "-token-status", "200", "-clock-offset", "-1000h")
	base := p.content(t, addr)
	const device = "eyJtb2RlbCI6Im0iLCJ2ZXJzaW9uIjoiMSIsIm9zTmFtZSI6IkxpbnV4Iiwib3NWZXJzaW9uIjoiNiIsImNv" +
		"bm5lY3Rpb25UeXBlIjoiTEFOIn0="
	post := func(path, contentType, body string, into any) *http.Response {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", contentType)
		r.Header.Set("X-Device-Info", device)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
			t.Fatal(err)
		}
		return resp
	}
	var credentials struct {
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
	}
	statement := `{"software_statement":"` + dcrtest.Statement("x") + `"}`
	resp := post("/o/client/register", "application/json", statement, &credentials)
	if resp.StatusCode != 201 {
		t.Fatalf("register: %d\n%s", resp.StatusCode, p.stderr)
	}
	var token struct {
		ExpiresIn int `json:"expires_in"`
	}
	resp = post("/o/client/token", "application/x-www-form-urlencoded", "grant_type=client_credentials&client_id="+
		credentials.ID+"&client_secret="+credentials.Secret, &token)
	if resp.StatusCode != 200 || token.ExpiresIn != 90 {
		t.Errorf("token: %d, expires_in %d, want 200 and 90", resp.StatusCode, token.ExpiresIn)
	}
	date, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		t.Fatal(err)
	}
	if behind := time.Since(date).Round(time.Hour); behind != 1000*time.Hour {
		t.Errorf("the server's clock is %v behind, want 1000h", behind)
	}
	// An idle keep-alive connection is open: it must not delay the end.
	p.stop(t, syscall.SIGINT)
	if strings.Contains(p.stderr.String(), credentials.Secret) {
		t.Error("the log tells the secret")
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestStatementFlag(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if got := run(t.Context(), []string{"-statement", "ref30"}, &stdout, &stderr); got != 0 {
		t.Errorf("exit %d: %s", got, &stderr)
	}
	if got, want := stdout.String(), dcrtest.Statement("ref30")+"\n"; got != want {
		t.Errorf("printed %q, want %q", got, want)
	}
}

func TestWrongUsage(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // a command line that is accepted by mistake ends at once
	for _, tc := range []struct {
		args []string
		why  string
	}{
		{[]string{"-nonsense"}, "nonsense"},
		{[]string{"serve"}, "unexpected argument"},
		{[]string{"-ca-out", "x"}, "-tls"},
		{[]string{"-admin-out", "x"}, "-admin"},
		{[]string{"-admin", "0.0.0.0:0"}, "loopback"},
		{[]string{"-admin", "127.0.0.1"}, "loopback"},
		{[]string{"-statement", ""}, "-statement"},
		{[]string{"-token-status", "204"}, "204"},
		{[]string{"-token-life", "0s"}, "0s"},
		{[]string{"-token-life", "6"}, "6"},
		{[]string{"-fault", "kind=nonsense"}, "nonsense"},
		{[]string{"-dns-host", "=192.0.2.10"}, "-dns-host"},
		{[]string{"-dns-host", "sp.example=192.0.2"}, "192.0.2"},
		{[]string{"-dns-fault", "kind=nonsense"}, "nonsense"},
	} {
		var stdout, stderr bytes.Buffer
		got := run(ctx, tc.args, &stdout, &stderr)
		if got != 64 || !strings.Contains(stderr.String(), tc.why) || strings.Count(stderr.String(), "\n") != 1 {
			t.Errorf("%q: exit %d, %q; want 64 and one line about %q", tc.args, got, &stderr, tc.why)
		}
		if stdout.Len() > 0 {
			t.Errorf("%q: printed %q", tc.args, &stdout)
		}
	}
}

func TestHelp(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if got := run(t.Context(), []string{"-help"}, &stdout, &stderr); got != 0 ||
		!strings.Contains(stderr.String(), "-addr-out") {
		t.Errorf("exit %d, %s", got, &stderr)
	}
}

func TestCannotListen(t *testing.T) {
	dir := t.TempDir()
	for _, tc := range []struct {
		args []string
		why  string
	}{
		{[]string{"-listen", "127.0.0.1:99999"}, "99999"},
		{[]string{"-addr-out", filepath.Join(dir, "missing", "addr")}, "missing"},
		{[]string{"-dns", "127.0.0.1:99999"}, "99999"},
	} {
		var stdout, stderr bytes.Buffer
		if got := run(t.Context(), tc.args, &stdout, &stderr); got != 1 ||
			!strings.Contains(stderr.String(), tc.why) {
			t.Errorf("%q: exit %d, %s; want 1 and a word about %s", tc.args, got, &stderr, tc.why)
		}
	}
}

// A reader of a file that is replaced sees the old or the new content.
func TestWriteFileReplaces(t *testing.T) {
	path := filepath.Join(t.TempDir(), "addr")
	old := strings.Repeat("old", 1000)
	if err := os.WriteFile(path, []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if err := writeFile(path, "new\n"); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(reader); err != nil || string(got) != old {
		t.Errorf("the file that was open changed: %d bytes, %v", len(got), err)
	}
	if got := read(t, path); got != "new\n" {
		t.Errorf("it holds %q", got)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o644 { // a daemon of another user reads the CA
		t.Errorf("its mode is %v, %v", info.Mode(), err)
	}
	if err := writeFile(filepath.Join(path, "x"), ""); !errors.Is(err, syscall.ENOTDIR) ||
		!strings.Contains(err.Error(), path) {
		t.Errorf("%v, want %v with the path", err, syscall.ENOTDIR)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
