// Command hello is the least that a Go program can do: the floor under the
// daemon's start.
package main

import "os"

func main() {
	if _, err := os.Stdout.WriteString("hello\n"); err != nil {
		os.Exit(1)
	}
}
