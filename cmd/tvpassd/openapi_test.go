package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tvpassd/tvpassd/ipc"
)

// A daemon gives every answer that ipc/openapi.yaml names, and each is as the
// document says. scripts/tools/openapi compares them.
func TestOpenAPI(t *testing.T) {
	needRoot(t)
	checker := filepath.Join(t.TempDir(), "openapi")
	build := exec.Command("go", "build", "-C", filepath.Join("..", "..", "scripts", "tools"), "-o", checker, "./openapi")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	r := &recorder{}
	t.Run("answers", func(t *testing.T) { // they run at the same time, and this ends when all have
		for name, provoke := range map[string]func(*testing.T){
			"served": r.served, "orders": r.orders, "mistakes": r.mistakes, "others": r.others, "no token": r.noToken,
			"rejected": r.rejected, "offline": r.offline, "throttled": r.throttled, "not ready": r.notReady,
			"clock":   r.clockUnset,
			"storage": r.storage, "connections": r.connections, "gateway": r.gateway,
		} {
			t.Run(name, provoke)
		}
	})
	if t.Failed() {
		return
	}
	check := exec.Command(checker, filepath.Join("..", "..", "ipc", "openapi.yaml"), "internal") // which would be a bug
	check.Stdin = &r.exchanges
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// declared returns the values of the constants of package ipc whose names begin
// with a prefix.
func declared(t *testing.T, file, prefix string) (values []string) {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", "..", "ipc", file), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && strings.HasPrefix(spec.Names[0].Name, prefix) {
			values = append(values, strings.Trim(spec.Values[0].(*ast.BasicLit).Value, `"`))
		}
		return true
	})
	if len(values) < 3 {
		t.Fatalf("ipc/%s has only %q", file, values)
	}
	return values
}

// The codes stand in three places: for programs in Go, for programs in
// anything, and for people.
func TestEveryCodeIsExplained(t *testing.T) {
	codes, warnings := declared(t, "problem.go", "Code"), declared(t, "warning.go", "Warn")
	for _, page := range []struct {
		path, like string
		codes      []string
	}{
		{"ipc/openapi.yaml", "\n        - %s\n", codes},
		{"docs/players.md", "\n| `%s` |", codes},
		{"docs/operators.md", "%s", warnings},
	} {
		text := readFile(t, "../../"+page.path)
		for _, code := range page.codes {
			if !strings.Contains(text, fmt.Sprintf(page.like, code)) {
				t.Errorf("%s does not have %s", page.path, code)
			}
		}
	}
}

// Every state has its word on the screen, its metric and its place in the
// description of the API.
func TestEveryStateIsKnown(t *testing.T) {
	states := ipc.States()
	if want := declared(t, "types.go", "State"); !slices.Equal(states, want) {
		t.Errorf("ipc.States returns %q, and declared are %q", states, want)
	}
	list := "enum: [" + strings.Join(states, ", ") + "]"
	if !strings.Contains(readFile(t, "../../ipc/openapi.yaml"), list) {
		t.Errorf("ipc/openapi.yaml does not have %s", list)
	}
	for _, state := range states {
		if a := (ipc.AppStatus{State: state}); stateWords(a) == state {
			t.Errorf("the screen has no words for %s", state)
		}
	}
	var apps []ipc.AppStatus
	for _, state := range states {
		apps = append(apps, ipc.AppStatus{State: state})
	}
	if _, ready := byUrgency(apps); len(ready) != 1 {
		t.Errorf("the screen counts as ready %v", ready)
	}
}

// recorder keeps what was asked and answered.
type recorder struct {
	mu        sync.Mutex
	exchanges bytes.Buffer // of JSON
}

func (r *recorder) keep(method, path, body, response string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	line, err := json.Marshal(map[string]string{"method": method, "path": path, "body": body, "response": response})
	if err != nil {
		panic(err) // strings can't fail
	}
	r.exchanges.Write(append(line, '\n'))
}

// recorded is a lab whose answers are kept.
type recorded struct {
	*lab
	r *recorder
}

// ask sends a request, keeps the answer, and wants its status and, if given,
// its code.
func (l recorded) ask(request string, status int, code ...string) string {
	l.t.Helper()
	return l.askAs(nil, request, status, code...)
}

