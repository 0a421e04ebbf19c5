package dcrtest_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// openapi is as much of an OpenAPI document as these tests read.
type openapi struct {
	Paths map[string]map[string]struct {
		Responses map[string]struct {
			Content map[string]struct{ Schema schema }
		}
	}
	Components struct{ Schemas map[string]schema }
}

type schema struct {
	Ref                  string `json:"$ref"`
	Type                 string
	Required             []string
	Properties           map[string]schema
	AdditionalProperties *schema
	Items                *schema
}

// misfit returns where a value differs from a schema, "" if nowhere. Properties
// that the schema does not name are allowed.
func (doc openapi) misfit(s schema, v any, where string) string {
	if name, ok := strings.CutPrefix(s.Ref, "#/components/schemas/"); ok {
		return doc.misfit(doc.Components.Schemas[name], v, where)
	}
	if s.Type == "object" && len(s.Properties) == 0 && s.AdditionalProperties == nil {
		return "" // nothing is known of it
	}
	switch value := v.(type) {
	case map[string]any:
		for _, name := range s.Required {
			if _, ok := value[name]; !ok {
				return where + "." + name + " is missing"
			}
		}
		for name, field := range value {
			property, ok := s.Properties[name]
			if !ok && s.AdditionalProperties != nil {
				property, ok = *s.AdditionalProperties, true
			}
			if ok {
				if why := doc.misfit(property, field, where+"."+name); why != "" {
					return why
				}
			}
		}
	case []any:
		if s.Type != "array" {
			return where + " is a list"
		}
		for i, item := range value {
			if why := doc.misfit(*s.Items, item, where+"["+strconv.Itoa(i)+"]"); why != "" {
				return why
			}
		}
	case string, bool, float64:
		kind := map[string]string{"string": "string", "bool": "boolean", "float64": "integer"}[fmt.Sprintf("%T", v)]
		if s.Type != kind {
			return fmt.Sprintf("%s is a %s, not a %s", where, kind, s.Type)
		}
	}
	return ""
}

// described is a player whose calls are compared with a description of the API.
type described struct {
	*player
	t     *testing.T
	doc   openapi
	calls []string // methods and paths that were compared
}

// check makes a call, which the description has under path.
func (d *described) check(call, path, body string) {
	d.t.Helper()
	method, _, _ := strings.Cut(call, " ")
	d.calls = append(d.calls, method+" "+path)
	w := d.send(d.request(call, body))
	status := strconv.Itoa(w.Code)
	if w.Code == 201 { // the prose pages say so, the file has 200
		status = "200"
	}
	response, ok := d.doc.Paths[path][strings.ToLower(method)].Responses[status]
	if !ok {
		d.t.Errorf("%s: status %d is not described", call, w.Code)
	}
	if content, ok := response.Content["application/json"]; ok && w.Body.Len() > 0 {
		if why := d.doc.misfit(content.Schema, object(d.t, w), "answer"); why != "" {
			d.t.Errorf("%s: %s", call, why)
		}
	}
}

const provider = "/{serviceProvider}"

// round makes the calls that answer something else before a sign-in than after it.
func (d *described) round(code string) {
	d.t.Helper()
	const resources = `{"resources":["a","denied"]}`
	d.check("GET REF30/configuration", provider+"/configuration", "")
	d.check("POST REF30/sessions/"+code, provider+"/sessions/{code}", "mvpd=Cablevision")
	d.check("GET REF30/sessions/"+code, provider+"/sessions/{code}", "")
	d.check("GET authenticate/REF30/"+code, "/authenticate/{serviceProvider}/{code}", "")
	d.check("GET REF30/profiles", provider+"/profiles", "")
	d.check("GET REF30/profiles/Cablevision", provider+"/profiles/{mvpd}", "")
	d.check("GET REF30/profiles/code/"+code, provider+"/profiles/code/{code}", "")
	d.check("POST REF30/decisions/preauthorize/TempPass_SIM", provider+"/decisions/preauthorize/{mvpd}", resources)
	d.check("POST REF30/decisions/authorize/TempPass_SIM", provider+"/decisions/authorize/{mvpd}", resources)
	d.check("GET REF30/logout/Cablevision", provider+"/logout/{mvpd}", "")
}

// The answers are as Adobe's own description has them. The file is not part of
// this repository.
func TestAdobesDescription(t *testing.T) {
	path := os.Getenv("TVPASSD_ADOBE_V2")
	if path == "" {
		path = "../../../../shared/adobe-openapi/restApiV2.json"
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Skipf("set TVPASSD_ADOBE_V2 to the path of Adobe's restApiV2.json: %v", err)
	}
	d := &described{player: newPlayer(t), t: t}
	if err := json.Unmarshal(raw, &d.doc); err != nil {
		t.Fatal(err)
	}
	code := d.call("POST REF30/sessions", signIn, 200)["code"].(string)
	d.round(code)
	if err := d.SignIn(code, "Cablevision"); err != nil {
		t.Fatal(err)
	}
	d.round(code)
	saml := "SAMLResponse=" + base64.RawURLEncoding.EncodeToString([]byte("saml"))
	d.check("POST REF30/profiles/sso/Apple", provider+"/profiles/sso/{partner}", saml)
	d.check("POST REF30/sessions/sso/Apple", provider+"/sessions/sso/{partner}", "domainName=a&redirectUrl=b:c")
	d.check("POST REF30/sessions", provider+"/sessions", signIn)
	d.check("GET REF30/profiles/NoSuchTV", provider+"/profiles/{mvpd}", "")
	d.access = "x"
	d.check("GET REF30/profiles", provider+"/profiles", "")
	for path, methods := range d.doc.Paths {
		for method := range methods {
			if call := strings.ToUpper(method) + " " + path; !slices.Contains(d.calls, call) {
				t.Errorf("%s is not simulated", call)
			}
		}
	}
}
