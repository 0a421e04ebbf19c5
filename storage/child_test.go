package storage

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// childEnv makes the test binary a second process of one of these kinds,
// instead of running tests.
const (
	childEnv  = "TVPASSD_STORAGE_CHILD"
	raceQuick = "GORACE=atexit_sleep_ms=0" // the race detector waits a second at the end of a process
)

var children = map[string]func() error{
	"save":    saveForever,
	"hold":    holdUntilTold,
	"open":    openEach,
	"live":    live,
	"refresh": refreshAndSay,
	"count":   countAndSay,
	"inspect": inspectAndSay,
	"locate":  locateAndSay,
}

func TestMain(m *testing.M) {
	kind := os.Getenv(childEnv)
	if kind == "" {
		os.Exit(m.Run())
	}
	if err := children[kind](); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// child is a process of this test binary.
type child struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines *bufio.Scanner // its standard output
	last  bytes.Buffer   // its standard error, to be read after its end
}

func startChild(t *testing.T, kind string, args ...string) *child {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return startCommand(t, kind, exe, args...)
}

// startCommand starts a child by a command that runs this test binary.
func startCommand(t *testing.T, kind, name string, args ...string) *child {
	t.Helper()
	c := &child{t: t, cmd: exec.Command(name, args...)}
	c.cmd.Env = append(os.Environ(), childEnv+"="+kind, raceQuick, "GOTRACEBACK=single")
	stdout, err := c.cmd.StdoutPipe()
	save(t, err)
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	c.cmd.Stderr = &c.last
	c.lines = bufio.NewScanner(stdout)
	c.lines.Buffer(nil, 1<<20)
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.cmd.Process.Kill() }) // it has usually ended
	return c
}

// line returns the next line that the child prints.
func (c *child) line() string {
	c.t.Helper()
	if !c.lines.Scan() {
		c.t.Fatalf("the child ended early: %v", c.reap())
	}
	return c.lines.Text()
}

// kill is `kill -9`. What the child had printed by then can still be read.
func (c *child) kill() {
	c.t.Helper()
	if err := c.cmd.Process.Kill(); err != nil {
		c.t.Fatal(err)
	}
}

// reap waits for a child that is about to end. If it ends badly, the error
// holds what it printed.
func (c *child) reap() error {
	for c.lines.Scan() {
		continue
	}
	err := errors.Join(c.lines.Err(), c.cmd.Wait())
	if err != nil {
		err = fmt.Errorf("%w: %.300s", err, c.last.String())
	}
	return err
}

// saveForever saves one state after another, and prints the number of each that
// SaveApp acknowledged.
func saveForever() error {
	s, err := Open(labConfig(os.Args[1]))
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(os.Args[2])
	if err != nil {
		return err
	}
	for ; ; n++ {
		if err := s.SaveApp(labEndpoint, labApp, labState(n)); err != nil {
			return err
		}
		fmt.Println(n)
	}
}

func TestAKillLosesNothingThatWasSaved(t *testing.T) {
	for _, tc := range []struct {
		name string
		lost string // the file that is lost on top of the kill
	}{
		{"kill", ""},
		{"kill, and no database", dbName},
		{"kill, and no copy", copyName},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := open(t, dir)
			save(t, s.SaveIdentifier(labIdentifier))
			shut(t, s)
			next := 1
			for round := range 8 {
				last := saveAndKill(t, dir, next, 1+7*round%20)
				if tc.lost != "" {
					remove(t, filepath.Join(dir, tc.lost))
				}
				s := open(t, dir)
				next = expectSaved(t, s, last, tc.lost == dbName) + 1
				expectIdentifier(t, s, labIdentifier)
				shut(t, s)
			}
		})
	}
}

// saveAndKill lets a child save, kills it after it has acknowledged some, and
// returns the last it acknowledged.
func saveAndKill(t *testing.T, dir string, from, some int) int {
	t.Helper()
	c := startChild(t, "save", dir, strconv.Itoa(from))
	for range some - 1 {
		c.line()
	}
	last := c.line()
	c.kill()
	for c.lines.Scan() { // it may save more before the kill arrives
		last = c.lines.Text()
	}
	if err := c.cmd.Wait(); err == nil {
		t.Error("the child ended by itself")
	}
	n, err := strconv.Atoi(last)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// expectSaved expects the last acknowledged state, or the one that was being
// saved at the kill. The copy has no token.
func expectSaved(t *testing.T, s *Store, last int, fromCopy bool) int {
	t.Helper()
	got, err := s.App(labEndpoint, labApp)
	if err != nil {
		t.Fatal(err)
	}
	n := got.History.Registrations - 1
	if n != last && n != last+1 {
		t.Fatalf("save %d was acknowledged, and the store has %d", last, n)
	}
	want := labState(n)
	if fromCopy {
		want.Token, want.Retry = nil, nil
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("after the kill (-want +got):\n%s", diff)
	}
	return n
}

// holdUntilTold keeps the store open until its standard input ends.
func holdUntilTold() error {
	s, err := Open(labConfig(os.Args[1]))
	if err != nil {
		return err
	}
	fmt.Println("open")
	_, err = io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, s.Close())
}

func TestASecondDaemonIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	fill(t, s)
	shut(t, s)
	c := startChild(t, "hold", dir)
	c.line()
	before := lookAt(t, dir)
	_, err := Open(labConfig(dir))
	if !errors.Is(err, ErrInUse) {
		t.Fatalf("a second Open gives %v, want ErrInUse", err)
	}
	if want := dir + ": " + ErrInUse.Error(); err.Error() != want {
		t.Errorf("the error reads %q, want %q", err, want)
	}
	if diff := cmp.Diff(before, lookAt(t, dir)); diff != "" {
		t.Errorf("the refused one changed the files (-before +after):\n%s", diff)
	}
	if err := errors.Join(c.stdin.Close(), c.reap()); err != nil {
		t.Errorf("the first daemon: %v", err)
	}
	expectFilled(t, open(t, dir))
}

func TestARestartWaitsForTheOldDaemon(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := startChild(t, "hold", dir)
	c.line()
	opened := make(chan error)
	go func() {
		s, err := Open(labConfig(dir))
		if err == nil {
			err = s.Close()
		}
		opened <- err
	}()
	if err := errors.Join(c.stdin.Close(), c.reap()); err != nil {
		t.Errorf("the old daemon: %v", err)
	}
	if err := <-opened; err != nil {
		t.Errorf("the new daemon: %v", err)
	}
}
