//go:build arm.7

package main

// armVersion completes GOARCH in the name of the target.
const armVersion = "v7"
