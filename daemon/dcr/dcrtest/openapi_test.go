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
	var doc openapi
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	p := newPlayer(t)
	code := p.call("POST REF30/sessions", signIn, 200)["code"].(string)
	saml := "SAMLResponse=" + base64.RawURLEncoding.EncodeToString([]byte("saml"))
	var described []string
	check := func(call, path, body string) {
		t.Helper()
		method, _, _ := strings.Cut(call, " ")
		described = append(described, method+" "+path)
		w := p.send(p.request(call, body))
		status := strconv.Itoa(w.Code)
		if w.Code == 201 { // the prose pages say so, the file has 200
			status = "200"
		}
		response, ok := doc.Paths[path][strings.ToLower(method)].Responses[status]
		if !ok {
			t.Errorf("%s: status %d is not described", call, w.Code)
		}
		if content, ok := response.Content["application/json"]; ok && w.Body.Len() > 0 {
			if why := doc.misfit(content.Schema, object(t, w), "answer"); why != "" {
				t.Errorf("%s: %s", call, why)
			}
		}
	}
	const provider = "/{serviceProvider}"
	rounds := func() {
		check("GET REF30/configuration", provider+"/configuration", "")
		check("POST REF30/sessions/"+code, provider+"/sessions/{code}", "mvpd=Cablevision")
		check("GET REF30/sessions/"+code, provider+"/sessions/{code}", "")
		check("GET authenticate/REF30/"+code, "/authenticate/{serviceProvider}/{code}", "")
		check("GET REF30/profiles", provider+"/profiles", "")
		check("GET REF30/profiles/Cablevision", provider+"/profiles/{mvpd}", "")
		check("GET REF30/profiles/code/"+code, provider+"/profiles/code/{code}", "")
		check(
			"POST REF30/decisions/preauthorize/TempPass_SIM",
			provider+"/decisions/preauthorize/{mvpd}",
			`{"resources":["a","denied"]}`,
		)
		check(
			"POST REF30/decisions/authorize/TempPass_SIM",
			provider+"/decisions/authorize/{mvpd}",
			`{"resources":["a","denied"]}`,
		)
		check("GET REF30/logout/Cablevision", provider+"/logout/{mvpd}", "")
	}
	rounds()
	if err := p.SignIn(code, "Cablevision"); err != nil {
		t.Fatal(err)
	}
	rounds()
	check("POST REF30/profiles/sso/Apple", provider+"/profiles/sso/{partner}", saml)
	check("POST REF30/sessions/sso/Apple", provider+"/sessions/sso/{partner}", "domainName=a&redirectUrl=b:c")
	check("POST REF30/sessions", provider+"/sessions", signIn)
	check("GET REF30/profiles/NoSuchTV", provider+"/profiles/{mvpd}", "")
	p.access = "x"
	check("GET REF30/profiles", provider+"/profiles", "")
	for path, methods := range doc.Paths {
		for method := range methods {
			if call := strings.ToUpper(method) + " " + path; !slices.Contains(described, call) {
				t.Errorf("%s is not simulated", call)
			}
		}
	}
}
