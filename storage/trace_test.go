package storage

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The operations of a program on a state directory are recorded with strace:
// bbolt has no hook for them, and this is what the kernel was really asked to
// do.
const (
	watched = "openat,write,pwrite64,ftruncate,fsync,fdatasync,renameat,unlinkat,flock"
	// These can't be replayed, so they must not be used.
	foreign = "open,creat,writev,pwritev,pwritev2,sendfile,splice,copy_file_range,fallocate,truncate,sync_file_range," +
		"msync,rename,renameat2,unlink,link,linkat,symlink,symlinkat,mkdir,rmdir,io_uring_enter"
)

type opKind int

const (
	opWrite opKind = iota
	opTruncate
	opSync
	opCreate
	opRename
	opRemove
	opSyncDir
	opAck // the program printed something
)

// op is one operation on the directory. Files have numbers, because a name may
// pass from one to another.
type op struct {
	kind     opKind
	file     int
	name, to string
	at       int64 // of a write; the new size
	data     []byte
	failed   bool // of a sync: what it was for may be lost even after a later one
}

// record runs a child of this test binary and returns the content of dir
// before, and the operations on it. faults are more arguments of strace.
func record(t *testing.T, dir, kind string, args []string, faults ...string) (before image, ops []op) {
	t.Helper()
	before = imageOf(t, dir)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "trace")
	command := append([]string{"--seccomp-bpf", "-f", "-qq", "-y", "-xx", "-s", "1000000", "-e", "signal=none",
		"-e", "trace=" + watched + ",?" + strings.ReplaceAll(foreign, ",", ",?"), "-o", file}, faults...)
	cmd := exec.Command(strace(t), append(append(command, exe), args...)...)
	cmd.Env = append(os.Environ(), childEnv+"="+kind, raceQuick)
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s under strace: %v\n%.2000s", kind, err, said)
	}
	if ops, err = parseTrace(string(read(t, file)), dir, before.names); err != nil {
		t.Fatal(err)
	}
	return before, ops
}

func strace(t *testing.T) (path string) {
	t.Helper()
	path, err := exec.LookPath("strace")
	if err != nil {
		t.Fatal("this test needs strace: apt-get install strace")
	}
	return path
}

// traced is a trace while it is being read.
type traced struct {
	dir   string
	names map[string]int // as the running program sees them
	ops   []op
}

// parseTrace returns the operations of a trace on dir, which had these files
// before.
func parseTrace(trace, dir string, names map[string]int) ([]op, error) {
	tr := traced{dir: dir, names: maps.Clone(names)}
	begun := map[string]string{} // the first part of an interrupted line, by thread
	for line := range strings.Lines(trace) {
		thread, rest, _ := strings.Cut(strings.TrimRight(line, "\n"), " ")
		if start, ok := strings.CutSuffix(rest, " <unfinished ...>"); ok {
			begun[thread] = start
			continue
		}
		if _, end, ok := strings.Cut(rest, " resumed>"); ok {
			rest = begun[thread] + end
		}
		if err := tr.call(strings.TrimLeft(rest, " ")); err != nil {
			return nil, fmt.Errorf("%w: %.200s", err, line)
		}
	}
	return tr.ops, nil
}

// call reads one call of the trace. Its strings are in hexadecimal, so that a
// comma always separates arguments.
func (tr *traced) call(line string) error {
	name, rest, isCall := strings.Cut(line, "(")
	end := strings.LastIndex(rest, " = ")
	if !isCall || end < 0 {
		return nil // not a call: the end of the process
	}
	failed := strings.HasPrefix(rest[end:], " = -")
	if failed && name != "fsync" && name != "fdatasync" {
		return nil
	}
	var args []string
	for a := range strings.SplitSeq(strings.TrimSuffix(strings.TrimRight(rest[:end], " "), ")"), ", ") {
		text, err := argument(a)
		if err != nil {
			return err
		}
		args = append(args, text)
	}
	switch {
	case name == "write" && strings.HasPrefix(rest, "1<"):
		tr.ops = append(tr.ops, op{kind: opAck, name: strings.TrimSpace(args[1])})
		return nil
	case !slices.ContainsFunc(args, func(a string) bool { return a == tr.dir || strings.HasPrefix(a, tr.dir+"/") }):
		return nil
	case !slices.Contains(strings.Split(watched, ","), name):
		return fmt.Errorf("%s can't be replayed", name)
	}
	return tr.change(name, args, failed)
}

