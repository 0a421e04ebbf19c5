package dcr

import (
	"context"
	"net/http"
)

// exchange is one request of a client's own.
type exchange struct {
	path, contentType, body, applicationID string

	private []string // what of the body no error may repeat
}

// exchange sends one request and reads the answer, all in the client's time.
func (c *Client) exchange(ctx context.Context, x exchange) (*answer, error) {
	t := &trip{client: c, whole: true, request: &Request{
		Method: http.MethodPost, Path: x.path, Body: []byte(x.body), ApplicationID: x.applicationID,
		Header: http.Header{
			"Content-Type": {x.contentType},
			"Accept":       {"application/json;charset=utf-8"},
			"User-Agent":   {c.userAgent},
		},
	}}
	resp, err := t.roundTrip(ctx)
	if err != nil {
		return nil, c.noAnswer(err, &t.progress)
	}
	defer resp.Body.Close()
	return c.read(t.ctx, resp, x.private, resp.TLS != nil || t.remote.IsLoopback())
}
