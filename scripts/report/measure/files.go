package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// shipped measures what goes onto a device: the binaries, and how much the unit
// allows the daemon.
func shipped(ctx context.Context, l *lab) ([]row, error) {
	armv7 := row{what: "armv7 binary, stripped", unit: "%.2f MB", budget: 8.0, stretch: 7.3}
	info, err := os.Stat(l.files.armv7())
	switch {
	case errors.Is(err, os.ErrNotExist):
		armv7.missing = "make cross"
	case err != nil:
		return nil, err
	default:
		armv7.value = float64(info.Size()) / 1e6
	}
	rows := []row{armv7}
	others, err := filepath.Glob(filepath.Join(filepath.Dir(l.files.armv7()), "tvpassd-linux-*"))
	if err != nil {
		return nil, err
	}
	for _, path := range others {
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if path != l.files.armv7() {
			name := strings.TrimPrefix(filepath.Base(path), "tvpassd-linux-")
			rows = append(rows, row{what: name + " binary, stripped", unit: "%.2f MB", value: float64(info.Size()) / 1e6})
		}
	}
	sandbox, err := exposure(ctx, filepath.Join(l.files.project, "daemon/service/tvpassd.service"))
	return append(rows, sandbox), err
}

var exposureLine = regexp.MustCompile(`exposure level for \S+: ([0-9.]+)`)

// exposure is systemd's own judgement of a unit's sandbox, from 0 (tight) to 10.
func exposure(ctx context.Context, unit string) (row, error) {
	r := row{what: "systemd-analyze security", unit: "%.1f", budget: 1.7}
	if !installed("systemd-analyze") {
		r.missing = "install systemd (apt-get install systemd)"
		return r, nil
	}
	analyze := exec.CommandContext(ctx, "systemd-analyze", "security", "--offline=yes", "--no-pager", unit)
	said, err := analyze.CombinedOutput()
	found := exposureLine.FindSubmatch(said)
	if err != nil || found == nil {
		err = errors.Join(err, errors.New("it names no exposure level"))
		return r, fmt.Errorf("systemd-analyze security: %w\n%s", err, said)
	}
	r.value, err = strconv.ParseFloat(string(found[1]), 64)
	return r, err
}
