//go:build !dated

package main

import (
	"runtime/debug"
	"strings"
)

// The commit, in a source archive: git archive fills these in, as .gitattributes
// says. With the tag dated the linker says all of it, so that the same commit is
// the same binary wherever its source comes from.
const (
	archiveCommit = "$Format:%H$"
	archiveDate   = "$Format:%ct$"
)

// buildInfo returns what go build noted: the version of the module and the
// settings of the build.
func buildInfo() (module string, settings map[string]string) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "", nil
	}
	settings = map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	return strings.TrimPrefix(strings.TrimSuffix(info.Main.Version, "(devel)"), "v"), settings
}
