package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Clients that are generated from ipc/openapi.yaml compile, and sign a viewer in
// through the gateway, as scripts/examples/generated says.
func TestGeneratedClients(t *testing.T) {
	document, err := filepath.Abs(filepath.Join("..", "..", "ipc", "openapi.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	t.Run("go", func(t *testing.T) {
		l := newLab(t)
		dir := l.copyExample("go")
		l.inDir(dir, "go", "tool", "oapi-codegen", "-generate", "types,client", "-package", "main", "-o", "client.gen.go",
			document)
		l.inDir(dir, "go", "vet", ".")
		l.inDir(dir, "go", "build", "-o", "player", ".")
		l.signsIn(filepath.Join(dir, "player"), l.path("sock"), "ref30")
	})
	t.Run("typescript", func(t *testing.T) {
		needTools(t, "node")
		tools := npmTools(t)
		l := newLab(t)
		dir := l.copyExample("typescript")
		l.must(os.Symlink(filepath.Dir(tools), filepath.Join(dir, "node_modules")))
		l.inDir(dir, "node", filepath.Join(tools, "openapi-typescript"), document, "-o", "tvpassd.d.ts")
		l.inDir(dir, "node", filepath.Join(tools, "tsc"))
		l.signsIn("node", filepath.Join(dir, "player.js"), l.path("sock"), "ref30")
	})
}

// copyExample copies a folder of scripts/examples/generated, and returns where to.
func (l *lab) copyExample(name string) string {
	l.t.Helper()
	dir := l.path(name)
	l.must(os.CopyFS(dir, os.DirFS(filepath.Join("..", "..", "scripts", "examples", "generated", name))))
	return dir
}

func (l *lab) inDir(dir, name string, args ...string) {
	l.t.Helper()
	cmd := exec.CommandContext(l.t.Context(), name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		l.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// signsIn has a player sign a viewer in, from its code to a decision.
func (l *lab) signsIn(player string, args ...string) {
	l.t.Helper()
	l.up()
	p := l.start(player, args...)
	l.t.Cleanup(p.kill)
	code := ""
	p.until("code", func() bool {
		line, _, whole := strings.Cut(p.stderr.String(), "\n")
		code = strings.TrimPrefix(line, "code ")
		return whole
	})
	l.order("POST", "/sign-in", `{"code":"`+code+`"}`)
	if status := p.exit(); status != 0 || !strings.HasSuffix(p.stderr.String(), "\nREF30 true\n") {
		l.t.Errorf("exit %d\n%s", status, p.stderr)
	}
}
