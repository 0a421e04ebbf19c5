package ipc

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
)

// Values of headers, ready to be put in place: they are never written to.
var (
	noStore     = []string{"no-store"}
	jsonType    = []string{"application/json"}
	problemType = []string{"application/problem+json"}
	metricsType = []string{"text/plain; version=0.0.4; charset=utf-8"}
	eventsType  = []string{"text/event-stream"}
)

// ReportAnswer is the body that answers a report.
type ReportAnswer struct {
	Action string `json:"action"`
}

// send writes a whole answer. Its own length keeps net/http from chunking what outgrows a buffer.
func (c *call) send(status int, contentType []string, body []byte) {
	h := c.w.Header()
	h["Date"] = nil // a box may not know it
	h["Cache-Control"] = noStore
	h["Content-Type"] = contentType
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	c.w.WriteHeader(status)
	_, _ = c.w.Write(body) // it fails when the caller has gone: there is nobody left to tell
}

func (c *call) sendJSON(status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	c.send(status, jsonType, append(body, '\n'))
	return nil
}

// fail answers with a problem; what is none is a fault of ours, and logged.
func (c *call) fail(err error) {
	p, ok := errors.AsType[*Problem](err)
	if ok {
		p = p.complete()
	} else if c.r.Context().Err() != nil {
		detail := "the caller hung up" // so that nobody reads this
		select {
		case <-c.stopping:
			detail = "tvpassd is stopping: ask again once it is back"
		default:
		}
		p = NewProblem(CodeNotReady, detail)
		p.RetryAfterMS = 1000
	} else {
		c.cfg.Log.Error("request failed", "app", c.app, "code", CodeInternal, "method", c.r.Method, "uid", c.conn.peer.UID, "err", err)
		p = NewProblem(CodeInternal, "a fault in tvpassd: its log says more")
	}
	if p.RetryAfterMS > 0 {
		c.w.Header().Set("Retry-After", strconv.FormatInt((p.RetryAfterMS+999)/1000, 10))
	}
	body, err := json.Marshal(p)
	if err != nil { // strings and numbers can't fail
		panic(err)
	}
	c.send(p.Status, problemType, append(body, '\n'))
}

// complete returns p with the title and the status that it lacks.
func (p *Problem) complete() *Problem {
	if p.Title != "" && p.Status != 0 {
		return p
	}
	whole := *p
	whole.Title, whole.Status = describe(p.Code)
	return &whole
}

func (c *call) metrics() error {
	var text bytes.Buffer
	if err := c.cfg.Backend.WriteMetrics(&text, c.sees, c.policy.Admin(c.conn.peer)); err != nil {
		return err
	}
	c.send(http.StatusOK, metricsType, text.Bytes())
	return nil
}

// parseReport reads a report. The error is a *Problem that repeats nothing of it: it holds a token.
func parseReport(body []byte) (Report, error) {
	var got *struct {
		AccessToken string `json:"access_token"`
		Status      *int   `json:"status"`
		Code        string `json:"code"`
	}
	if err := json.Unmarshal(body, &got); err != nil || got == nil || got.AccessToken == "" || got.Status == nil {
		return Report{}, NewProblem(CodeInvalidParameter,
			`the body must be a JSON object with "access_token" (a string), "status" (an integer) and perhaps "code" (a string)`)
	}
	return Report{AccessToken: got.AccessToken, Status: *got.Status, Code: got.Code}, nil
}
