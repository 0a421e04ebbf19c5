package main

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"slices"

	"github.com/tvpassd/tvpassd/ipc"
	"github.com/tvpassd/tvpassd/ipc/client"
)

func tokenCommand(set *flag.FlagSet) func(*env, []string) error {
	app := set.String("app", "", "`id` of the app; not needed if you may use only one")
	return func(e *env, args []string) error {
		if err := noArguments(args); err != nil {
			return err
		}
		var tok ipc.Token
		err := e.ask(tokenWithin, func(ctx context.Context, c *client.Client) (err error) {
			tok, err = c.Token(ctx, *app, nil)
			return err
		})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(e.stdout, tok.AccessToken)
		return err
	}
}

func headersCommand(set *flag.FlagSet) func(*env, []string) error {
	app := set.String("app", "", "`id` of the app; not needed if you may use only one")
	return func(e *env, args []string) error {
		if err := noArguments(args); err != nil {
			return err
		}
		var h ipc.Headers
		err := e.ask(tokenWithin, func(ctx context.Context, c *client.Client) (err error) {
			h, err = c.Headers(ctx, *app, nil)
			return err
		})
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
