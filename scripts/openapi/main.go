// Command openapi holds real answers against an OpenAPI document.
//
//	openapi FILE [CODE...] < EXCHANGES
//
// EXCHANGES are JSON objects, one for each exchange. The document must be OpenAPI 3.1, its examples must fit its schemas, and
// every answer must be what the document says, with no field more. Every answer that the document names must have been seen,
// and every error code but those given. What is wrong goes to standard output, a line each.
//
// It is a module of its own: nothing of it comes near the device binary. exchange.go checks the answers.
package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

func main() {
	wrong, err := run(os.Args[1:], os.Stdin)
	if err != nil {
		fmt.Fprintf(os.Stderr, "openapi: %v\n", err)
		os.Exit(2)
	}
	slices.Sort(wrong) // what lists of an object's fields found comes in any order
	for _, line := range slices.Compact(wrong) {
		fmt.Println(line)
	}
	if len(wrong) > 0 {
		os.Exit(1)
	}
}

func run(args []string, exchanges io.Reader) (wrong []string, err error) {
	if len(args) == 0 {
		return nil, errors.New("usage: openapi FILE [CODE...] < EXCHANGES")
	}
	c, err := load(args[0])
	if err != nil {
		return nil, err
	}
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
	return c.wrong, nil
}

// specification is the OpenAPI Initiative's schema of OpenAPI 3.1, as published under its $id (Apache License 2.0).
//
//go:embed oas-3.1.json
var specification []byte

// checker holds the document, and what was found out so far.
type checker struct {
	doc     node
	schemas *jsonschema.Compiler // of the document, which is its one resource
	seen    map[string]bool      // answers, as in "getToken 503", events and error codes
	wrong   []string
}

// The document's name among the compiler's resources.
const document = "http://document/"

// node is an object in the document.
type node = map[string]any

// at follows names to an object, and through a $ref that stands there. Its pointer is what a compiler finds it by.
func (c *checker) at(pointer string) (node, string) {
	found := c.doc
	for name := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		found, _ = found[unescape.Replace(name)].(map[string]any)
	}
	if ref, ok := found["$ref"].(string); ok {
		return c.at(strings.TrimPrefix(ref, "#"))
	}
	return found, pointer
}

// JSON pointers (RFC 6901).
var (
	escape   = strings.NewReplacer("~", "~0", "/", "~1")
	unescape = strings.NewReplacer("~1", "/", "~0", "~")
)

// load reads the document and checks it and its examples.
func load(file string) (*checker, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	c := &checker{schemas: jsonschema.NewCompiler(), seen: map[string]bool{}}
	if err := yaml.Unmarshal(text, &c.doc); err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	if err := c.specified(); err != nil {
		return nil, err
	}
	shut(c.doc)
	plain, err := viaJSON(c.doc)
	if err != nil {
		return nil, err
	}
	c.schemas.AssertFormat()
	if err := c.schemas.AddResource(document, plain); err != nil {
		return nil, err
	}
	c.examples("", c.doc)
	return c, nil
}

// viaJSON is a value of YAML as the schema library wants it.
func viaJSON(v any) (any, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return jsonschema.UnmarshalJSON(bytes.NewReader(text))
}

// specified checks that the document is OpenAPI.
func (c *checker) specified() error {
	compiler := jsonschema.NewCompiler()
	spec, err := jsonschema.UnmarshalJSON(bytes.NewReader(specification))
	if err != nil {
		return err
	}
	if err := compiler.AddResource(document, spec); err != nil {
		return err
	}
	schema, err := compiler.Compile(document)
	if err != nil {
		return err
	}
	plain, err := viaJSON(c.doc)
	if err != nil {
		return err
	}
	if err := schema.Validate(plain); err != nil {
		c.fail("document", "%v", err)
	}
	return nil
}

// shut makes the objects that the document describes take no more than the fields that it names. Its readers are told to
// expect more, for later versions; a field that this version sends belongs into the document.
func shut(v any) {
	switch v := v.(type) {
	case map[string]any:
		if _, named := v["properties"]; named && v["type"] == "object" {
			v["unevaluatedProperties"] = false
		}
		for _, under := range v {
			shut(under)
		}
	case []any:
		for _, under := range v {
			shut(under)
		}
	}
}

// examples checks each example against the schema that it stands in or beside.
func (c *checker) examples(pointer string, n node) {
	if example, ok := n["example"]; ok {
		switch {
		case n["schema"] != nil:
			c.fits(pointer+" example", pointer+"/schema", example)
		default:
			c.fits(pointer+" example", pointer, example)
		}
	}
	for name, under := range n {
		if under, ok := under.(map[string]any); ok && name != "example" {
			c.examples(pointer+"/"+escape.Replace(name), under)
		}
	}
}

// fits checks a value against the schema at a place in the document.
func (c *checker) fits(what any, pointer string, value any) {
	schema, err := c.schemas.Compile(document + "#" + pointer)
	if err != nil {
		c.fail(what, "%v", err)
		return
	}
	plain, err := viaJSON(value)
	if err == nil {
		err = schema.Validate(plain)
	}
	if err != nil {
		c.fail(what, "%v", err)
	}
}

func (c *checker) fail(what any, format string, args ...any) {
	c.wrong = append(c.wrong, fmt.Sprintf("%v: ", what)+fmt.Sprintf(format, args...))
}

// operation is what the document describes for a method and a path.
type operation struct {
	node
	id, pointer string
}

// operations lists all of them with their paths.
func (c *checker) operations(each func(method, path string, op operation)) {
	for path, item := range c.doc["paths"].(map[string]any) {
		for method, under := range item.(map[string]any) {
			if under, ok := under.(map[string]any); ok {
				id, _ := under["operationId"].(string)
				each(method, path, operation{under, id, "/paths/" + escape.Replace(path) + "/" + method})
			}
		}
	}
}

// unseen reports what the document names and no answer showed; some codes can't be had.
func (c *checker) unseen(except []string) {
	want := []string{"event: state", "event: token"}
	c.operations(func(_, _ string, op operation) {
		for status := range op.node["responses"].(map[string]any) {
			if status != "default" {
				want = append(want, op.id+" "+status)
			}
		}
	})
	codes, _ := c.at("/components/schemas/Code")
	for _, code := range codes["enum"].([]any) {
		if !slices.Contains(except, code.(string)) {
			want = append(want, code.(string))
		}
	}
	slices.Sort(want)
	for _, what := range want {
		if !c.seen[what] {
			c.fail(what, "not seen in any answer")
		}
	}
}
