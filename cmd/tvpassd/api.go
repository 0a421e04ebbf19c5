package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"os"
	"strings"
	"time"

	"github.com/tvpassd/tvpassd/ipc/client"
)

const (
	apiWithin  = 5 * time.Minute // a call waits for the throttle, a TV provider, a slow line
	maxAPIBody = 256 << 10       // bytes that the gateway takes
	maxWords   = 64 << 10        // bytes of a refusal in which its words are looked for
)

// apiCall is a call of the REST API V2 as the command line describes it.
type apiCall struct {
	app, method string
	data        []string // of each -d
	header      http.Header
}

// apiCommand makes a call of the REST API V2 through the gateway, as curl would.
func apiCommand(set *flag.FlagSet) func(*env, []string) error {
	call := apiCall{header: http.Header{}}
	set.StringVar(&call.app, "app", "", "`id` of the app; not needed if you may use only one")
	set.StringVar(&call.method, "X", "", "`method`: GET, or POST if there is a body")
	set.Func("H", "`header` such as 'Prefer: wait=30'; may be repeated", call.addHeader)
	set.Func("d", "`body`, @FILE that has it, or - for standard input; several are joined by &", func(data string) error {
		call.data = append(call.data, data)
		return nil
	})
	return func(e *env, args []string) error {
		if len(args) != 1 {
			return misused("api takes one path, such as REF30/configuration")
		}
		body, err := call.body(e.stdin)
		if err != nil {
			return err
		}
		return e.api(call, args[0], body)
	}
}

func (a *apiCall) addHeader(text string) error {
	name, value, ok := strings.Cut(text, ":")
	if name = textproto.TrimString(name); !ok || name == "" {
		return errors.New("a header is written 'Name: value'")
	}
	a.header.Add(name, textproto.TrimString(value))
	return nil
}

// body returns the body of the call, and completes its method and Content-Type.
func (a *apiCall) body(stdin io.Reader) ([]byte, error) {
	if a.data == nil {
		a.method = cmp.Or(a.method, http.MethodGet)
		return nil, nil
	}
	a.method = cmp.Or(a.method, http.MethodPost)
	for i, data := range a.data {
		if name, isFile := strings.CutPrefix(data, "@"); isFile || name == "-" {
			part, err := readBody(name, stdin)
			if err != nil {
				return nil, fmt.Errorf("read the body: %w", err)
			}
			a.data[i] = string(part)
		}
	}
	body := []byte(strings.Join(a.data, "&"))
	if a.header.Get("Content-Type") == "" {
		a.header.Set("Content-Type", "application/x-www-form-urlencoded") // as curl does
		if json.Valid(body) {
			a.header.Set("Content-Type", "application/json")
		}
	}
	return body, nil
}

// readBody reads a file, or standard input if its name is -, a little further than
// the gateway allows: the daemon refuses what is longer.
func readBody(name string, stdin io.Reader) ([]byte, error) {
	from := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		from = f
	}
	return io.ReadAll(io.LimitReader(from, maxAPIBody+1))
}

// api makes the call and prints the body of the answer as it comes. An answer
// other than 2xx is an error.
func (e *env) api(call apiCall, path string, body []byte) error {
	path = strings.TrimPrefix(path, "/")
	path = strings.TrimPrefix(path, "api/v2/")
	return e.ask(apiWithin, func(ctx context.Context, c *client.Client) error {
		resp, err := c.Call(ctx, call.app, call.method, path, call.header, bytes.NewReader(body))
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		var head []byte // of a refusal
		if resp.StatusCode/100 != 2 {
			head, err = io.ReadAll(io.LimitReader(resp.Body, maxWords))
			if _, err := e.body().Write(head); err != nil {
				return err
			}
		}
		if err == nil {
			_, err = io.Copy(e.body(), resp.Body)
		}
		if err != nil {
			return fmt.Errorf("read the server's answer: %w", err)
		}
		if resp.StatusCode/100 == 2 {
			return nil
		}
		return errors.New("the server answered " + resp.Status + words(head))
	})
}

// body returns where the body of an answer goes. It passes unchanged, except to
// a terminal, which would obey the control sequences of a server.
func (e *env) body() io.Writer {
	if isTerminal(e.screen) {
		return e.stdout
	}
	return e.screen
}

// words returns the code and the message of a refusal (Adobe's page "Enhanced
// error codes"), as a suffix of its status.
func words(answer []byte) (words string) {
	var refusal struct{ Code, Message string }
	if json.Unmarshal(answer, &refusal) != nil { // HTML, for example
		return ""
	}
	for _, text := range [...]string{refusal.Code, refusal.Message} {
		if text != "" {
			words += ": " + text
		}
	}
	return words
}
