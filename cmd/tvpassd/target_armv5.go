//go:build arm && !arm.6

package main

// armVersion completes GOARCH in the name of the target.
const armVersion = "v5"
