// Command openapi compares real answers with an OpenAPI document.
//
//	openapi FILE [CODE...] < EXCHANGES
//
// EXCHANGES are JSON objects, one for each request and its answer. The document
// must be OpenAPI, its examples must fit its schemas, and every answer must be as
// the document describes it, with no further field. Every answer and every error
// code of the document must have been seen, except for the given codes. Each fault
// is a line on standard output.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/pb33f/libopenapi-validator/config"
	verrors "github.com/pb33f/libopenapi-validator/errors"
	"github.com/pb33f/libopenapi-validator/paths"
	"github.com/pb33f/libopenapi-validator/schema_validation"
	"github.com/pb33f/libopenapi/datamodel/high/base"
	v3 "github.com/pb33f/libopenapi/datamodel/high/v3"
)

func main() {
	faults, err := run(os.Args[1:], os.Stdin)
	if err != nil {
		fmt.Fprintf(os.Stderr, "openapi: %v\n", err)
		os.Exit(2)
	}
	slices.Sort(faults)
	for _, line := range slices.Compact(faults) {
		fmt.Println(line)
	}
	if len(faults) > 0 {
		os.Exit(1)
	}
}

func run(args []string, exchanges io.Reader) (faults []string, err error) {
	if len(args) == 0 {
		return nil, errors.New("usage: openapi FILE [CODE...] < EXCHANGES")
	}
	c, err := load(args[0])
	if err != nil {
		return nil, err
	}
	c.document()
	for d := json.NewDecoder(exchanges); ; {
		var e exchange
		if err := d.Decode(&e); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("read the exchanges: %w", err)
		}
		c.exchange(e)
	}
	c.unseen(args[1:])
	return c.faults, nil
}

// checker compares answers with a document and remembers what it has seen.
type checker struct {
	doc       *v3.Document
	validator validator.Validator
	lenient   validator.Validator // for answers of Adobe's, which may hold more
	schemas   schema_validation.SchemaValidator
	seen      map[string]bool // answers such as "getToken 503", events and error codes
	faults    []string
}

func load(file string) (*checker, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	document, err := libopenapi.NewDocument(text)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	model, err := document.BuildV3Model()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	// Readers are told to expect further fields of later versions; a field that this
	// version sends must be in the document, which is what the strict mode checks.
	// Maps, whose names are data, are left out of that.
	lenient := []config.Option{config.WithFormatAssertions(), config.WithoutSecurityValidation()}
	strict := append(lenient, config.WithStrictMode(),
		config.WithStrictIgnorePaths("$.body.sources.*", "$.body.holders.*"))
	c := &checker{doc: &model.Model, schemas: schema_validation.NewSchemaValidator(strict...), seen: map[string]bool{}}
	var errs []error
	if c.validator, errs = validator.NewValidator(document, strict...); len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	if c.lenient, errs = validator.NewValidator(document, lenient...); len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return c, nil
}

func (c *checker) fail(what any, format string, args ...any) {
	text := fmt.Sprintf("%v: ", what) + fmt.Sprintf(format, args...)
	c.faults = append(c.faults, strings.ReplaceAll(text, "\n", " "))
}

func (c *checker) failAll(what any, errs []*verrors.ValidationError) {
	for _, err := range errs {
		c.fail(what, "%s: %s", err.Message, err.Reason)
		for _, detail := range err.SchemaValidationErrors {
			c.fail(what, "%s", detail.Error())
		}
	}
}

// document checks that the document is OpenAPI and that its examples fit.
func (c *checker) document() {
	if _, errs := c.validator.ValidateDocument(); len(errs) > 0 {
		c.failAll("document", errs)
	}
	for name, schema := range c.doc.Components.Schemas.FromOldest() {
		if schema := schema.Schema(); schema.Example != nil {
			c.fits(name, schema, decoded(schema.Example))
		}
	}
	for name, parameter := range c.doc.Components.Parameters.FromOldest() {
		if parameter.Example != nil {
			c.fits(name, parameter.Schema.Schema(), decoded(parameter.Example))
		}
	}
	for name, response := range c.doc.Components.Responses.FromOldest() {
		c.contentExample(name, response)
	}
	c.operations(func(op *v3.Operation) {
		for status, response := range op.Responses.Codes.FromOldest() {
			c.contentExample(op.OperationId+" "+status, response)
		}
	})
}

func (c *checker) contentExample(what string, response *v3.Response) {
	for _, media := range response.Content.FromOldest() {
		if media.Example != nil && media.Schema != nil {
			c.fits(what, media.Schema.Schema(), decoded(media.Example))
		}
	}
}

func decoded(node interface{ Decode(any) error }) (value any) {
	if err := node.Decode(&value); err != nil {
		return err.Error() // which fits no schema of an object
	}
	return value
}

