package main

import (
	"bufio"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"unicode"
)

// Everything that the daemon logs can be looked for in the same way: a line
// begins with what happened, what warns has a code that docs/operators.md
// explains, and the keys are these.
func TestEveryLogLineIsMadeAlike(t *testing.T) {
	keys := []string{"app", "code", "server_code", "state", "detail", "err", "expires_in", "registrations", "action",
		// of apps
		"version", "socket", "endpoint", "apps", "file", "method", "uid", "pid", "per_user", "total", "for"}
	calls, codes := 0, map[string]bool{}
	explained := readFile(t, "../../docs/operators.md")
	for _, dir := range []string{".", "../../daemon", "../../ipc"} {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if filepath.Base(path) == "dcrtest" { // a server, not the daemon
				return fs.SkipDir
			}
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			files := token.NewFileSet()
			parsed, err := parser.ParseFile(files, path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(parsed, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				if level, args := logged(call); level != "" {
					calls++
					if wrong := wrongWith(level, args, keys); wrong != "" {
						t.Errorf("%s: %s", files.Position(call.Pos()), wrong)
					}
					code := codeOf(args)
					if codes[code] || !strings.Contains(explained, code) {
						t.Errorf("%s: %s is written out twice, or docs/operators.md lacks it", files.Position(call.Pos()), code)
					}
					codes[code] = code != ""
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if calls < 20 || len(codes) < 5 {
		t.Errorf("only %d calls of a logger were found: this test no longer finds them", calls)
	}
}

// logged returns a call's level, and its message with what follows. The level is
// "" if the call logs nothing.
func logged(call *ast.CallExpr) (level string, args []ast.Expr) {
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return "", nil
	}
	receiver := ""
	switch x := method.X.(type) {
	case *ast.Ident:
		receiver = x.Name
	case *ast.SelectorExpr:
		receiver = x.Sel.Name
	}
	if !strings.EqualFold(receiver, "log") {
		return "", nil
	}
	switch method.Sel.Name {
	case "Debug", "Info", "Warn", "Error":
		return method.Sel.Name, call.Args
	case "Log":
		return "Info", call.Args[2:]
	}
	return "", nil
}

func wrongWith(level string, args []ast.Expr, keys []string) string {
	message := args[0]
	if sum, ok := message.(*ast.BinaryExpr); ok {
		message = sum.X
	}
	if text := literal(message); text != "" && !unicode.IsLower(rune(text[0])) {
		return fmt.Sprintf("%q does not begin with a small letter", text)
	}
	code := false
	for i := 1; i < len(args); i += 2 {
		key := literal(args[i])
		if !slices.Contains(keys, key) {
			return fmt.Sprintf("the key %q is a new one", key)
		}
		code = code || key == "code"
	}
	if !code && (level == "Warn" || level == "Error") {
		return "a warning without a code"
	}
	return ""
}

// codeOf returns the code of a line if it is written out there, "" otherwise.
func codeOf(args []ast.Expr) string {
	for i := 1; i+1 < len(args); i += 2 {
		if literal(args[i]) == "code" {
			return literal(args[i+1])
		}
	}
	return ""
}

// literal returns the text of a string, "" if it is put together.
func literal(e ast.Expr) string {
	lit, ok := e.(*ast.BasicLit)
	if !ok {
		return ""
	}
	text, err := strconv.Unquote(lit.Value)
	if err != nil {
		return ""
	}
	return text
}

// net/http, which makes the calls through a proxy, complains of an answer without
// a request, and quotes it: the quote must not reach the log.
func TestWhatTheStandardLibraryLogsHasNoSecrets(t *testing.T) {
	l := newLab(t)
	server := chatter(t)
	l.endpoint = "http://" + server
	l.configure("", "[device]", `model = "Box"`, `version = "1"`)
	l.write("config.toml", l.read("config.toml")+fmt.Sprintf("proxy = %q\n", l.endpoint))
	d := l.up()
	l.token()
	d.until("a complaint", func() bool { return strings.Contains(d.stderr.String(), "code=library") })
	d.stop()
	if said := d.stderr.String(); !strings.Contains(said, "Unsolicited response") || strings.Contains(said, "SECRET") {
		t.Errorf("the log is\n%s", said)
	}
	for line := range strings.Lines(d.stderr.String()) {
		if !strings.HasPrefix(line, "time=") || !strings.Contains(line, " level=") || !strings.Contains(line, " msg=") {
			t.Errorf("a line of another form: %s", line)
		}
	}
}

// chatter is a server that sends every answer twice, the second time unasked.
func chatter(t *testing.T) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	t.Cleanup(func() { listener.Close(); serving.Wait() })
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				requests := bufio.NewReader(conn)
				for {
					req, err := http.ReadRequest(requests)
					if err != nil {
						return
					}
					if _, err := io.Copy(io.Discard, req.Body); err != nil {
						return
					}
					body := `{"client_id":"id","client_secret":"SECRET"}`
					if strings.HasSuffix(req.URL.Path, "/token") {
						body = `{"access_token":"SECRET","expires_in":21600}`
					}
					answer := fmt.Sprintf("HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
					if _, err := io.WriteString(conn, answer+answer); err != nil {
						return
					}
				}
			})
		}
	})
	return listener.Addr().String()
}
