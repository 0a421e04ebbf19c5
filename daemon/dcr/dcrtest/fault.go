package dcrtest

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Vacant is an address that refuses connections: only root may listen on its
// port, and nobody does.
const Vacant = "127.0.0.1:1"

// The kinds of faults. With the first group the server never acts on the
// request. With the second it does: credentials may be issued whose holder
// never learns of them.
const (
	FaultStatus   = "status"   // answers with Status and a page of HTML
	FaultHTML     = "html"     // a captive portal's page, 200
	FaultRedirect = "redirect" // 302 to a captive portal
	FaultHang     = "hang"     // no answer until the client goes
	FaultReset    = "reset"    // the connection is reset instead of an answer
	FaultClose    = "close"    // the connection is closed instead of an answer
	FaultError    = "error"    // refuses with Code: 400, or an enhanced error code from the protected APIs
	Fault429      = "429"      // the throttle's answer, with RetryAfter if given
	FaultGarbage  = "garbage"  // a success whose JSON can't be read

	FaultLost       = "lost"       // the connection is reset after the server has acted
	FaultTruncated  = "truncated"  // the connection is cut in the middle of the body
	FaultOversized  = "oversized"  // the true answer, and more than 1 MiB of padding in it
	FaultDelay      = "delay"      // the true answer, Delay late
	FaultDrip       = "drip"       // the true answer, a byte at a time, Delay apart
	FaultMissing    = "missing"    // the true answer without Field
	FaultTypes      = "types"      // the true answer with Field, a value of another type
	FaultValue      = "value"      // the true answer with Field of the JSON in Value
	FaultLong       = "long"       // the true answer with Field, a string of Size letters
	FaultGzip       = "gzip"       // the true answer, compressed
	FaultUnlabelled = "unlabelled" // the same without a Content-Encoding
	FaultLabel      = "label"      // the true answer with the Content-Encoding in Code, to which it does not keep
	FaultBOM        = "bom"        // the true answer behind a byte order mark
)

var faultKinds = []string{
	FaultStatus, FaultHTML, FaultRedirect, FaultHang, FaultReset, FaultClose, FaultError, Fault429, FaultGarbage,
	FaultLost, FaultTruncated, FaultOversized, FaultDelay, FaultDrip, FaultMissing, FaultTypes, FaultValue, FaultLong,
	FaultGzip, FaultUnlabelled, FaultLabel, FaultBOM,
}

// maxDelay is less than the time that a connection may take to be written to.
const maxDelay = 5 * time.Minute

// Fault is something to go wrong.
type Fault struct {
	// Path says which requests it strikes: register, token, api, one operation
	// of the protected APIs as [Request] names it, or all, the default. With
	// tls it strikes the ClientHello of a connection (see [Server.Listener]);
	// of the kinds there are hang, reset and close then.
	Path   string `json:"path"`
	Kind   string `json:"kind"`   // one of the constants
	Count  int    `json:"count"`  // how many requests; 0: all until it is cleared
	Status int    `json:"status"` // for status; default 503
	Code   string `json:"code"`   // for error and label
	// RetryAfter is the header of status and 429, word for word; "+30s" means
	// the date 30 s ahead of the server's clock.
	RetryAfter string          `json:"retry_after"`
	Field      string          `json:"field"` // for missing, types, value and long; default: every field
	Value      json.RawMessage `json:"value"` // for value
	Size       int             `json:"size"`  // for long; with tls, strikes only a ClientHello of more bytes
	Delay      time.Duration   `json:"-"`     // before the answer, with any kind
}

// SetFault adds a fault behind those that are set: of those that fit a request
// the first strikes, until it is used up. An error says what is wrong with the
// fault.
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

// checked returns the fault with its defaults, and what is wrong with it.
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
	paths := slices.Concat([]string{"register", "token", "api", "all", "tls"}, operationNames())
	switch {
	case !slices.Contains(paths, f.Path):
		return fmt.Errorf("path %q is not among %s", f.Path, strings.Join(paths, ", "))
	case !slices.Contains(faultKinds, f.Kind):
		return fmt.Errorf("kind %q is not among %s", f.Kind, strings.Join(faultKinds, ", "))
	case f.Path == "tls" && f.Kind != FaultHang && f.Kind != FaultReset && f.Kind != FaultClose:
		return fmt.Errorf("kind %q does not exist with path tls", f.Kind)
	case f.Count < 0:
		return errors.New("count is negative: leave it out to strike until cleared")
	case f.Kind == FaultStatus && (f.Status < 200 || f.Status > 599):
		return fmt.Errorf("status %d is not between 200 and 599", f.Status)
	case (f.Kind == FaultError || f.Kind == FaultLabel) && f.Code == "":
		return fmt.Errorf("kind %s needs a code", f.Kind)
	case (f.Kind == FaultDelay || f.Kind == FaultDrip) && f.Delay == 0:
		return fmt.Errorf("kind %s needs a delay", f.Kind)
	case f.Kind == FaultValue && !json.Valid(f.Value):
		return errors.New("kind value needs a value that is JSON")
	case f.Kind == FaultLong && f.Size <= 0 || f.Size < 0:
		return errors.New("kind long needs a size above zero")
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

// ParseFault reads a fault from words such as "path=token kind=status
// status=503 count=2".
func ParseFault(text string) (Fault, error) {
	var f Fault
	err := readWords(text, func(set *flag.FlagSet) {
		set.StringVar(&f.Path, "path", "", "")
		set.StringVar(&f.Kind, "kind", "", "")
		set.StringVar(&f.Code, "code", "", "")
		set.StringVar(&f.Field, "field", "", "")
		set.StringVar(&f.RetryAfter, "retry_after", "", "")
		set.IntVar(&f.Count, "count", 0, "")
		set.IntVar(&f.Status, "status", 0, "")
		set.IntVar(&f.Size, "size", 0, "")
		set.DurationVar(&f.Delay, "delay", 0, "")
		set.Func("value", "", func(value string) error { f.Value = json.RawMessage(value); return nil })
	})
	if err != nil {
		return Fault{}, err
	}
	return f.checked()
}

// takeFault uses up one count of the first fault that strikes; the zero Fault
// does nothing.
func (s *Server) takeFault(strikes func(Fault) bool) Fault {
	return take(&s.faults, strikes, func(f *Fault) *int { return &f.Count })
}

// silent reports whether the client gets no answer at all.
func (f Fault) silent() bool {
	return slices.Contains([]string{FaultHang, FaultReset, FaultClose, FaultLost}, f.Kind)
}