// askAs is for another user; a request is a method, a path and perhaps a body.
func (l recorded) askAs(who *syscall.Credential, request string, status int, code ...string) string {
	l.t.Helper()
	answer := l.send(who, request)
	if !strings.HasPrefix(answer, fmt.Sprintf("HTTP/1.1 %d ", status)) ||
		len(code) > 0 && !strings.Contains(answer, `"code":"`+code[0]+`"`) {
		l.t.Errorf("%s: want %d %v, got %s", request, status, code, answer)
	}
	method, path, body := split(request)
	l.r.keep(method, path, body, answer)
	return answer
}

// send sends a request and keeps nothing.
func (l recorded) send(who *syscall.Credential, request string) string {
	l.t.Helper()
	method, path, body := split(request)
	args := []string{"-sS", "-i", "--raw", "--max-time", "60", "--unix-socket", l.path("sock"), "-X", method,
		"http://tvpassd" + path}
	switch {
	case strings.HasPrefix(body, "{"):
		args = append(args, "-H", "Content-Type: application/json", "--data-binary", "@-")
	case body != "":
		args = append(args, "--data-binary", "@-") // a form
	}
	result := l.exec(who, body, "curl", args...)
	if result.code != 0 {
		l.t.Fatalf("%s: curl exits %d\n%s", request, result.code, result.stderr)
	}
	return result.stdout
}

func split(request string) (method, path, body string) {
	method, path, _ = strings.Cut(request, " ")
	path, body, _ = strings.Cut(path, " ")
	return method, path, body
}

// until sends a request until the answer has a code, or there is none without.
func (l recorded) until(request, code string) {
	l.t.Helper()
	l.daemon.until(code, func() bool { return strings.Contains(l.send(nil, request), `"code":"`+code+`"`) })
}

func record(t *testing.T, r *recorder, simFlags ...string) recorded {
	t.Helper()
	return recorded{newLab(t, simFlags...), r}
}

// The four ways to a token.
var tokenPaths = []string{"/v1/apps/ref30/token", "/v1/apps/ref30/headers", "/v1/token", "/v1/headers"}

func (r *recorder) served(t *testing.T) {
	l := record(t, r)
	l.up()
	first := l.lab.token()
	for _, path := range tokenPaths {
		l.ask("GET "+path, 200)
		l.ask("GET "+path+"?wait=1m0s&min_ttl=1.5h", 200)
		l.ask("GET "+path+"?wait=tomorrow", 400, "invalid_parameter")
	}
	for _, path := range []string{"/v1/device", "/v1/status", "/v1/healthz", "/v1/metrics"} {
		l.ask("GET "+path, 200)
		l.askAs(stranger, "GET "+path, 200)
		l.ask("GET "+path+" "+strings.Repeat("x", 65<<10), 413, "too_large")
	}
	w := l.start("curl", "-sSNi", "--raw", "--unix-socket", l.path("sock"), "http://tvpassd/v1/apps/ref30/watch")
	t.Cleanup(w.kill)
	w.until("first token", func() bool { return strings.Contains(w.stderr.String(), first) })
	l.ask(`POST /v1/apps/ref30/report {"access_token":"`+first+
		`","status":401,"code":"invalid_access_token_client_application"}`, 202)
	l.ask(`POST /v1/apps/ref30/report {"access_token":"`+first+`","status":401}`, 202)
	l.lab.token() // the new one
	l.ask("GET /v1/token", 200)
	w.until("second token", func() bool {
		return strings.Count(w.stderr.String(), "event: token") == 2 && strings.HasSuffix(w.stderr.String(), "\n\n\r\n")
	})
	w.kill()
	r.keep("GET", "/v1/apps/ref30/watch", "", w.stderr.String())
}

func (r *recorder) orders(t *testing.T) {
	l := record(t, r, "-no-throttle")
	l.up()
	l.lab.token()
	l.ask("POST /v1/apps/ref30/refresh", 202)
	l.daemon.until("429", func() bool { // a few are let through at once
		answer := l.send(nil, "POST /v1/apps/ref30/refresh")
		limited := strings.HasPrefix(answer, "HTTP/1.1 429 ")
		if limited {
			r.keep("POST", "/v1/apps/ref30/refresh", "", answer)
		}
		return limited
	})
	l.ask("DELETE /v1/apps/ref30/credentials", 202)
	l.lab.token()
	l.ask("GET /v1/apps/ref30/token?wait=30s", 200)
	l.ask("GET /v1/config", 200)
	l.ask("POST /v1/reload", 202)
	l.ask("POST /v1/reload?accept=ref30", 202)
	l.ask("POST /v1/reload?accept=none", 422, "invalid_configuration")
	l.ask("POST /v1/reload?accept=", 400, "invalid_parameter")
	l.write("config.toml", "nonsense = 1\n"+l.read("config.toml"))
	l.ask("POST /v1/reload", 422, "invalid_configuration")
	l.ask("GET /v1/status", 200) // with a warning
}

