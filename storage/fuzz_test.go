package storage

import (
	"bytes"
	"path/filepath"
	"testing"
)

// FuzzOpen makes a database of anything: of a sound one, by a patch somewhere in it and a new length. (Whole files for
// inputs keep the fuzzer busy with making them smaller.) With a good copy beside it nobody is signed out.
func FuzzOpen(f *testing.F) {
	dir := f.TempDir()
	s := open(f, dir)
	save(f, s.SaveIdentifier(labIdentifier))
	save(f, s.SaveApp(labEndpoint, labApp, labState(1)))
	shut(f, s)
	sound, kept := read(f, filepath.Join(dir, dbName)), read(f, filepath.Join(dir, copyName))
	size := uint16(len(sound))
	f.Add(uint16(0), []byte{}, size)
	f.Add(uint16(0), make([]byte, 100), size)
	f.Add(uint16(0), []byte("nothing to see here"), uint16(19))
	f.Add(uint16(0), []byte{}, size/8)
	f.Add(uint16(0), []byte{}, uint16(0))
	for page := range size / pageSize { // each as a power cut might leave it
		f.Add(page*pageSize, make([]byte, pageSize), size)
	}
	f.Fuzz(func(t *testing.T, at uint16, patch []byte, size uint16) {
		db := append(bytes.Clone(sound), make([]byte, 1<<16-len(sound))...)
		copy(db[at:], patch)
		dir := put(t, db[:size], kept)
		for range 2 { // as mended, and as it is found then
			s := open(t, dir)
			expectIdentifier(t, s, labIdentifier)
			got, err := s.App(labEndpoint, labApp)
			if err != nil {
				t.Fatal(err)
			}
			if want := labState(1).Credentials; got.Credentials == nil || got.Credentials.ClientSecret != want.ClientSecret {
				t.Errorf("the credentials are %v", got.Credentials)
			}
			shut(t, s)
		}
	})
}
