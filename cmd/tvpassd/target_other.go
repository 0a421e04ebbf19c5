//go:build !arm

package main

// armVersion completes GOARCH in the name of the target.
const armVersion = ""
