package dcrtest

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// answerWith returns the answer to a call under a fault.
func (s *Server) answerWith(f Fault, c *call) answer {
	switch f.Kind {
	case FaultStatus:
		page := fmt.Sprintf("<html><body><h1>%d %s</h1></body></html>\n", f.Status, http.StatusText(f.Status))
		return s.retryAfter(htmlAnswer(f.Status, page), f)
	case FaultHTML:
		return portal()
	case FaultRedirect:
		return found(portalPath)
	case FaultHang, FaultReset, FaultClose:
		return answer{}
	case FaultError:
		if c.kind == "api" {
			return s.refuseAPI(f.Code, "a fault is set")
		}
		return refuse(f.Code, "a fault is set")
	case Fault429:
		return s.retryAfter(s.tooMany("a fault is set"), f)
	case FaultGarbage:
		a := jsonAnswer(http.StatusOK, nil)
		a.status, a.body = http.StatusCreated, []byte(`{"access_token": "half of a`)
		return a
	default:
		return f.encode(f.bend(s.answer(c)))
	}
}

// retryAfter adds the fault's Retry-After to an answer.
func (s *Server) retryAfter(a answer, f Fault) answer {
	value := f.RetryAfter
	if ahead, ok := strings.CutPrefix(value, "+"); ok {
		d, err := time.ParseDuration(ahead)
		if err != nil {
			return broken(err)
		}
		value = s.now().Add(d).UTC().Format(http.TimeFormat)
	}
	if value != "" {
		a.header().Set("Retry-After", value)
	}
	return a
}

// bend changes the fields of a true answer.
func (f Fault) bend(a answer) answer {
	change := f.change()
	if change == nil && f.Kind != FaultOversized {
		return a
	}
	fields, err := decodeObject(a.body)
	if err != nil {
		return a // a refusal in words
	}
	if f.Kind == FaultOversized {
		fields["padding"] = strings.Repeat("x", 1<<20)
	}
	if change != nil && f.Field != "" {
		change(fields, f.Field)
	} else if change != nil {
		for name := range fields {
			change(fields, name)
		}
	}
	if a.body, err = json.Marshal(fields); err != nil {
		return broken(err)
	}
	return a
}

// change returns what a fault does to a field of an answer; nil if it leaves
// them alone.
func (f Fault) change() func(fields map[string]any, name string) {
	switch f.Kind {
	case FaultMissing:
		return func(fields map[string]any, name string) { delete(fields, name) }
	case FaultTypes:
		return func(fields map[string]any, name string) { fields[name] = otherType(fields[name]) }
	case FaultValue:
		return func(fields map[string]any, name string) { fields[name] = f.Value }
	case FaultLong:
		return func(fields map[string]any, name string) { fields[name] = strings.Repeat("x", f.Size) }
	}
	return nil
}

// otherType returns a value of another JSON type.
func otherType(value any) any {
	if _, ok := value.(string); ok {
		return 42
	}
	return "forty-two"
}

// encode changes how the body of a true answer is encoded.
func (f Fault) encode(a answer) answer {
	switch f.Kind {
	case FaultGzip, FaultUnlabelled:
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		if _, err := w.Write(a.body); err != nil {
			return broken(err)
		}
		if err := w.Close(); err != nil {
			return broken(err)
		}
		a.body = b.Bytes()
		if f.Kind == FaultGzip {
			a.header().Set("Content-Encoding", "gzip")
		}
	case FaultLabel:
		a.header().Set("Content-Encoding", f.Code)
	case FaultBOM:
		a.body = append([]byte("\ufeff"), a.body...)
	}
	return a
}
