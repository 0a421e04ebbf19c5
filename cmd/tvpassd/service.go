package main

import (
	"flag"

	"github.com/tvpassd/tvpassd/daemon/config"
	"github.com/tvpassd/tvpassd/daemon/service"
)

// serviceCommand installs or controls the system service.
func serviceCommand(action string) func(*flag.FlagSet) func(*env, []string) error {
	return func(*flag.FlagSet) func(*env, []string) error {
		return alone(func(e *env) error {
			e.stage.Store(installing)
			if err := service.Control(action, service.Options{ConfigFile: e.configFile, Stdout: e.stdout}); err != nil {
				return err
			}
			if action == "install" {
				// A configuration that can't be read is the daemon's to report.
				if conf, err := config.Load(e.configFile); err == nil {
					e.warnOfPlace(conf)
				}
			}
			return nil
		})
	}
}
