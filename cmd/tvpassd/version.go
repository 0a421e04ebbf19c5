package main

import (
	"flag"
	"fmt"
	"runtime"
)

func versionCommand(*flag.FlagSet) func(*env, []string) error {
	return func(e *env, args []string) error {
		if err := noArguments(args); err != nil {
			return err
		}
		_, err := fmt.Fprintf(e.stdout, "tvpassd %s (commit %s, %s, %s/%s)\n", version, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
		return err
	}
}
