package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"strings"
)

func refreshCommand(set *flag.FlagSet) func(*env, []string) error {
	app := set.String("app", "", "`id` of the app")
	return func(e *env, args []string) error {
		if err := oneApp(*app, args); err != nil {
			return err
		}
		if err := e.client().Refresh(e.ctx, *app); err != nil {
			return err
		}
		_, err := fmt.Fprintf(e.stdout, "a token for %s is being fetched; tvpassd status shows how that goes\n", *app)
		return err
	}
}

func reloadCommand(*flag.FlagSet) func(*env, []string) error {
	return func(e *env, args []string) error {
		if err := noArguments(args); err != nil {
			return err
		}
		if err := e.client().Reload(e.ctx); err != nil {
			return err
		}
		_, err := fmt.Fprintln(e.stdout, "the configuration was read again; tvpassd status shows what it made of it")
		return err
	}
}

func resetCommand(set *flag.FlagSet) func(*env, []string) error {
	app := set.String("app", "", "`id` of the app")
	yes := set.Bool("yes", false, "don't ask")
	return func(e *env, args []string) error {
		if err := oneApp(*app, args); err != nil {
			return err
		}
		if !*yes {
			if err := e.confirm(*app); err != nil {
				return err
			}
		}
		if err := e.client().Reset(e.ctx, *app); err != nil {
			return err
		}
		_, err := fmt.Fprintf(e.stdout, "the credentials of %s are forgotten, and the device registers anew; tvpassd status shows how that goes\n", *app)
		return err
	}
}

// confirm asks before every viewer of an app is signed out.
func (e *env) confirm(app string) error {
	fmt.Fprintf(e.stderr, "This forgets the client credentials of %s. Its viewers must sign in to their TV provider again.\nType the app's id to go on: ", app)
	answer, err := bufio.NewReader(e.stdin).ReadString('\n')
	if strings.TrimSpace(answer) == app {
		return nil
	}
	if err != nil { // no line was ended where the question stands
		fmt.Fprintln(e.stderr)
	}
	return errors.New("nothing was done: the answer was not the app's id (--yes goes on without asking)")
}

func oneApp(app string, args []string) error {
	if err := noArguments(args); err != nil {
		return err
	}
	if app == "" {
		return misused("--app says for which app")
	}
	return nil
}