func (r *recorder) mistakes(t *testing.T) {
	l := record(t, r)
	l.up()
	for _, request := range []string{"GET token", "GET headers", "POST report", "GET watch", "POST refresh",
		"DELETE credentials"} {
		method, name, _ := strings.Cut(request, " ")
		l.ask(method+" /v1/apps/none/"+name, 404, "unknown_app")
	}
	l.ask("POST /v1/apps/ref30/report {}", 400, "invalid_parameter")
	l.ask("POST /v1/apps/ref30/report "+strings.Repeat("x", 65<<10), 413, "too_large")
	l.ask("GET /v1/no-such-path", 404, "not_found")
	l.ask("GET /", 404, "not_found")
	l.ask("POST /v1/token", 405, "method_not_allowed")
	l.ask("GET /v1/reload", 405, "method_not_allowed")
}

func (r *recorder) others(t *testing.T) {
	l := record(t, r)
	l.addApp("ref30", "allow_users = [61001]")
	l.addApp("other", "allow_groups = [61500]")
	l.addApp("hidden", "allow_users = [0]")
	l.up()
	for _, who := range []*syscall.Credential{player, stranger, nil} { // several, none, all
		l.askAs(who, "GET /v1/token", 409, "ambiguous_app")
		l.askAs(who, "GET /v1/headers", 409, "ambiguous_app")
	}
	for _, request := range []string{"GET token", "GET headers", "POST report", "GET watch", "POST refresh",
		"DELETE credentials"} {
		method, name, _ := strings.Cut(request, " ")
		l.askAs(player, method+" /v1/apps/hidden/"+name, 403, "forbidden")
	}
	l.askAs(player, "POST /v1/reload", 403, "forbidden")
	l.askAs(player, "GET /v1/config", 403, "forbidden")
	l.askAs(stranger, "GET /v1/status", 200) // without an app
	l.askAs(stranger, "GET /v1/healthz", 200)
}

// noTokenAnywhere wants the four ways to a token to fail.
func (l recorded) noTokenAnywhere(status int, code string) {
	l.t.Helper()
	l.until("GET /v1/token?wait=0s", code)
	for _, path := range tokenPaths {
		l.ask("GET "+path+"?wait=0s", status, code)
	}
	l.ask("GET /v1/status", 200)
	l.ask("GET /v1/healthz", 503)
}

func (r *recorder) noToken(t *testing.T) {
	l := record(t, r, "-fault", "kind=status status=503")
	l.up()
	l.noTokenAnywhere(503, "server_error")
}

func (r *recorder) rejected(t *testing.T) {
	l := record(t, r)
	l.order("POST", "/statement", `{"approved":false}`)
	l.up()
	l.noTokenAnywhere(502, "rejected")
}

func (r *recorder) offline(t *testing.T) {
	l := record(t, r)
	l.write("config.toml", strings.Replace(l.read("config.toml"), l.endpoint, "https://127.0.0.1:1", 1))
	l.up()
	l.noTokenAnywhere(503, "offline")
}

func (r *recorder) throttled(t *testing.T) {
	l := record(t, r, "-fault", "kind=429 retry_after=3000")
	l.up()
	l.noTokenAnywhere(503, "throttled")
}

func (r *recorder) notReady(t *testing.T) {
	l := record(t, r, "-fault", "kind=hang")
	l.write("config.toml", strings.Replace(l.read("config.toml"), `timeout = "1m"`, `timeout = "5m"`, 1))
	l.up()
	l.noTokenAnywhere(503, "not_ready")
}

// A daemon that was built after the moment that the clock shows.
func (r *recorder) clockUnset(t *testing.T) {
	l := record(t, r)
	late := l.path("tvpassd")
	build := exec.Command("go", append(buildArgs(fmt.Sprint(time.Now().AddDate(10, 0, 0).Unix())), "-o", late, ".")...)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	l.daemon = l.start(late, "run", "--config", l.path("config.toml"))
	t.Cleanup(l.daemon.kill)
	l.daemon.until("socket", func() bool { return l.exists("sock") })
	l.noTokenAnywhere(503, "clock_unset")
}

