package storage

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const pageSize = 4096

// verdict is what a child found when it opened a directory.
type verdict struct {
	Err    string
	Mended string
	moment
}

// openEach opens the directories named on its standard input, and prints a
// verdict on each.
func openEach() error {
	names := bufio.NewScanner(os.Stdin)
	for names.Scan() {
		raw, err := json.Marshal(judge(names.Text()))
		if err != nil {
			return err
		}
		fmt.Printf("%s\n", raw)
	}
	return names.Err()
}

func judge(dir string) verdict {
	s, err := Open(labConfig(dir))
	if err != nil {
		return verdict{Err: err.Error()}
	}
	v := judgeStore(s)
	if err := s.Close(); err != nil {
		v.Err = err.Error()
	}
	return v
}

func judgeStore(s *Store) (v verdict) {
	v.Mended = s.Mended()
	v.Apps = map[string]App{}
	v.Identifier, _ = s.Identifier()
	err := s.Unwritten()
	for _, app := range []string{labApp, otherApp} {
		var appErr error
		v.Apps[app], appErr = s.App(labEndpoint, app)
		err = errors.Join(err, appErr)
	}
	gate, gateErr := s.Gate()
	v.Gate = gate
	if err = errors.Join(err, gateErr); err != nil {
		v.Err = err.Error()
	}
	return v
}

// opener opens directories that may be damaged. It does so in a process of its
// own, because a panic there must not end the tests.
type opener struct {
	t *testing.T // lives as long as the process
	c *child
}

