package client

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/tvpassd/tvpassd/ipc"
)

// Watch calls f with the state of an app, now and on every change, until f returns
// an error, and returns that. It returns [io.EOF] when the daemon ends the watch:
// the daemon stops, or the caller may no longer use the app.
func (c *Client) Watch(ctx context.Context, app string, f func(ipc.Event) error) error {
	resp, err := c.do(ctx, http.MethodGet, appPath(app, "watch"), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return finish(resp, nil)
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxAnswer)
	var name, data string
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case field == "event":
			name = value
		case field == "data":
			data = value
		case lines.Text() == "":
			if err := deliver(name, data, f); err != nil {
				return err
			}
			name, data = "", ""
		}
	}
	switch err := lines.Err(); {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("watch %s: %w", app, err)
	}
	return io.EOF
}

// deliver calls f with an event. It ignores the names of later versions.
func deliver(name, data string, f func(ipc.Event) error) error {
	var e ipc.Event
	var err error
	switch name {
	case "state":
		err = json.Unmarshal([]byte(data), &e.State)
	case "token":
		err = json.Unmarshal([]byte(data), &e.Token)
	default:
		return nil
	}
	if err != nil {
		return fmt.Errorf("read an event of tvpassd: %w", err)
	}
	return f(e)
}
