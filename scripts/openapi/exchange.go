package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
)

// exchange is a request and what came back.
type exchange struct {
	Method   string `json:"method"`
	Path     string `json:"path"` // with the query
	Body     string `json:"body"`
	Response string `json:"response"` // as it was on the wire
}

func (e exchange) String() string { return e.Method + " " + e.Path }

// exchange checks an answer.
func (c *checker) exchange(e exchange) {
	req, err := http.NewRequest(e.Method, "http://tvpassd"+e.Path, strings.NewReader(e.Body))
	if err != nil {
		c.fail(e, "%v", err)
		return
	}
	resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(e.Response)), req)
	if err != nil {
		c.fail(e, "%v in %q", err, e.Response)
		return
	}
	kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil {
		c.fail(e, "content type: %v", err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil && kind != "text/event-stream" { // which has no end, and was cut off
		c.fail(e, "%v in %q", err, e.Response)
	}
	if resp.Header.Get("Cache-Control") != "no-store" {
		c.fail(e, "the answer may be stored")
	}
	if kind == "application/problem+json" {
		c.problem(e, resp, body)
	}
	op, ok := c.operation(req)
	if !ok { // then there is no more to the answer than its problem
		if resp.StatusCode != http.StatusNotFound && resp.StatusCode != http.StatusMethodNotAllowed {
			c.fail(e, "answered %s, but the document has no such operation", resp.Status)
		}
		return
	}
	c.asked(e, req, op, resp.StatusCode)
	c.answered(e, op, resp.StatusCode, kind, body)
}

// operation is what the document has for a request.
func (c *checker) operation(req *http.Request) (found operation, ok bool) {
	got := strings.Split(req.URL.Path, "/")
	same := func(want, got string) bool { return want == got || strings.HasPrefix(want, "{") }
	c.operations(func(method, path string, op operation) {
		if strings.EqualFold(method, req.Method) && slices.EqualFunc(strings.Split(path, "/"), got, same) {
			found, ok = op, true
		}
	})
	return found, ok
}

// asked checks a request that the daemon could read: the document must have it, too.
func (c *checker) asked(e exchange, req *http.Request, op operation, status int) {
	if status >= http.StatusMultipleChoices {
		return
	}
	if e.Body != "" {
		c.fits(fmt.Sprint(e, " body"), op.pointer+"/requestBody/content/application~1json/schema", json.RawMessage(e.Body))
	}
	for name, values := range req.URL.Query() {
		known := false
		list, _ := op.node["parameters"].([]any)
		for i := range list {
			parameter, pointer := c.at(list[i].(map[string]any)["$ref"].(string)[1:])
			if known = parameter["name"] == name; known {
				c.fits(fmt.Sprint(e, " ", name), pointer+"/schema", values[0])
				break
			}
		}
		if !known {
			c.fail(e, "the document has no parameter %s", name)
		}
	}
}

// answered holds an answer against what the document has for its status.
func (c *checker) answered(e exchange, op operation, status int, kind string, body []byte) {
	named := fmt.Sprint(status)
	c.seen[op.id+" "+named] = true
	if op.node["responses"].(map[string]any)[named] == nil {
		named = "default"
	}
	response, pointer := c.at(op.pointer + "/responses/" + named)
	content, _ := response["content"].(map[string]any)
	if content[kind] == nil {
		c.fail(e, "the document has no %s for status %d", kind, status)
		return
	}
	pointer += "/content/" + escape.Replace(kind) + "/schema"
	switch {
	case strings.HasSuffix(kind, "json"):
		c.fits(e, pointer, json.RawMessage(body))
	case kind == "text/event-stream":
		c.events(e, body)
	}
}

// problem checks what a schema can't say.
func (c *checker) problem(e exchange, resp *http.Response, body []byte) {
	c.fits(e, "/components/schemas/Problem", json.RawMessage(body))
	var p struct {
		Status     int
		Code       string
		RetryAfter int64 `json:"retry_after_ms"`
	}
	if err := json.Unmarshal(body, &p); err != nil {
		c.fail(e, "%v", err)
	}
	c.seen[p.Code] = true
	if p.Status != resp.StatusCode {
		c.fail(e, "status %d in the problem, %s in HTTP", p.Status, resp.Status)
	}
	want := ""
	if p.RetryAfter > 0 {
		want = fmt.Sprint((p.RetryAfter + 999) / 1000)
	}
	if got := resp.Header.Get("Retry-After"); got != want {
		c.fail(e, "Retry-After is %q beside %d ms", got, p.RetryAfter)
	}
}

// events checks a stream of events, each a name and one line of JSON. What was cut off in the middle is no event.
func (c *checker) events(e exchange, body []byte) {
	whole := body[:bytes.LastIndex(body, []byte("\n\n"))+1]
	for event := range strings.SplitSeq(strings.TrimSuffix(string(whole), "\n"), "\n\n") {
		name, data, _ := strings.Cut(event, "\ndata: ")
		schema := map[string]string{"event: state": "AppStatus", "event: token": "Token"}[name]
		if schema == "" || strings.Contains(data, "\n") {
			c.fail(e, "%q is not an event", event)
			continue
		}
		c.seen[name] = true
		c.fits(e, "/components/schemas/"+schema, json.RawMessage(data))
	}
}
