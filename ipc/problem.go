package ipc

import (
	"net/http"
	"time"
)

// Values of Problem.Code.
const (
	CodeUnknownApp       = "unknown_app"        // no such app; told to admins only
	CodeForbidden        = "forbidden"          // the caller may not use this app, or it is for admins
	CodeAmbiguousApp     = "ambiguous_app"      // no app was named, and the caller may use several, or none
	CodeInvalidParameter = "invalid_parameter"  // a query or body that can't be read
	CodeNotFound         = "not_found"          // no such path
	CodeMethodNotAllowed = "method_not_allowed" // not for this path
	CodeTooLarge         = "too_large"          // the body
	CodeNotReady         = "not_ready"          // no token yet, and nothing has failed yet
	CodeThrottled        = "throttled"          // the server's throttle is closed and no valid token is at hand
	CodeOffline          = "offline"            // the server can't be reached, or its certificate is not to be trusted
	CodeServerError      = "server_error"       // the server answers, but not as it should
	CodeRejected         = "rejected"           // the server refuses this app; Problem.ServerCode says why
	CodeClockUnset       = "clock_unset"        // the clock is before the build date
	CodeTooManyRequests  = "too_many_requests"  // too many connections, or refreshes in a row
	CodeStorage          = "storage"            // new credentials could not be kept, so none are requested
	CodeInternal         = "internal"           // a fault of the daemon's own; its log says more

	CodeInvalidConfiguration = "invalid_configuration" // a reload found faults; the old configuration stays in force
)

// Problem is how the daemon says no: the body of RFC 9457, and an error whose type is *Problem.
type Problem struct {
	Title        string `json:"title"`
	Status       int    `json:"status"` // of HTTP
	Detail       string `json:"detail"`
	Code         string `json:"code"`
	ServerCode   string `json:"server_code,omitempty"`    // what the server said, where Code is CodeRejected
	RetryAfterMS int64  `json:"retry_after_ms,omitempty"` // where a retry makes sense
}

// NewProblem makes a problem with the title and the HTTP status that belong to code.
func NewProblem(code, detail string) *Problem {
	title, status := describe(code)
	return &Problem{Title: title, Status: status, Detail: detail, Code: code}
}

// Error says what happened, for a person.
func (p *Problem) Error() string {
	code := p.Code
	if p.ServerCode != "" {
		code += " (" + p.ServerCode + ")"
	}
	if p.Detail == "" {
		return code
	}
	return code + ": " + p.Detail
}

// RetryAfter is how long to wait before a retry makes sense; 0 where nothing is known.
func (p *Problem) RetryAfter() time.Duration { return time.Duration(p.RetryAfterMS) * time.Millisecond }

func describe(code string) (title string, status int) {
	switch code {
	case CodeUnknownApp:
		return "No such app", http.StatusNotFound
	case CodeForbidden:
		return "Not allowed", http.StatusForbidden
	case CodeAmbiguousApp:
		return "Which app?", http.StatusConflict
	case CodeInvalidParameter:
		return "The request can't be read", http.StatusBadRequest
	case CodeNotFound:
		return "No such path", http.StatusNotFound
	case CodeMethodNotAllowed:
		return "Method not allowed", http.StatusMethodNotAllowed
	case CodeTooLarge:
		return "The body is too large", http.StatusRequestEntityTooLarge
	case CodeNotReady:
		return "No token yet", http.StatusServiceUnavailable
	case CodeThrottled:
		return "The server's throttle is closed", http.StatusServiceUnavailable
	case CodeOffline:
		return "The server can't be reached", http.StatusServiceUnavailable
	case CodeServerError:
		return "The server answers wrongly", http.StatusServiceUnavailable
	case CodeRejected:
		return "The server refuses this app", http.StatusBadGateway
	case CodeClockUnset:
		return "The clock is not set", http.StatusServiceUnavailable
	case CodeTooManyRequests:
		return "Too many requests", http.StatusTooManyRequests
	case CodeStorage:
		return "State can't be kept", http.StatusInternalServerError
	case CodeInvalidConfiguration:
		return "The configuration is refused", http.StatusUnprocessableEntity
	default:
		return "Internal error", http.StatusInternalServerError
	}
}
