//go:build dated

package main

const archiveCommit, archiveDate = "", ""
