package storage

import "testing"

// BenchmarkSaveToken replaces an access token of 2 KiB, as a device does every
// few hours for years. Most of the time is the disk's. Another test counts what
// is written.
func BenchmarkSaveToken(b *testing.B) {
	s := open(b, b.TempDir())
	a := labState(1)
	save(b, s.SaveApp(labEndpoint, labApp, a))
	tokens := [2]*Token{labToken(0, 2048), labToken(1, 2048)}
	n := 0
	for b.Loop() {
		a.Token = tokens[n%2]
		n++
		save(b, s.SaveApp(labEndpoint, labApp, a))
	}
}

// BenchmarkSaveNothingNew is a save that writes nothing.
func BenchmarkSaveNothingNew(b *testing.B) {
	s := open(b, b.TempDir())
	for b.Loop() {
		save(b, s.SaveApp(labEndpoint, labApp, labState(1)))
	}
}
