package dcrtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The kinds of faults. With truncated, oversized, lost, delay, missing and types the server acts on the request, so that
// credentials may be issued whose holder never learns of them; with the others it never sees it.
const (
	FaultStatus    = "status"    // answers with Status and a page of HTML
	FaultHTML      = "html"      // a captive portal's page, 200
	FaultRedirect  = "redirect"  // 302 to a captive portal
	FaultTruncated = "truncated" // the connection is cut in the middle of the body
	FaultOversized = "oversized" // the true answer, and more than 1 MiB of padding in it
	FaultHang      = "hang"      // no answer until the client goes
	FaultReset     = "reset"     // the connection is reset instead of an answer
	FaultLost      = "lost"      // the same, but after the server has acted
	FaultError     = "error"     // refuses with Code: 400, or an enhanced error code from the protected APIs
	Fault429       = "429"       // the throttle's answer, with RetryAfter if given
	FaultDelay     = "delay"     // the true answer, Delay late
	FaultMissing   = "missing"   // the true answer without Field
	FaultTypes     = "types"     // the true answer with Field, a value of another type
	FaultGarbage   = "garbage"   // a success whose JSON can't be read
)

// maxDelay is less than what a connection may take to be written to.
const maxDelay = 5 * time.Minute

// Fault is something to go wrong.
type Fault struct {
	Path   string `json:"path"`   // which requests it strikes: register, token, api or all, the default
	Kind   string `json:"kind"`   // one of the constants
	Count  int    `json:"count"`  // how many requests; 0: all until it is cleared
	Status int    `json:"status"` // for status; default 503
	Code   string `json:"code"`   // for error
	// RetryAfter is the header of status and 429, as it is to be sent; "+30s" means the date 30 s ahead of the server's clock.
	RetryAfter string        `json:"retry_after"`
	Field      string        `json:"field"` // for missing and types; default: every field
	Delay      time.Duration `json:"-"`     // before the answer, with any kind
}

// SetFault adds a fault behind those that are set: of those that fit a request the first strikes, until it is used up.
// An error tells what is wrong with the fault.
func (s *Server) SetFault(f Fault) error {
	f, err := f.checked()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, f)
	return nil
}

// ClearFaults ends all faults.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// checked is the fault with its defaults filled in, or what is wrong with it.
func (f Fault) checked() (Fault, error) {
	if f.Path == "" {
		f.Path = "all"
	}
	if f.Kind == FaultStatus && f.Status == 0 {
		f.Status = http.StatusServiceUnavailable
	}
	return f, f.check()
}

func (f Fault) check() error {
	paths := []string{"register", "token", "api", "all"}
	kinds := []string{FaultStatus, FaultHTML, FaultRedirect, FaultTruncated, FaultOversized, FaultHang, FaultReset,
		FaultLost, FaultError, Fault429, FaultDelay, FaultMissing, FaultTypes, FaultGarbage}
	switch {
	case !slices.Contains(paths, f.Path):
		return fmt.Errorf("path %q is not among %s", f.Path, strings.Join(paths, ", "))
	case !slices.Contains(kinds, f.Kind):
		return fmt.Errorf("kind %q is not among %s", f.Kind, strings.Join(kinds, ", "))
	case f.Count < 0:
		return errors.New("count is negative: leave it out to strike until cleared")
	case f.Kind == FaultStatus && (f.Status < 200 || f.Status > 599):
		return fmt.Errorf("status %d is not between 200 and 599", f.Status)
	case f.Kind == FaultError && f.Code == "":
		return errors.New("kind error needs a code")
	case f.Kind == FaultDelay && f.Delay == 0:
		return errors.New("kind delay needs a delay")
	case f.Delay < 0 || f.Delay > maxDelay:
		return fmt.Errorf("delay %v is not between 0 and %v", f.Delay, maxDelay)
	}
	if ahead, ok := strings.CutPrefix(f.RetryAfter, "+"); ok {
		if _, err := time.ParseDuration(ahead); err != nil {
			return fmt.Errorf("retry_after %q is not a + and a duration such as 30s", f.RetryAfter)
		}
	}
	return nil
}

// ParseFault reads a fault from words such as "path=token kind=status status=503 count=2".
func ParseFault(text string) (Fault, error) {
	var f Fault
	for word := range strings.FieldsSeq(text) {
		name, value, _ := strings.Cut(word, "=")
		var err error
		switch name {
		case "path":
			f.Path = value
		case "kind":
			f.Kind = value
		case "code":
			f.Code = value
		case "field":
			f.Field = value
		case "retry_after":
			f.RetryAfter = value
		case "count":
			f.Count, err = strconv.Atoi(value)
		case "status":
			f.Status, err = strconv.Atoi(value)
		case "delay":
			f.Delay, err = time.ParseDuration(value)
		default:
			err = errors.New("there is path, kind, count, status, code, retry_after, field and delay")
		}
		if err != nil {
			return Fault{}, fmt.Errorf("%q: %w", word, err)
		}
	}
	return f.checked()
}

// takeFault uses up one count of the fault that strikes a request; the zero Fault does nothing.
func (s *Server) takeFault(kind string) Fault {
	i := slices.IndexFunc(s.faults, func(f Fault) bool { return f.Path == "all" || f.Path == kind })
	if i < 0 {
		return Fault{}
	}
	f := s.faults[i]
	switch f.Count {
	case 0: // until it is cleared
	case 1:
		s.faults = slices.Delete(s.faults, i, i+1)
	default:
		s.faults[i].Count--
	}
	return f
}

// silent tells whether the client gets no answer at all.
func (f Fault) silent() bool {
	return f.Kind == FaultHang || f.Kind == FaultReset || f.Kind == FaultLost
}

// answerWith is the answer under a fault.
func (s *Server) answerWith(f Fault, c *call) answer {
	switch f.Kind {
	case FaultStatus:
		page := fmt.Sprintf("<html><body><h1>%d %s</h1></body></html>\n", f.Status, http.StatusText(f.Status))
		a := answer{status: f.Status, body: []byte(page)}
		a.header().Set("Content-Type", "text/html")
		return s.retryAfter(a, f)
	case FaultHTML:
		return portal()
	case FaultRedirect:
		a := answer{status: http.StatusFound}
		a.header().Set("Location", portalPath)
		return a
	case FaultHang, FaultReset:
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
		return f.bend(s.answer(c))
	}
}

// retryAfter adds the header to an answer, where the fault has one.
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
	if f.Kind != FaultOversized && f.Kind != FaultMissing && f.Kind != FaultTypes {
		return a
	}
	fields, err := decodeObject(a.body)
	if err != nil {
		return a // a refusal in words
	}
	if f.Kind == FaultOversized {
		fields["padding"] = string(bytes.Repeat([]byte("x"), 1<<20))
	}
	for name, value := range fields {
		switch {
		case f.Field != "" && f.Field != name:
		case f.Kind == FaultMissing:
			delete(fields, name)
		case f.Kind == FaultTypes:
			fields[name] = otherType(value)
		}
	}
	if a.body, err = json.Marshal(fields); err != nil {
		return broken(err)
	}
	return a
}

// otherType is a value of another JSON type.
func otherType(value any) any {
	if _, ok := value.(string); ok {
		return 42
	}
	return "forty-two"
}
