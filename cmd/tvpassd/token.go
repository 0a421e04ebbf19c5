package main

import (
	"flag"
	"fmt"
	"maps"
	"slices"
)

func tokenCommand(set *flag.FlagSet) func(*env, []string) error {
	app := set.String("app", "", "`id` of the app; not needed where you may use only one")
	return func(e *env, args []string) error {
		if err := noArguments(args); err != nil {
			return err
		}
		tok, err := e.client().Token(e.ctx, *app, nil)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(e.stdout, tok.AccessToken)
		return err
	}
}

func headersCommand(set *flag.FlagSet) func(*env, []string) error {
	app := set.String("app", "", "`id` of the app; not needed where you may use only one")
	return func(e *env, args []string) error {
		if err := noArguments(args); err != nil {
			return err
		}
		h, err := e.client().Headers(e.ctx, *app, nil)
		if err != nil {
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(h.Headers)) {
			if _, err := fmt.Fprintf(e.stdout, "%s: %s\n", name, h.Headers[name]); err != nil {
				return err
			}
		}
		return nil
	}
}
