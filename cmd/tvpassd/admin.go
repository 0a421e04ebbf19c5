package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"

	"github.com/tvpassd/tvpassd/ipc/client"
)

func refreshCommand(set *flag.FlagSet) func(*env, []string) error {
	app := set.String("app", "", "`id` of the app")
	return alone(func(e *env) error {
		if err := given(*app); err != nil {
			return err
		}
		refresh := func(ctx context.Context, c *client.Client) error { return c.Refresh(ctx, *app) }
		if err := e.ask(answerWithin, refresh); err != nil {
			return err
		}
		_, err := fmt.Fprintf(e.stdout, "a token for %s is being fetched; `tvpassd status` shows the result\n", *app)
		return err
	})
}

func reloadCommand(set *flag.FlagSet) func(*env, []string) error {
	accept := set.String("accept", "", "let another user's file have this `id`, with the app's credentials")
	return alone(func(e *env) error {
		err := e.ask(answerWithin, func(ctx context.Context, c *client.Client) error {
			if *accept != "" {
				return c.Accept(ctx, *accept)
			}
			return c.Reload(ctx)
		})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(e.stdout, "the configuration was read again; `tvpassd status` shows the result")
		return err
	})
}

func resetCommand(set *flag.FlagSet) func(*env, []string) error {
	app := set.String("app", "", "`id` of the app")
	yes := set.Bool("yes", false, "don't ask")
	return alone(func(e *env) error {
		if err := given(*app); err != nil {
			return err
		}
		if !*yes {
			if err := e.confirm(*app); err != nil {
				return err
			}
		}
		reset := func(ctx context.Context, c *client.Client) error { return c.Reset(ctx, *app) }
		if err := e.ask(answerWithin, reset); err != nil {
			return err
		}
		_, err := fmt.Fprintf(e.stdout, "the credentials of %s are forgotten, and the device registers anew; "+
			"`tvpassd status` shows the result\n", *app)
		return err
	})
}

// confirm asks before every viewer of an app is signed out.
func (e *env) confirm(app string) error {
	fmt.Fprintf(e.stderr, "This forgets the client credentials of %s. Its viewers must sign in to their "+
		"TV provider again.\nType the app's id to go on: ", app)
	answers := make(chan string, 1) // if a signal comes first the reader is left behind: the program ends
	go func() {
		answer, err := bufio.NewReader(e.stdin).ReadString('\n')
		if err != nil { // the line of the question is not ended yet
			fmt.Fprintln(e.stderr)
		}
		answers <- strings.TrimSpace(answer)
	}()
	select {
	case answer := <-answers:
		if answer == app {
			return nil
		}
	case <-e.ctx.Done():
		fmt.Fprintln(e.stderr)
	}
	return errors.New("nothing was done: the answer was not the app's id (--yes goes on without asking)")
}

// given refuses to act on all apps at once.
func given(app string) error {
	if app == "" {
		return misused("--app says for which app")
	}
	return nil
}
