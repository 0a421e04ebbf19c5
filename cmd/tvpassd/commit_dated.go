//go:build dated

package main

const archiveCommit, archiveDate = "", ""

// buildInfo returns nothing: the linker says it all, and the code that reads what
// go build noted would take 8 kB of a device.
func buildInfo() (module string, settings map[string]string) { return "", nil }
