//go:build arm.6 && !arm.7

package main

// armVersion completes GOARCH in the name of the target.
const armVersion = "v6"
