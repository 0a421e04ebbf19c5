package main

import (
	"fmt"

	"github.com/tvpassd/tvpassd/daemon/config"
	"github.com/tvpassd/tvpassd/storage"
)

// warnOfPlace prints why the state may not last where the configuration puts it.
func (e *env) warnOfPlace(conf *config.Config) {
	if conf.AcceptVolatileState {
		return
	}
	place, err := storage.Locate(conf.StateDir)
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