// fits checks a value against a schema.
func (c *checker) fits(what any, schema *base.Schema, value any) {
	text, err := json.Marshal(value)
	if err != nil {
		c.fail(what, "%v", err)
		return
	}
	if _, errs := c.schemas.ValidateSchemaBytesWithVersion(schema, text, 3.1); len(errs) > 0 {
		c.failAll(what, errs)
	}
}

// exchange is a request and its answer.
type exchange struct {
	Method   string `json:"method"`
	Path     string `json:"path"` // with the query
	Body     string `json:"body"`
	Response string `json:"response"` // as it was on the wire
}

func (e exchange) String() string { return e.Method + " " + e.Path }

// exchange checks an answer, and the request if the daemon accepted it.
func (c *checker) exchange(e exchange) {
	req, err := http.NewRequest(e.Method, "http://tvpassd"+e.Path, strings.NewReader(e.Body))
	if err != nil {
		c.fail(e, "%v", err)
		return
	}
	if strings.HasPrefix(e.Body, "{") {
		req.Header.Set("Content-Type", "application/json")
	} else if e.Body != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(e.Response)), req)
	if err != nil {
		c.fail(e, "%v in %q", err, e.Response)
		return
	}
	kind := resp.Header.Get("Content-Type")
	body, err := io.ReadAll(resp.Body)
	if err != nil && kind != "text/event-stream" { // which has no end and was cut off
		c.fail(e, "%v in %q", err, e.Response)
	}
	resp.Body = io.NopCloser(strings.NewReader(string(body)))
	if resp.Header.Get("Cache-Control") != "no-store" {
		c.fail(e, "the answer may be stored")
	}
	if kind == "application/problem+json" {
		c.problem(e, resp, body)
	}
	item, _, _ := paths.FindPath(req, c.doc, nil)
	var op *v3.Operation
	if item != nil {
		op = item.GetOperations().GetOrZero(strings.ToLower(req.Method))
	}
	v := c.validator
	if strings.Contains(resp.Header.Get("Proxy-Status"), "received-status=") {
		v = c.lenient
	}
	switch status := resp.StatusCode; {
	case op == nil && (status == http.StatusNotFound || status == http.StatusMethodNotAllowed):
		return // it is all in the problem
	case op == nil:
		c.fail(e, "answered %s, but the document has no such operation", resp.Status)
		return
	case kind == "text/event-stream":
		c.events(e, string(body))
	case status < http.StatusMultipleChoices:
		_, errs := v.ValidateHttpRequestResponse(req, resp)
		c.failAll(e, errs)
	default:
		_, errs := v.ValidateHttpResponse(req, resp)
		c.failAll(e, errs)
	}
	c.seen[fmt.Sprint(op.OperationId, " ", resp.StatusCode)] = true
}

// problem checks what a schema can't say.
func (c *checker) problem(e exchange, resp *http.Response, body []byte) {
	var p struct {
		Status     int
		Code       string
		RetryAfter int64 `json:"retry_after_ms"`
	}
	if err := json.Unmarshal(body, &p); err != nil {
		c.fail(e, "%v", err)
	}
	c.fits(e, c.schema("Problem"), json.RawMessage(body))
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

// events checks a stream of events, each a name and one line of JSON. An event
// that was cut off does not count.
func (c *checker) events(e exchange, body string) {
	whole := body[:strings.LastIndex(body, "\n\n")+1]
	for event := range strings.SplitSeq(strings.TrimSuffix(whole, "\n"), "\n\n") {
		name, data, _ := strings.Cut(event, "\ndata: ")
		schema := map[string]string{"event: state": "AppStatus", "event: token": "Token"}[name]
		if schema == "" || strings.Contains(data, "\n") {
			c.fail(e, "%q is not an event", event)
			continue
		}
		c.seen[name] = true
		c.fits(e, c.schema(schema), json.RawMessage(data))
	}
}

func (c *checker) schema(name string) *base.Schema {
	return c.doc.Components.Schemas.GetOrZero(name).Schema()
}

func (c *checker) operations(each func(*v3.Operation)) {
	for _, item := range c.doc.Paths.PathItems.FromOldest() {
		for _, op := range item.GetOperations().FromOldest() {
			each(op)
		}
	}
}

// unseen reports what the document names and no answer showed, except for codes.
func (c *checker) unseen(except []string) {
	want := []string{"event: state", "event: token"}
	c.operations(func(op *v3.Operation) {
		for status := range op.Responses.Codes.FromOldest() {
			want = append(want, op.OperationId+" "+status)
		}
	})
	for _, code := range c.schema("Code").Enum {
		if !slices.Contains(except, code.Value) {
			want = append(want, code.Value)
		}
	}
	for _, what := range want {
		if !c.seen[what] {
			c.fail(what, "not seen in any answer")
		}
	}
}
