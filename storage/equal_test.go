package storage

import "bytes"

// Equal reports whether two records would be stored as the same bytes.
func (a App) Equal(b App) bool {
	x, errX := a.values("").encode()
	y, errY := b.values("").encode()
	if errX != nil || errY != nil || len(x) != len(y) {
		return false
	}
	for i := range x {
		if !bytes.Equal(x[i].value, y[i].value) {
			return false
		}
	}
	return true
}