// argument reads what strace -xx -y prints: "string", 3<path>, AT_FDCWD<path>
// or a plain value.
func argument(a string) (string, error) {
	if _, path, ok := strings.Cut(a, "<"); ok {
		return unhex(strings.TrimSuffix(path, ">"))
	}
	if text, ok := strings.CutPrefix(a, `"`); ok {
		return unhex(strings.TrimSuffix(text, `"`))
	}
	return a, nil
}

func (tr *traced) change(call string, args []string, failed bool) error {
	o := op{failed: failed}
	base := func(path string) string { return strings.TrimPrefix(path, tr.dir+"/") }
	o.name = base(args[0])
	o.file = tr.names[o.name]
	switch call {
	case "flock": // traced to be made to fail
		return nil
	case "write", "pwrite64":
		o.kind, o.data = opWrite, []byte(args[1])
		if call == "write" { // always a whole new file
			o.at = 0
			break
		}
		at, err := strconv.ParseInt(args[3], 10, 64)
		if err != nil {
			return err
		}
		o.at = at
	case "ftruncate":
		size, err := strconv.ParseInt(args[1], 10, 64)
		if err != nil {
			return err
		}
		o.kind, o.at = opTruncate, size
	case "fsync", "fdatasync":
		o.kind = opSync
		if args[0] == tr.dir {
			o.kind = opSyncDir
		}
	case "openat":
		name := base(args[1])
		if strings.Contains(args[2], "O_TRUNC") {
			return errors.New("emptying a file can't be replayed")
		}
		if _, ok := tr.names[name]; ok || !strings.Contains(args[2], "O_CREAT") {
			return nil
		}
		o.kind, o.name, o.file = opCreate, name, len(tr.ops)+1000
		tr.names[name] = o.file
	case "renameat":
		o.kind, o.name, o.to = opRename, base(args[1]), base(args[3])
		o.file = tr.names[o.name]
		delete(tr.names, o.name)
		tr.names[o.to] = o.file
	case "unlinkat":
		o.kind, o.name = opRemove, base(args[1])
		delete(tr.names, o.name)
	}
	tr.ops = append(tr.ops, o)
	return nil
}

// unhex reads what strace -xx prints.
func unhex(text string) (string, error) {
	raw, err := hex.DecodeString(strings.ReplaceAll(text, `\x`, ""))
	return string(raw), err
}

// spent returns what operations write to the disk.
func spent(ops []op) (bytes, syncs int) {
	for _, o := range ops {
		switch o.kind {
		case opWrite:
			bytes += len(o.data)
		case opSync, opSyncDir:
			syncs++
		}
	}
	return bytes, syncs
}

// image is the content of a disk: files by number, and their names.
type image struct {
	files map[int][]byte
	names map[string]int
}

// imageOf returns the content of a directory.
func imageOf(t *testing.T, dir string) image {
	t.Helper()
	im := image{map[int][]byte{}, map[string]int{}}
	found, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for n, de := range found {
		im.names[de.Name()] = n + 1
		im.files[n+1] = read(t, filepath.Join(dir, de.Name()))
	}
	return im
}

// write makes a directory with the content of the image.
func (im image) write(t *testing.T, dir string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		t.Fatal(err)
	}
	for name, file := range im.names {
		write(t, filepath.Join(dir, name), im.files[file])
	}
}
