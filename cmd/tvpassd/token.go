package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/tvpassd/tvpassd/ipc"
	"github.com/tvpassd/tvpassd/ipc/client"
)

const (
	maxWait  = time.Minute // that a request for a token may wait
	maxToken = 64 << 10    // bytes: more than any access token has
)

func tokenCommand(set *flag.FlagSet) func(*env, []string) error {
	ask := tokenFlags(set)
	return alone(func(e *env) error {
		var tok ipc.Token
		err := ask(e, func(ctx context.Context, c *client.Client, app string, q *ipc.Query) (err error) {
			tok, err = c.Token(ctx, app, q)
			return err
		})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(e.stdout, tok.AccessToken)
		return err
	})
}

func headersCommand(set *flag.FlagSet) func(*env, []string) error {
	ask := tokenFlags(set)
	return alone(func(e *env) error {
		var h ipc.Headers
		err := ask(e, func(ctx context.Context, c *client.Client, app string, q *ipc.Query) (err error) {
			h, err = c.Headers(ctx, app, q)
			return err
		})
		if err != nil {
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(h.Headers)) {
			if strings.ContainsFunc(name+h.Headers[name], unicode.IsControl) {
				return errors.New("the answer has a header with a control character: something else than tvpassd listens")
			}
			if _, err := fmt.Fprintf(e.stdout, "%s: %s\n", name, h.Headers[name]); err != nil {
				return err
			}
		}
		return nil
	})
}

// tokenFlags defines the flags of a request for a token, and returns a function
// that makes the request.
func tokenFlags(set *flag.FlagSet) func(*env, func(context.Context, *client.Client, string, *ipc.Query) error) error {
	app := appFlag(set)
	q := ipc.Query{}
	set.DurationVar(&q.Wait, "wait", ipc.DefaultWait, "`duration` to wait for a token, at most 1m (10s)")
	set.DurationVar(&q.MinTTL, "min-ttl", 0, "`duration` that the token must still live")
	return func(e *env, f func(context.Context, *client.Client, string, *ipc.Query) error) error {
		switch {
		case q.Wait < 0 || q.Wait > maxWait:
			return misused("--wait %v is not between 0s and %v", q.Wait, maxWait)
		case q.MinTTL < 0:
			return misused("--min-ttl %v is negative", q.MinTTL)
		}
		return e.ask(q.Wait+answerWithin, func(ctx context.Context, c *client.Client) error {
			return f(ctx, c, *app, &q)
		})
	}
}

func appFlag(set *flag.FlagSet) *string {
	return set.String("app", "", "`id` of the app; not needed if you may use only one")
}

func reportCommand(set *flag.FlagSet) func(*env, []string) error {
	app := appFlag(set)
	status := set.Int("status", http.StatusUnauthorized, "HTTP `status` that the server answered with (401)")
	return alone(func(e *env) error {
		input, err := io.ReadAll(io.LimitReader(e.stdin, maxToken))
		if err != nil {
			return fmt.Errorf("read the token from standard input: %w", err)
		}
		token := strings.TrimPrefix(strings.TrimSpace(string(input)), "Bearer ")
		if token == "" {
			return misused("there is no token on standard input")
		}
		var action string
		err = e.ask(answerWithin, func(ctx context.Context, c *client.Client) (err error) {
			if *app, err = soleApp(ctx, c, *app); err != nil {
				return err
			}
			action, err = c.Report(ctx, *app, ipc.Report{AccessToken: token, Status: *status})
			return err
		})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(e.stdout, action)
		return err
	})
}

// watchCommand prints one line for each event, its name before its JSON, until
// it is interrupted or the daemon ends.
func watchCommand(set *flag.FlagSet) func(*env, []string) error {
	app := appFlag(set)
	return alone(func(e *env) error {
		err := e.ask(answerWithin, func(ctx context.Context, c *client.Client) (err error) {
			*app, err = soleApp(ctx, c, *app)
			return err
		})
		if err != nil {
			return err
		}
		c := &client.Client{Socket: e.socketPath()}
		defer c.Close()
		err = c.Watch(e.ctx, *app, e.printEvent)
		switch {
		case e.ctx.Err() != nil:
			return nil
		case errors.Is(err, io.EOF):
			return errors.New("the daemon ended the watch: it stops, or you may not use the app any more")
		}
		return err
	})
}

func (e *env) printEvent(event ipc.Event) error {
	name, data := "state", any(event.State)
	if event.Token != nil {
		name, data = "token", event.Token
	}
	line, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("print an event: %w", err)
	}
	_, err = fmt.Fprintf(e.stdout, "%s %s\n", name, line)
	return err
}

// soleApp returns app, or if that is "" the one app that the caller may use.
func soleApp(ctx context.Context, c *client.Client, app string) (string, error) {
	if app != "" {
		return app, nil
	}
	st, err := c.Status(ctx)
	if err != nil {
		return "", err
	}
	var ids []string
	for _, a := range st.Apps {
		ids = append(ids, a.App)
	}
	switch len(ids) {
	case 0:
		return "", ipc.NewProblem(ipc.CodeAmbiguousApp, "there is no app that you may use")
	case 1:
		return ids[0], nil
	}
	return "", ipc.NewProblem(ipc.CodeAmbiguousApp,
		"you may use several apps ("+strings.Join(ids, ", ")+"): name one with --app")
}
