package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// Every operation that the gateway may call is accepted by a server from
// elsewhere: `prism mock` with Adobe's own description, which is not part of
// this repository. Registrations and tokens are the simulator's, because
// Adobe's description of those has secrets in the query.
func TestPrism(t *testing.T) {
	description := os.Getenv("TVPASSD_ADOBE_V2")
	if description == "" {
		description = filepath.Join("..", "..", "..", "shared", "adobe-openapi", "restApiV2.json")
	}
	if _, err := os.Stat(description); err != nil {
		t.Skipf("set TVPASSD_ADOBE_V2 to the path of Adobe's restApiV2.json: %v", err)
	}
	tools := npmTools(t)
	l := newLab(t)
	prism := l.start("node", filepath.Join(tools, "prism"), "mock", "--host", "127.0.0.1", "--port", "0",
		description)
	t.Cleanup(prism.kill)
	listening := regexp.MustCompile(`Prism is listening on (http://\S+)`)
	prism.until("address", func() bool { return listening.MatchString(prism.stderr.String()) })
	front := l.front(listening.FindStringSubmatch(prism.stderr.String())[1])
	l.write("config.toml", strings.Replace(l.read("config.toml"), l.endpoint, front.url, 1))
	l.up()
	l.token()
	for _, c := range apiCalls {
		method, path, body := split(strings.ReplaceAll(c.call, "CODE", "8ER640M"))
		args := []string{"-X", method}
		switch {
		case strings.HasPrefix(body, "{"):
			args = append(args, "-H", "Content-Type: application/json", "--data-binary", body)
		case body != "":
			args = append(args, "--data-binary", body)
		}
		r := l.curl("/v1/apps/ref30/api/v2/"+path, args...)
		if r.code != 200 || !json.Valid([]byte(r.stdout)) { // prose pages say 201 of one, the description 200
			t.Errorf("%s: %d %s", c.call, r.code, r.stdout)
		}
	}
	if n, violations := front.taken(); n != len(apiCalls) || len(violations) > 0 {
		t.Errorf("%d calls, with violations %q", n, violations)
	}
}

// npmTools returns the folder with the programs of scripts/tools/package.json.
func npmTools(t *testing.T) string {
	t.Helper()
	if out, err := exec.Command(filepath.Join("..", "..", "scripts", "tools", "npm")).CombinedOutput(); err != nil {
		t.Fatalf("%v: this takes apt-get install nodejs npm, and the npm registry\n%s", err, out)
	}
	path, err := filepath.Abs(filepath.Join("..", "..", "bin", "tools", "node_modules", ".bin"))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// front is a server that is the simulator below /o and prism below /api/v2.
type front struct {
	url string

	mu         sync.Mutex // guards what follows
	calls      int        // that prism answered
	violations []string   // of the description, by requests
}

func (f *front) taken() (calls int, violations []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls, f.violations
}

// note keeps prism's complaints about a request. Complaints about prism's own
// answers are left out.
func (f *front) note(r *http.Response) error {
	var all []struct {
		Location []string
		Message  string
	}
	if text := r.Header.Get("Sl-Violations"); text != "" {
		if err := json.Unmarshal([]byte(text), &all); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	for _, v := range all {
		if len(v.Location) == 0 || v.Location[0] == "request" {
			f.violations = append(f.violations, r.Request.URL.Path+": "+v.Message)
		}
	}
	return nil
}

func (l *lab) front(prism string) *front {
	l.t.Helper()
	f := &front{}
	to := func(base string) *httputil.ReverseProxy {
		u, err := url.Parse(base)
		l.must(err)
		return &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(u) }}
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(l.read("ca.pem")))
	simulator, mock := to(l.endpoint), to(prism)
	simulator.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	mock.ModifyResponse = f.note
	mux := http.NewServeMux()
	mux.Handle("/o/", simulator)
	mux.Handle("/api/v2/", http.StripPrefix("/api/v2", mock))
	server := httptest.NewServer(mux)
	l.t.Cleanup(server.Close)
	f.url = server.URL
	return f
}