// judge opens one directory. If the process dies of it, or hangs, the test
// fails, and the next directory gets a new process.
func (o *opener) judge(t *testing.T, dir string) verdict {
	t.Helper()
	if o.c == nil {
		o.c = startChild(o.t, "open")
	}
	hung := time.AfterFunc(5*time.Minute, func() { _ = o.c.cmd.Process.Kill() })
	defer hung.Stop()
	_, err := fmt.Fprintln(o.c.stdin, dir)
	if err != nil || !o.c.lines.Scan() {
		c := o.c
		o.c = nil
		t.Fatalf("Open took the whole process down: %v", errors.Join(err, c.reap()))
	}
	var v verdict
	if err := json.Unmarshal(o.c.lines.Bytes(), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// expectMended checks what became of a damaged database: nobody is signed out,
// and the damage is reported and kept. Damage to an unused page, or to one of
// the two meta pages, may go unnoticed, but then nothing is lost.
func expectMended(t *testing.T, dir string, damaged []byte, v verdict) {
	t.Helper()
	if v.Err != "" {
		t.Fatalf("Open: %s", v.Err)
	}
	if v.Identifier != labIdentifier {
		t.Errorf("the identifier is %v", v.Identifier)
	}
	for n, app := range []string{labApp, "com.example.other"} {
		want, got := labState(n+1), v.Apps[app]
		if diff := cmp.Diff(account{want.Credentials, want.History}, account{got.Credentials, got.History}); diff != "" {
			t.Errorf("the credentials of %s (-want +got):\n%s", app, diff)
		}
	}
	aside, err := os.ReadFile(filepath.Join(dir, damagedName))
	switch {
	case v.Mended == "":
		if err == nil {
			t.Error("a database was set aside, and Mended is silent")
		}
		if !v.Apps[labApp].Equal(labState(1)) || !cmp.Equal(v.Gate, labGate) {
			t.Error("something is lost, and Mended is silent")
		}
	case err != nil:
		t.Errorf("Mended says %q, but the damaged file is not kept: %v", v.Mended, err)
	case !bytes.Equal(aside, damaged):
		t.Error("what was set aside is not the damaged file")
	case !strings.Contains(v.Mended, damagedName):
		t.Errorf("Mended does not say where the damaged file is: %s", v.Mended)
	}
	s := open(t, dir)
	if s.Mended() != "" {
		t.Errorf("a second start mends again: %s", s.Mended())
	}
	fill(t, s) // it works as before
	expectFilled(t, s)
	shut(t, s)
}

func TestEveryPageMayBeDamaged(t *testing.T) {
	t.Parallel()
	whole := newSample(t)
	o := opener{t: t}
	for _, kind := range []struct {
		name   string
		happen func(page []byte)
	}{
		{"noise", noise},
		{"zeros", func(page []byte) { clear(page) }},
		{"ones", func(page []byte) { copy(page, bytes.Repeat([]byte{0xff}, len(page))) }},
		{"inverted", func(page []byte) {
			for i := range page {
				page[i] ^= 0xff
			}
		}},
		{"second half lost", func(page []byte) { clear(page[len(page)/2:]) }},
		{"another page's content", func(page []byte) { copy(page, whole.db[2*pageSize:]) }},
	} {
		for n := range len(whole.db) / pageSize {
			t.Run(fmt.Sprintf("%s in page %d", kind.name, n), func(t *testing.T) {
				damaged := hurt(whole.db, func(file []byte) { kind.happen(file[n*pageSize : (n+1)*pageSize]) })
				dir := put(t, damaged, whole.copy)
				expectMended(t, dir, damaged, o.judge(t, dir))
			})
		}
	}
}

func TestAnyBitMayFlip(t *testing.T) {
	t.Parallel()
	whole := newSample(t)
	o := opener{t: t}
	for at := 0; at < len(whole.db); at += 61 {
		t.Run(fmt.Sprintf("byte %d", at), func(t *testing.T) {
			damaged := hurt(whole.db, func(file []byte) { file[at] ^= 1 << (at % 8) })
			dir := put(t, damaged, whole.copy)
			expectMended(t, dir, damaged, o.judge(t, dir))
		})
	}
}

func TestTheDatabaseMayBeCutShort(t *testing.T) {
	t.Parallel()
	whole := newSample(t)
	o := opener{t: t}
	for _, size := range append([]int{1, 100, len(whole.db) - 1}, pages(len(whole.db))...) {
		t.Run(fmt.Sprintf("%d bytes left", size), func(t *testing.T) {
			damaged := whole.db[:size]
			dir := put(t, damaged, whole.copy)
			expectMended(t, dir, damaged, o.judge(t, dir))
		})
	}
}

// pages returns where the pages of a file begin.
func pages(size int) (starts []int) {
	for at := pageSize; at < size; at += pageSize {
		starts = append(starts, at)
	}
	return starts
}

func TestADatabaseThatTheDiskDoesNotGiveBack(t *testing.T) {
	t.Parallel()
	whole := newSample(t)
	for _, unreadable := range []string{dbName, copyName} {
		dir := put(t, whole.db, whole.copy)
		v := openFailing(t, dir, unreadable)
		want := moment{Identifier: labIdentifier, Apps: map[string]App{labApp: labState(1), otherApp: labState(2)}}
		if v.Err != "" || !v.sameIdentity(want) {
			t.Errorf("%s (-want +got)\n%s", v.Err, cmp.Diff(want, v.moment))
		}
		if !strings.Contains(v.Mended, unreadable+damagedAt) || !strings.Contains(v.Mended, "input/output error") {
			t.Errorf("Mended says %q", v.Mended)
		}
		if unreadable == dbName && !bytes.Equal(read(t, filepath.Join(dir, damagedName)), whole.db) {
			t.Error("what was set aside is not the database")
		}
	}
}

// If neither file can be read they may be sound all the same: nothing is set
// aside, no device registers anew, and a later start finds everything.
func TestADiskThatGivesNothingBack(t *testing.T) {
	t.Parallel()
	whole := newSample(t)
	for _, there := range []struct {
		db, copy []byte
		names    []string
	}{
		{whole.db, whole.copy, []string{copyName, dbName}},
		{whole.db, nil, []string{dbName}},
		{nil, whole.copy, []string{copyName}},
	} {
		dir := put(t, there.db, there.copy)
		v := openFailing(t, dir, dbName, copyName)
		if !strings.Contains(v.Err, "input/output error: its disk is failing") {
			t.Errorf("the error is %q", v.Err)
		}
		expectNames(t, dir, there.names...)
		expectIdentifier(t, open(t, dir), labIdentifier)
	}
}

// What a damaged database has lost may be in a copy that can't be read now.
func TestADamagedDatabaseWaitsForItsCopy(t *testing.T) {
	t.Parallel()
	whole := newSample(t)
	dir := put(t, whole.db, whole.copy)
	spoil(t, dir, appKey(labEndpoint, labApp)+"\x00"+kindCredentials, 2)
	if v := openFailing(t, dir, copyName); !strings.Contains(v.Err, "input/output error: its disk is failing") {
		t.Errorf("the error is %q", v.Err)
	}
	expectNames(t, dir, copyName, dbName)
	expectState(t, open(t, dir), 1, true)
}

// openFailing opens a state directory in another process, where the disk does
// not give some of its files back.
func openFailing(t *testing.T, dir string, unreadable ...string) (v verdict) {
	t.Helper()
	args := []string{"-f", "-qq", "-o", filepath.Join(t.TempDir(), "trace"), "-e", "trace=read",
		"-e", "inject=read:error=EIO"}
	for _, name := range unreadable {
		args = append(args, "-P", filepath.Join(dir, name))
	}
	cmd := exec.Command(strace(t), append(args, os.Args[0])...)
	cmd.Env = append(os.Environ(), childEnv+"=open", raceQuick)
	cmd.Stdin = strings.NewReader(dir + "\n")
	said, err := cmd.Output()
	save(t, err)
	save(t, json.Unmarshal(said, &v))
	return v
}
