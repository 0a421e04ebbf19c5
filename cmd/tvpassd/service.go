package main

import (
	"flag"

	"github.com/tvpassd/tvpassd/daemon/service"
)

// serviceCommand installs or controls the system service.
func serviceCommand(action string) func(*flag.FlagSet) func(*env, []string) error {
	return func(*flag.FlagSet) func(*env, []string) error {
		return func(e *env, args []string) error {
			if err := noArguments(args); err != nil {
				return err
			}
			return service.Control(action, service.Options{ConfigFile: e.configFile, Stdout: e.stdout})
		}
	}
}
