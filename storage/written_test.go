package storage

import (
	"fmt"
	"os"
	"testing"
)

// Written counts what the kernel is asked to write, from the first byte of a
// new state.
func TestWrittenIsWhatWasWritten(t *testing.T) {
	dir := t.TempDir()
	_, ops := record(t, dir, "count", []string{dir})
	var bytes int
	syncs := 0 // each transaction and each copy ends with one
	for _, o := range ops {
		switch o.kind {
		case opWrite:
			bytes += len(o.data)
		case opSync:
			syncs++
		case opAck:
			var said Written
			if _, err := fmt.Sscan(o.name, &said.Writes, &said.Bytes); err != nil {
				t.Fatal(err)
			}
			if said.Bytes != int64(bytes) || said.Writes == 0 || said.Writes > int64(syncs) {
				t.Errorf("%+v is counted, %d bytes and %d syncs were asked for", said, bytes, syncs)
			}
		}
	}
}

// A start leaves the sync of what it found to the first change, or to Flush. A
// change before the sync would overwrite pages that the disk still needs.
func TestFoundStateIsSyncedBeforeItChanges(t *testing.T) {
	found := lived(t, 9)
	dir := put(t, found.db, found.copy)
	_, ops := record(t, dir, "count", []string{dir})
	if len(ops) < 3 || ops[0].kind != opSync || ops[0].name != dbName || ops[1].kind != opSyncDir {
		t.Errorf("the first operations are %+v", ops[:min(len(ops), 3)])
	}
}

// countAndSay is a child that prints after each change what was written so far.
func countAndSay() error {
	s, err := Open(labConfig(os.Args[1]))
	if err != nil {
		return err
	}
	for n := range 8 {
		a := labState(1 + n/4) // other credentials half way
		a.Token = labToken(n, 2048)
		if err := s.SaveApp(labEndpoint, labApp, a); err != nil {
			return err
		}
		w := s.Written()
		fmt.Println(w.Writes, w.Bytes)
	}
	return s.Close()
}