// Something else takes the place of the state directory, before and after there
// are credentials to keep.
func (r *recorder) storage(t *testing.T) {
	l := record(t, r)
	statement, app := l.read("apps.d/ref30.jwt"), l.read("apps.d/ref30.toml")
	l.must(os.RemoveAll(l.path("apps.d")))
	l.up()
	l.daemon.until("its state", func() bool { return l.exists("state/tvpassd.db") })
	l.must(os.Rename(l.path("state"), l.path("elsewhere")))
	l.write("state", "") // where a directory is missing the daemon makes it anew
	l.must(os.Mkdir(l.path("apps.d"), 0o755))
	l.write("apps.d/ref30.jwt", statement)
	l.write("apps.d/ref30.toml", app)
	l.run("reload").expect(t, 0)
	l.noTokenAnywhere(500, "storage")
	l.ask("DELETE /v1/apps/ref30/credentials", 500, "storage")
}

func (r *recorder) connections(t *testing.T) {
	l := record(t, r)
	l.up()
	const most = 256 // of an admin
	l.daemon.until("a connection too many", func() bool {
		var last net.Conn
		for range most + 1 { // without a pause: the daemon closes those that send nothing
			c, err := net.Dial("unix", l.path("sock"))
			l.must(err)
			defer c.Close()
			last = c
		}
		answer, err := io.ReadAll(last)
		if err != nil || !slices.Contains(strings.Fields(string(answer)), "429") {
			return false
		}
		r.keep("GET", "/v1/token", "", string(answer))
		return true
	})
}

// apiCalls are the operations of the REST API V2, but for the one that a
// browser opens. CODE stands for the code of a sign-in.
var apiCalls = []struct {
	call   string
	status int
}{
	{"GET REF30/configuration", 200},
	{"POST REF30/sessions domainName=adobe.com", 200},
	{"POST REF30/sessions/CODE mvpd=Cablevision&redirectUrl=https%3A%2F%2Ftv.example%2Fdone", 200},
	{"GET REF30/sessions/CODE", 200},
	{"GET REF30/profiles", 200},
	{"GET REF30/profiles/Cablevision", 200},
	{"GET REF30/profiles/code/CODE", 200},
	{"POST REF30/sessions/sso/Apple domainName=adobe.com&redirectUrl=app%3Ax", 200},
	{"POST REF30/profiles/sso/Apple SAMLResponse=c2FtbA%3D%3D", 201},
	{`POST REF30/decisions/preauthorize/Cablevision {"resources":["REF30","denied"]}`, 200},
	{`POST REF30/decisions/authorize/Cablevision {"resources":["REF30","denied"]}`, 200},
	{"GET REF30/logout/Cablevision?redirectUrl=app%3Ax", 200},
}

// The operations through the gateway, and what it answers by itself.
func (r *recorder) gateway(t *testing.T) {
	l := record(t, r, "-no-throttle")
	l.addApp("ref30", "allow_users = [61001]")
	l.addApp("hidden", "allow_users = [0]")
	l.up()
	l.curlAs(player, "/v1/apps/ref30/token?wait=60s").expect(t, 200)
	code := "none"
	for _, c := range apiCalls {
		method, path, body := split(strings.ReplaceAll(c.call, "CODE", code))
		answer := l.askAs(player, strings.TrimSpace(method+" /v1/apps/ref30/api/v2/"+path+" "+body), c.status)
		if _, after, ok := strings.Cut(answer, `"code":"`); ok && path == "REF30/sessions" {
			code, _, _ = strings.Cut(after, `"`)
		}
		path, _, _ = strings.Cut(path, "?")
		l.askAs(player, method+" /v1/apps/ref30/api/v2/"+path+"?a=%zz", 400, "invalid_parameter")
	}
	const configuration = "/api/v2/REF30/configuration"
	l.ask("GET /v1/apps/none"+configuration, 404, "unknown_app")
	l.askAs(player, "GET /v1/apps/hidden"+configuration, 403, "forbidden")
	l.askAs(player, "GET /v1/apps/ref30/api/v2/REF30/profiles/NoSuchTV", 400, "invalid_parameter_mvpd")
	l.askAs(player, "GET /v1/apps/ref30/api/v2/authenticate/configuration", 400, "not_for_gateway")
	l.order("POST", "/fault", `{"path":"api","kind":"close","count":1}`)
	l.askAs(player, "GET /v1/apps/ref30"+configuration, 503, "server_error")
	l.order("POST", "/fault", `{"path":"api","kind":"hang","count":1}`)
	l.askAs(player, "GET /v1/apps/ref30"+configuration, 504, "timeout")
}
