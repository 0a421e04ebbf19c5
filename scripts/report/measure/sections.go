package main

import (
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// gatewaySections measures by how much the gateway makes the sections of the
// armv7 binary larger. It compares the binary with one whose gateway returns at
// once, so that the linker leaves out what nothing else calls.
func gatewaySections(ctx context.Context, l *lab) (row, error) {
	r := row{what: "armv7 sections of the gateway", unit: "%.1f kB", budget: 40}
	whole, err := sections(l.files.armv7())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r.missing = "make cross"
		return r, nil
	case err != nil:
		return r, err
	}
	const serve = "path string, body []byte, admit func() error,\n) error {\n"
	source := filepath.Join(l.files.project, "daemon/gateway/call.go")
	text, err := os.ReadFile(source)
	if err != nil {
		return r, err
	}
	before, after, found := strings.Cut(string(text), serve)
	if !found {
		return r, errors.New("daemon/gateway has no function Serve as it was")
	}
	if source, err = filepath.Abs(source); err != nil {
		return r, err
	}
	without, overlay := l.files.own("call.go"), l.files.own("overlay.json")
	list, err := json.Marshal(map[string]map[string]string{"Replace": {source: without}})
	if err != nil {
		return r, err
	}
	err = os.WriteFile(without, []byte(before+serve+"\treturn nil\n"+after), 0o600)
	if err = errors.Join(err, os.WriteFile(overlay, list, 0o600)); err != nil {
		return r, err
	}
	small := l.files.own("armv7-without-gateway")
	build := exec.CommandContext(ctx, "sh", "-c",
		`GOEXPERIMENT=$(scripts/buildflags goexperiment) && export GOEXPERIMENT
		eval "exec go build -overlay '$1' $(scripts/buildflags) -o '$2' ./cmd/tvpassd"`, "sh", overlay, small)
	build.Dir = l.files.project
	build.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm", "GOARM=7", "CGO_ENABLED=0")
	if said, err := build.CombinedOutput(); err != nil {
		return r, fmt.Errorf("build without the gateway: %w\n%s", err, said)
	}
	rest, err := sections(small)
	r.value = (whole - rest) / 1024
	r.note = "over a build whose gateway returns at once"
	return r, err
}

// sections adds up the sizes of what is loaded from a binary, in bytes.
func sections(file string) (sum float64, err error) {
	f, err := elf.Open(file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for _, s := range f.Sections {
		if s.Flags&elf.SHF_ALLOC != 0 && s.Type != elf.SHT_NOBITS {
			sum += float64(s.Size)
		}
	}
	return sum, nil
}
