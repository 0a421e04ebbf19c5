package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/tvpassd/tvpassd/daemon/config"
	"github.com/tvpassd/tvpassd/daemon/dcr"
	"github.com/tvpassd/tvpassd/device/hostfile"
	"github.com/tvpassd/tvpassd/ipc/client"
	"github.com/tvpassd/tvpassd/storage"
)

func configCommand(*flag.FlagSet) func(*env, []string) error {
	return func(e *env, args []string) error {
		if len(args) != 1 || args[0] != "check" {
			return misused("config takes the one word check")
		}
		return e.checkConfig()
	}
}

// checkConfig prints all faults of the configuration, one per line, and what
// others may do to its files.
func (e *env) checkConfig() error {
	conf, err := e.loadConfig()
	if err != nil {
		for _, fault := range config.Faults(err) {
			e.complain(fault)
		}
		return &exitStatus{code: exitFailure}
	}
	var faults []error
	for _, bad := range conf.Bad {
		faults = append(faults, bad)
	}
	_, err = dcr.New(dcr.Config{Endpoint: conf.Endpoint})
	if err = cmp.Or(err, dcr.CheckRoots(conf.HTTP.CAFile, config.ReadRoots)); err != nil {
		faults = append(faults, fmt.Errorf("%s: [http] %w", conf.File, err))
	}
	for _, fault := range faults {
		e.complain(fault)
	}
	for _, risk := range conf.Risks() {
		e.complain(fmt.Errorf("warning: %v", risk))
	}
	for _, id := range conf.Useless() {
		e.complain(fmt.Errorf("warning: players of %s get nothing: it has hand_out_token = false, "+
			"and [gateway] enabled is false: change one of them", id))
	}
	e.warnOfPlace(conf)
	if len(faults) > 0 {
		return &exitStatus{code: exitFailure}
	}
	name := cmp.Or(conf.File, config.DefaultFile+" (missing, so the defaults apply)")
	_, err = fmt.Fprintf(e.stdout, "%s: good, %s, endpoint %s\n", name, plural(len(conf.Apps), "app"), conf.Endpoint)
	return err
}

// warnOfPlace prints why the state may not last where the configuration puts it.
func (e *env) warnOfPlace(conf *config.Config) {
	if conf.AcceptVolatileState {
		return
	}
	var place storage.Place
	_, err := hostfile.Stat(conf.StateDir)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		place, err = storage.Locate(conf.StateDir)
	}
	if err != nil {
		e.complain(fmt.Errorf("warning: it can't be known whether the state lasts: %w", err))
		return
	}
	for _, of := range []func() (string, string){place.Loss, place.Aging} {
		if detail, advice := of(); detail != "" {
			e.complain(fmt.Errorf("warning: %s: %s", detail, advice))
		}
	}
}

// holdersWithin is how long a daemon may take to say which file has which id.
const holdersWithin = 3 * time.Second

// loadConfig reads the configuration as the daemon would. The daemon decides
// which file has which id: it is asked if it runs with the same configuration,
// and answers admins only. Otherwise the order of the names decides.
func (e *env) loadConfig() (*config.Config, error) {
	conf, err := config.Load(e.configFile)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(e.ctx, holdersWithin)
	defer cancel()
	c := &client.Client{Socket: e.socketPath()}
	defer c.Close()
	inForce, err := c.Configuration(ctx)
	if err != nil || inForce.File != cmp.Or(conf.File, config.DefaultFile) {
		return conf, nil
	}
	held := map[string]config.Holder{}
	for id, h := range inForce.Holders {
		held[id] = config.Holder(h)
	}
	return conf, conf.Resolve(held, "")
}

// plural returns a number with its noun. many is the plural unless that is one
// with an s.
func plural(n int, one string, many ...string) string {
	switch {
	case n == 1:
		return "1 " + one
	case len(many) > 0:
		return fmt.Sprintf("%d %s", n, many[0])
	}
	return fmt.Sprintf("%d %ss", n, one)
}
