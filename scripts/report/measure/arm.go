package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
)

// counted is how many requests instructions and system calls are counted over:
// enough that garbage collections count with their share.
const counted = 2000

const (
	perToken = "ARMv7 instructions per cached token"
	perStart = "ARMv7 instructions from start to ready"
)

// instructions counts the instructions of the ARMv7 daemon, or its system calls
// if instructions can't be counted.
func instructions(ctx context.Context, l *lab) ([]row, error) {
	token := row{what: perToken, unit: "%.1f k", budget: 80, stretch: 30}
	begin := row{what: perStart, unit: "%.2f M", budget: 5, stretch: 3.5}
	plugin, missing, err := l.plugin(ctx)
	if err != nil {
		return nil, err
	}
	if missing == "" {
		if err := l.executed(ctx, plugin, &token, &begin); err != nil {
			return nil, err // half of a row would look like a good one
		}
		return []row{token, begin}, nil
	}
	token.missing, begin.missing = missing, missing
	calls, err := systemCalls(ctx, l)
	if err != nil {
		return []row{token, begin}, err
	}
	return []row{token, begin, calls}, nil
}

// plugin compiles the counter and returns its path, or what to do to get one.
// Each edition of qemu wants another API number from a plugin, but the
// functions that this one uses have not changed: every number is tried.
func (l *lab) plugin(ctx context.Context) (path, missing string, err error) {
	switch {
	case !installed("qemu-arm"):
		return "", "install qemu-user (apt-get install qemu-user; qemu-user-static loads no plugins)", nil
	case !installed("gcc"):
		return "", getGCC, nil
	}
	if _, err := os.Stat(l.files.armv7()); err != nil {
		return "", "make dist/tvpassd-linux-armv7", nil
	}
	path = l.files.own("libicount.so")
	var said []byte
	for api := 1; api <= 5; api++ {
		compile := exec.CommandContext(ctx, "gcc", "-shared", "-fPIC", "-O2", "-DAPI="+strconv.Itoa(api),
			"-o", path, l.files.c("icount.c"))
		if said, err := compile.CombinedOutput(); err != nil {
			return "", "", fmt.Errorf("compile the plugin: %w\n%s", err, said)
		}
		args := append(l.counting(path), l.files.own("hello-armv7"))
		if said, err = exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err == nil {
			return path, "", nil
		}
	}
	return "", fmt.Sprintf("this qemu-arm takes no plugin (%.200q): install qemu-user 7.2 as Debian 12 has it", said), nil
}

// counting is the beginning of a command that counts the instructions of the
// program behind it.
func (l *lab) counting(plugin string) []string {
	return []string{"qemu-arm", "-plugin", plugin + ",out=" + l.files.own("icount")}
}

// executed fills in both rows of instructions. The guest works on a copy of the
// state.
func (l *lab) executed(ctx context.Context, plugin string, token, begin *row) (err error) {
	state := l.files.own("state-armv7")
	if err := os.CopyFS(state, os.DirFS(l.state)); err != nil {
		return err
	}
	args, err := l.configure("armv7.toml", state)
	if err != nil {
		return err
	}
	guest, err := l.launch(ctx, -1, append(append(l.counting(plugin), l.files.armv7()), args...)...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, guest.stop()) }()
	started, err := l.count()
	if err != nil {
		return err
	}
	begin.value = started / 1e6
	begin.note = "ready is when the socket takes connections"
	token.value, err = l.perRequest(ctx, l.count)
	token.value /= 1e3
	token.note = "user mode alone, by a plugin of qemu-arm"
	return err
}

// count is how many instructions the guest has executed so far.
func (l *lab) count() (float64, error) {
	counters, err := os.ReadFile(l.files.own("icount"))
	if err != nil {
		return 0, err
	}
	if len(counters) < 8 {
		return 0, errors.New("the plugin counts nothing")
	}
	return float64(binary.NativeEndian.Uint64(counters)), nil
}

// perRequest returns by how much a counter rises for each cached token on a
// kept connection, after a few that warm up.
func (l *lab) perRequest(ctx context.Context, count func() (float64, error)) (float64, error) {
	if _, err := l.load(ctx, "-requests", "200", l.target("http")); err != nil {
		return 0, err
	}
	before, err := count()
	if err != nil {
		return 0, err
	}
	if _, err := l.load(ctx, "-requests", strconv.Itoa(counted), l.target("http")); err != nil {
		return 0, err
	}
	after, err := count()
	if err == nil && after <= before {
		err = errors.New("the counter stands still under load")
	}
	return (after - before) / (counted + 1), err // and one that warms the connection
}
