package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// anonymous returns how many bytes of a process are in memory that no file
// backs: the cost to a device that has the binary in its cache anyway.
func anonymous(pid int) (float64, error) {
	kB, err := procField(fmt.Sprintf("/proc/%d/smaps_rollup", pid), "Anonymous:")
	return float64(kB) * 1024, err
}

// wakeUps counts, thread by thread, how often a process went to sleep by itself
// so far. Each thread was woken as often.
func wakeUps(pid int) (map[string]int64, error) {
	status, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil {
		return nil, err
	}
	threads := map[string]int64{}
	for _, path := range status {
		n, err := procField(path, "voluntary_ctxt_switches:")
		if errors.Is(err, fs.ErrNotExist) { // the thread ended since
			continue
		}
		if err != nil {
			return nil, err
		}
		threads[path] = n
	}
	if len(threads) == 0 {
		return nil, fmt.Errorf("process %d is gone", pid)
	}
	return threads, nil
}

// added returns what was counted between two calls of wakeUps. A new thread
// counts in full.
func added(before, after map[string]int64) float64 {
	var sum int64
	for path, n := range after {
		sum += n - before[path]
	}
	return float64(sum)
}

// timers describes the timerfds that a process has armed. If none repeats and
// none is due soon, only a request wakes it.
func timers(pid int) (string, error) {
	infos, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	if err != nil {
		return "", err
	}
	var armed, repeating int
	for _, path := range infos {
		info, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) { // closed since
			continue
		}
		if err != nil {
			return "", err
		}
		for line := range strings.Lines(string(info)) {
			value, isValue := strings.CutPrefix(line, "it_value: ")
			interval, isInterval := strings.CutPrefix(line, "it_interval: ")
			switch {
			case isValue && strings.TrimSpace(value) != "(0, 0)":
				armed++
			case isInterval && strings.TrimSpace(interval) != "(0, 0)":
				repeating++
			}
		}
	}
	return fmt.Sprintf("%d timerfd armed, %d repeating", armed, repeating), nil
}

// procField returns the number behind a name in a file of /proc.
func procField(path, name string) (n int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if field := strings.Fields(lines.Text()); len(field) > 1 && field[0] == name {
			return strconv.ParseInt(field[1], 10, 64)
		}
	}
	if err := lines.Err(); err != nil { // a process that ended: its files fail to be read
		return 0, fmt.Errorf("read %s: %w", path, err)
	}
	return 0, fmt.Errorf("%s has no %s", path, name)
}
