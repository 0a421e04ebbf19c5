package main

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/tvpassd/tvpassd/daemon/clock"
	"github.com/tvpassd/tvpassd/daemon/doctor"
	"github.com/tvpassd/tvpassd/daemon/service"
)

// Exit statuses of tvpassd doctor.
const (
	exitWarnings = 1
	exitFailures = 2
)

func doctorCommand(set *flag.FlagSet) func(*env, []string) error {
	asJSON := set.Bool("json", false, "print JSON")
	return func(e *env, args []string) error {
		if err := noArguments(args); err != nil {
			return err
		}
		r, err := e.examine()
		if err != nil {
			return err
		}
		if *asJSON {
			err = printJSON(e, r)
		} else {
			_, err = fmt.Fprint(e.stdout, doctorText(r))
		}
		switch {
		case err != nil:
			return err
		case r.Worst == doctor.Warning:
			return exitStatus{code: exitWarnings}
		case r.Worst == doctor.Failed:
			return exitStatus{code: exitFailures}
		}
		return nil
	}
}

// examine has the doctor look at this machine.
func (e *env) examine() (doctor.Report, error) {
	built, err := buildTime()
	if err != nil {
		return doctor.Report{}, err
	}
	return doctor.Run(e.ctx, doctor.Config{
		ConfigFile: e.configFile, Socket: e.socket, Version: version, BuildDate: built, UID: os.Geteuid(),
		Clock: clock.NewSystem(), Getenv: os.Getenv, Proxy: http.ProxyFromEnvironment, Service: service.Look,
	}), nil
}

// doctorText is for a serial console: plain ASCII, what is bad in capitals.
func doctorText(r doctor.Report) string {
	const indent = "         "
	var b strings.Builder
	counts := map[doctor.Status]int{}
	for _, c := range r.Checks {
		counts[c.Status]++
		word := string(c.Status)
		if c.Status == doctor.Warning || c.Status == doctor.Failed {
			word = strings.ToUpper(word)
		}
		text := wrap(c.ID+": "+c.Detail, indent)
		fmt.Fprintf(&b, "%-9s%s", word, strings.TrimPrefix(text, indent))
		if c.Todo != "" {
			b.WriteString(wrap("To do: "+c.Todo, indent))
		}
	}
	fmt.Fprintf(&b, "\n%s: %d pass, %d skipped, %s, %d failed\n", plural(len(r.Checks), "check"),
		counts[doctor.Pass], counts[doctor.Skipped], plural(counts[doctor.Warning], "warning"), counts[doctor.Failed])
	return b.String()
}
