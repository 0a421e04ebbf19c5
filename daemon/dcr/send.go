package dcr

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Request is a request to the REST API V2. Send adds X-Device-Info to its header.
type Request struct {
	Method        string
	Path          string // at the endpoint, with a slash in front
	Query         string // encoded
	Header        http.Header
	Body          []byte
	ApplicationID string        // for X-Device-Info; "" leaves it out
	Timeout       time.Duration // from the last byte sent to the header of the answer, and of each read of its body
}

// Send sends a request to the endpoint, over a kept connection if there is one,
// and returns the answer, whatever it is. It repeats nothing of which a byte may
// have left. The caller closes the body. An error is an *Error.
func (c *Client) Send(ctx context.Context, r *Request) (*http.Response, error) {
	own := *r // a transport may look at it for a moment after the answer
	t := &trip{client: c, request: &own}
	resp, err := t.roundTrip(ctx)
	if err == nil {
		return resp, nil
	}
	e := &Error{Kind: ServerError, Sent: true, err: err}
	switch host := c.endpoint.Host; {
	case !t.begun.Load():
		return nil, c.noAnswer(err, &t.progress)
	case errors.Is(err, context.DeadlineExceeded):
		e.Kind = Timeout
		e.Detail = fmt.Sprintf("%s took the request, and did not answer within %v", host, r.Timeout)
	case t.answered.Load():
		e.Detail = fmt.Sprintf("the answer of %s is cut short, or is not HTTP: check what stands between", host)
	default:
		e.Detail = fmt.Sprintf("%s closed the connection without an answer", host)
	}
	return nil, e
}
