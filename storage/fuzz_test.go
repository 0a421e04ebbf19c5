package storage

import (
	"bytes"
	"path/filepath"
	"testing"
)

// FuzzOpen patches a sound database and a sound copy somewhere, and changes the
// length of the database. (If the inputs were files or pages, the fuzzer would
// spend its time making them smaller.) While one of the two is sound nobody is
// signed out, and the opened store always works.
func FuzzOpen(f *testing.F) {
	dir := f.TempDir()
	s := open(f, dir)
	save(f, s.SaveIdentifier(labIdentifier))
	save(f, s.SaveApp(labEndpoint, labApp, labState(1)))
	shut(f, s)
	sound, kept := read(f, filepath.Join(dir, dbName)), read(f, filepath.Join(dir, copyName))
	size := uint16(len(sound))
	f.Add(uint16(0), []byte{}, uint16(1), size, uint16(0), []byte{})
	f.Add(uint16(0), []byte{0}, uint16(100), size, uint16(0), []byte{0, 1, 2, 3})
	f.Add(uint16(0), []byte("nothing to see here"), uint16(1), uint16(19), uint16(0), []byte("nor here"))
	f.Add(uint16(0), []byte{}, uint16(1), size/8, uint16(40), []byte{1})
	f.Add(uint16(0), []byte{}, uint16(1), uint16(0), uint16(0), []byte{})
	for page := range size / pageSize { // as a power cut might leave it
		f.Add(page*pageSize, []byte{0}, uint16(pageSize), size, uint16(0), []byte{})
	}
	f.Fuzz(func(t *testing.T, at uint16, patch []byte, times, size, keptAt uint16, keptPatch []byte) {
		db := patched(sound, at, patch, times)
		second := bytes.Clone(kept)
		copy(second[int(keptAt)%len(second):], keptPatch)
		dir := memoryDir(t)
		lay(t, dir, db[:size], second)
		s := open(t, dir)
		got, err := s.App(labEndpoint, labApp)
		save(t, err)
		if bytes.Equal(second, kept) {
			expectIdentifier(t, s, labIdentifier)
			if want := labState(1).Credentials; got.Credentials == nil || got.Credentials.ClientSecret != want.ClientSecret {
				t.Errorf("the credentials are %v", got.Credentials)
			}
		}
		got.Token = labToken(2, 900)
		save(t, s.SaveApp(labEndpoint, labApp, got)) // now bbolt uses it
		save(t, s.Unwritten())
		shut(t, s)
		s = open(t, dir)
		expectApp(t, s, labApp, got)
		if s.Mended() != "" {
			t.Errorf("a second start mends again: %s", s.Mended())
		}
		shut(t, s)
	})
}

// patched returns a file of 64 KiB that starts with another file and has a
// patch written over it a number of times in a row.
func patched(file []byte, at uint16, patch []byte, times uint16) []byte {
	file = append(bytes.Clone(file), make([]byte, 1<<16-len(file))...)
	for rest := file[at:]; times > 0 && len(patch) > 0 && len(rest) > 0; times-- {
		rest = rest[copy(rest, patch):]
	}
	return file
}

// FuzzParse looks for pages that crash or hang their reader. It uses no disk.
func FuzzParse(f *testing.F) {
	sound := newSample(f).db
	for page := range uint16(len(sound) / pageSize) {
		f.Add(page*pageSize, []byte{1, 2, 3}, uint16(1), uint16(len(sound)))
	}
	f.Fuzz(func(t *testing.T, at uint16, patch []byte, times, size uint16) {
		file := patched(sound, at, patch, times)
		for _, m := range metaPages(sound) { // a patch seldom gets their checksums right
			walk(file[:size], m)
		}
		parse(file[:size])
	})
}
