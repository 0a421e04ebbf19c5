package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const (
	app       = "ref30"
	tokenPath = "/v1/apps/" + app + "/token"
)

// lab is a simulator and a state directory that holds an app's credentials and
// a token of it.
type lab struct {
	files     files
	passsim   *process
	admin     string // base URL of the simulator's admin API
	endpoint  string
	ca        string // file with the simulator's certificate
	statement string
	state     string
	socket    string
	args      []string // of a daemon on state
}

// files says where programs are and where this run keeps its own.
type files struct {
	project string // the checkout, with bin and dist
	work    string // a directory of this run, with the programs of scripts/report
}

func (f files) tvpassd() string        { return filepath.Join(f.project, "bin/tvpassd") }
func (f files) armv7() string          { return filepath.Join(f.project, "dist/tvpassd-linux-armv7") }
func (f files) own(name string) string { return filepath.Join(f.work, name) }
func (f files) c(name string) string   { return filepath.Join(f.project, "scripts/report", name) }

func readOr(path, fallback string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return fallback
	}
	return strings.TrimSpace(string(content))
}

// newLab starts a simulator and lets a daemon fetch the one token that all
// measurements use.
func newLab(ctx context.Context, f files) (l *lab, err error) {
	l = &lab{files: f, state: f.own("state"), socket: f.own("tvpassd.sock")}
	if err := l.simulate(ctx, "passsim"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.passsim.stop())
		}
	}()
	if l.args, err = l.configure("config.toml", l.state); err != nil {
		return nil, err
	}
	daemon, err := l.daemon(ctx, -1)
	if err != nil {
		return nil, err
	}
	_, err = getToken(ctx, l.socket, "?wait=20s")
	return l, errors.Join(err, daemon.stop())
}

// simulate starts a simulator, whose files begin with a name, and gets a
// software statement of it. The caller stops it.
func (l *lab) simulate(ctx context.Context, name string, args ...string) (err error) {
	passsim := filepath.Join(l.files.project, "bin/passsim")
	file := func(suffix string) string { return l.files.own(name + suffix) }
	l.ca = file(".pem")
	l.passsim, err = start(ctx, file(".log"), -1, passsim, append(args,
		"-listen", "127.0.0.1:0", "-addr-out", file(".addr"), "-tls",
		"-ca-out", l.ca, "-admin", "127.0.0.1:0", "-admin-out", file(".admin"))...)
	if err != nil {
		return fmt.Errorf("start the simulator (make build makes it): %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.passsim.stop())
		}
	}()
	err = l.passsim.until("its addresses are known", func() bool {
		l.endpoint, l.admin = readOr(file(".addr"), ""), readOr(file(".admin"), "")
		return l.endpoint != "" && l.admin != ""
	})
	if err != nil {
		return err
	}
	statement, err := exec.CommandContext(ctx, passsim, "-statement", app).Output()
	if err != nil {
		return fmt.Errorf("get a software statement of the simulator: %w", err)
	}
	l.statement = strings.TrimSpace(string(statement))
	return nil
}

// configure writes a configuration whose state lives in the given directory,
// and returns the arguments for a daemon on it. It has one app, and others if any
// are named.
func (l *lab) configure(name, state string, others ...string) ([]string, error) {
	config := fmt.Sprintf("endpoint = %q\nstate_dir = %q\naccept_volatile_state = true\n"+
		"[socket]\npath = %q\ngroup = \"\"\n[http]\nca_file = %q\n", l.endpoint, state, l.socket, l.ca)
	for _, id := range append([]string{app}, others...) {
		config += fmt.Sprintf("[[app]]\nid = %q\nsoftware_statement = %q\n", id, l.statement)
	}
	return []string{"run", "--config", l.files.own(name)}, os.WriteFile(l.files.own(name), []byte(config), 0o600)
}

// daemon starts tvpassd on the lab's state, on one processor where cpu is not
// negative, and waits for its socket.
func (l *lab) daemon(ctx context.Context, cpu int) (*process, error) {
	return l.launch(ctx, cpu, append([]string{l.files.tvpassd()}, l.args...)...)
}

// launch starts a daemon by a command, which may run it under something else,
// and waits for its socket.
func (l *lab) launch(ctx context.Context, cpu int, command ...string) (*process, error) {
	p, err := start(ctx, l.files.own("tvpassd.log"), cpu, command[0], command[1:]...)
	if err != nil {
		return nil, fmt.Errorf("start tvpassd (make build makes it): %w", err)
	}
	if err := p.untilListening(l.socket); err != nil {
		return nil, errors.Join(err, p.stop())
	}
	return p, nil
}

// counts are the calls that came to the simulator so far.
type counts struct{ Register, Token, Throttled int }

func (l *lab) counts(ctx context.Context) (counts, error) {
	var c counts
	return c, call(ctx, http.DefaultClient, http.MethodGet, l.admin+"/counts", "", &c)
}

// token is what the measurements need of the token object.
type token struct {
	AccessToken string `json:"access_token"`
}

// getToken asks for the token once, on a connection of its own.
func getToken(ctx context.Context, socket, query string) (token, error) {
	var t token
	return t, onSocket(ctx, socket, http.MethodGet, tokenPath+query, &t)
}

// refresh asks for a new token, as an admin may.
func refresh(ctx context.Context, socket string) error {
	return onSocket(ctx, socket, http.MethodPost, "/v1/apps/"+app+"/refresh", nil)
}

// onSocket asks the daemon once, on a connection of its own.
func onSocket(ctx context.Context, socket, method, path string, into any) error {
	client := onSocketClient(socket)
	defer client.CloseIdleConnections()
	return call(ctx, client, method, "http://tvpassd"+path, "", into)
}

// onSocketClient asks the daemon as players do.
func onSocketClient(socket string) *http.Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	return &http.Client{Transport: &http.Transport{DialContext: dial}, Timeout: 2 * time.Minute}
}

// call makes a request and reads the JSON of its answer into a value, if there
// is one.
func call(ctx context.Context, client *http.Client, method, url, body string, into any) error {
	answer, err := ask(ctx, client, method, url, body)
	if err != nil || into == nil {
		return err
	}
	return json.Unmarshal(answer, into)
}

// took is how long a GET takes, to the last byte of its answer.
func took(ctx context.Context, client *http.Client, url string) (time.Duration, error) {
	began := time.Now()
	_, err := ask(ctx, client, http.MethodGet, url, "")
	return time.Since(began), err
}

// ask makes a request, which the gateway may hold for a minute, and returns the
// body of its answer.
func ask(ctx context.Context, client *http.Client, method, url, body string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Prefer", "wait=60")
	answer, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	said, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode >= http.StatusBadRequest { // a problem in words, never a token
		err = fmt.Errorf("%s %s: %s: %.1000s", method, url, answer.Status, said)
	}
	return said, err
}

// fault has the simulator's API do something wrong.
func (l *lab) fault(ctx context.Context, fault string) error {
	return call(ctx, http.DefaultClient, http.MethodPost, l.admin+"/fault", fault, nil)
}

// sleep waits, or gives up with ctx.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
