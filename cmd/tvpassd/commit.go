//go:build !dated

package main

// The commit, in a source archive: git archive fills these in, as .gitattributes
// says. With the tag dated the linker says all of it, so that the same commit is
// the same binary wherever its source comes from.
const (
	archiveCommit = "$Format:%H$"
	archiveDate   = "$Format:%ct$"
)
