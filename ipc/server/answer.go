package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/tvpassd/tvpassd/ipc"
)

// Values of headers, made once: they are never written to.
var (
	noStore     = []string{"no-store"}
	jsonType    = []string{"application/json"}
	problemType = []string{"application/problem+json"}
	metricsType = []string{"text/plain; version=0.0.4; charset=utf-8"}
	eventsType  = []string{"text/event-stream"}
)

// ownLength is the size of net/http's buffer. If an answer fits, net/http finds
// out its length at less cost than we do. It would send a longer one in chunks.
const ownLength = 2048

// lingers is how much of a body is read after it was refused, in bytes.
const lingers = 1 << 20

// send writes a whole answer.
func (c *call) send(status int, contentType []string, body []byte) {
	h := c.w.Header()
	h["Date"] = nil // the device may not know it
	h["Cache-Control"] = noStore
	h["Content-Type"] = contentType
	if len(body) > ownLength || c.r.ContentLength != 0 {
		h["Content-Length"] = []string{strconv.Itoa(len(body))}
	}
	c.w.WriteHeader(status)
	_, _ = c.w.Write(body) // an error means that the caller has left
}

func (c *call) sendJSON(status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	c.send(status, jsonType, append(body, '\n'))
	return nil
}

// fail answers with a problem. An error that is not a *Problem is a bug: it is
// logged and answered with CodeInternal.
func (c *call) fail(err error) {
	p, ok := errors.AsType[*ipc.Problem](err)
	if ok {
		p = complete(p)
	} else if c.r.Context().Err() != nil {
		detail := "the caller hung up" // and does not read this
		select {
		case <-c.stopping:
			detail = "tvpassd is stopping: ask again once it is back"
		default:
		}
		p = ipc.NewProblem(ipc.CodeNotReady, detail)
		p.RetryAfterMS = 1000
	} else {
		c.cfg.Log.Error("request failed", "app", c.app, "code", ipc.CodeInternal, "method", c.r.Method,
			"uid", c.conn.peer.UID, "err", err)
		p = ipc.NewProblem(ipc.CodeInternal, "a bug in tvpassd: its log says more")
	}
	if c.isGateway() {
		p = proxyStatus(c.w.Header(), p)
	}
	if p.RetryAfterMS > 0 {
		c.w.Header().Set("Retry-After", retryAfter(p))
	}
	body, err := json.Marshal(p)
	if err != nil { // strings and numbers can't fail
		panic(err)
	}
	c.send(p.Status, problemType, append(body, '\n'))
	c.drain()
}

// drain reads on after a refusal. Many clients read an answer only once they have
// sent all of their request, and would find the connection broken.
func (c *call) drain() {
	if c.r.ContentLength != 0 && http.NewResponseController(c.w).Flush() == nil {
		_, _ = io.CopyN(io.Discard, c.r.Body, lingers)
	}
}

// refusal returns the problem that replaces an answer of net/http's own. The
// connection ends with it. gateway says that the request was for the gateway.
func refusal(answer []byte, gateway bool) []byte {
	line, _, _ := bytes.Cut(answer, []byte("\r\n"))
	status, reason := http.StatusBadRequest, strings.TrimPrefix(string(line), "HTTP/1.1 ")
	if code, text, ok := strings.Cut(reason, " "); ok {
		if n, err := strconv.Atoi(code); err == nil {
			status, reason = n, text
		}
	}
	p := ipc.NewProblem(ipc.CodeInvalidParameter, "the request can't be read: "+reason)
	switch status {
	case http.StatusRequestHeaderFieldsTooLarge:
		p = ipc.NewProblem(ipc.CodeTooLarge,
			fmt.Sprintf("the headers are larger than %d KiB or have more than %d lines", maxHeader>>10, maxLines))
	case http.StatusExpectationFailed:
		p.Detail = "the only Expect that is understood is 100-continue"
	}
	p.Status = status
	h := http.Header{}
	if gateway {
		p = proxyStatus(h, p)
	}
	return lastWord(p, h)
}

// lastWord returns a whole answer that closes the connection. It may have headers
// of its own.
func lastWord(p *ipc.Problem, more http.Header) []byte {
	body, err := json.Marshal(p)
	if err != nil { // strings and numbers can't fail
		panic(err)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\nCache-Control: no-store\r\nConnection: close\r\n"+
		"Content-Type: %s\r\nContent-Length: %d\r\n",
		p.Status, http.StatusText(p.Status), problemType[0], len(body)+1)
	_ = more.Write(&b) // a buffer takes everything
	if p.RetryAfterMS > 0 {
		fmt.Fprintf(&b, "Retry-After: %s\r\n", retryAfter(p))
	}
	fmt.Fprintf(&b, "\r\n%s\n", body)
	return b.Bytes()
}

// retryAfter returns the value of the header of that name: whole seconds, rounded up.
func retryAfter(p *ipc.Problem) string { return strconv.FormatInt((p.RetryAfterMS+999)/1000, 10) }

// complete returns p, with the title and the status of its code if it has none.
func complete(p *ipc.Problem) *ipc.Problem {
	if p.Title != "" && p.Status != 0 {
		return p
	}
	whole, named := *p, ipc.NewProblem(p.Code, p.Detail)
	whole.Title, whole.Status = named.Title, named.Status
	return &whole
}

func (c *call) metrics() error {
	var text bytes.Buffer
	if err := c.cfg.Views.WriteMetrics(&text, c.viewer()); err != nil {
		return err
	}
	c.send(http.StatusOK, metricsType, text.Bytes())
	return nil
}

// parseReport reads a report. Its error is a [*ipc.Problem] that repeats nothing
// of the report: it holds a token.
func parseReport(body []byte) (ipc.Report, error) {
	var got *struct {
		AccessToken string `json:"access_token"`
		Status      *int   `json:"status"`
		Code        string `json:"code"`
	}
	if err := json.Unmarshal(body, &got); err != nil || got == nil || got.AccessToken == "" || got.Status == nil {
		return ipc.Report{}, ipc.NewProblem(ipc.CodeInvalidParameter,
			`the body must be a JSON object with "access_token" (a string), "status" (an integer) `+
				`and perhaps "code" (a string)`)
	}
	return ipc.Report{AccessToken: got.AccessToken, Status: *got.Status, Code: got.Code}, nil
}
