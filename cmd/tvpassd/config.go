package main

import (
	"errors"
	"flag"
	"fmt"

	"github.com/tvpassd/tvpassd/daemon/config"
	"github.com/tvpassd/tvpassd/daemon/dcr"
)

func configCommand(*flag.FlagSet) func(*env, []string) error {
	return func(e *env, args []string) error {
		if len(args) != 1 || args[0] != "check" {
			return misused("config takes the one word check")
		}
		return e.checkConfig()
	}
}

// checkConfig says all that is wrong with the configuration, a line each.
func (e *env) checkConfig() error {
	conf, err := config.Load(e.configFile)
	var faults []error
	if err != nil {
		faults = unjoin(err)
	} else {
		for _, bad := range conf.Bad {
			faults = append(faults, bad)
		}
		if _, err := dcr.New(dcr.Config{Endpoint: conf.Endpoint, CAFile: conf.HTTP.CAFile}); err != nil {
			faults = append(faults, fmt.Errorf("%s: [http] %w", conf.File, err))
		}
	}
	for _, fault := range faults {
		e.complain(fault)
	}
	if conf != nil {
		for _, risk := range conf.Risks {
			e.complain(fmt.Errorf("warning: %v", risk))
		}
	}
	if len(faults) > 0 {
		return exitStatus{code: exitFailure}
	}
	name := conf.File
	if name == "" {
		name = config.DefaultFile + " (missing, so the defaults hold)"
	}
	_, err = fmt.Fprintf(e.stdout, "%s: good, %s, endpoint %s\n", name, plural(len(conf.Apps), "app"), conf.Endpoint)
	return err
}

// unjoin takes apart what errors.Join made.
func unjoin(err error) []error {
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		return joined.Unwrap()
	}
	return []error{err}
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
