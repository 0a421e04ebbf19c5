package ipc

import (
	"net/http"
	"time"
)

// Values of [Problem.Code].
const (
	CodeUnknownApp           = "unknown_app"           // no such app; told to admins only
	CodeForbidden            = "forbidden"             // the caller may not use this app, or it is for admins
	CodeAmbiguousApp         = "ambiguous_app"         // no app was named, and the caller may use several, or none
	CodeInvalidParameter     = "invalid_parameter"     // a request, query or body that can't be read
	CodeNotFound             = "not_found"             // no such path
	CodeMethodNotAllowed     = "method_not_allowed"    // not for this path
	CodeTooLarge             = "too_large"             // the body, or the headers
	CodeNotReady             = "not_ready"             // no token yet, and nothing has failed yet
	CodeThrottled            = "throttled"             // the server's throttle is closed and there is no valid token
	CodeOffline              = "offline"               // the server can't be reached, or its certificate is not trusted
	CodeServerError          = "server_error"          // the server answers, but not as it should
	CodeRejected             = "rejected"              // the server refuses this app; Problem.ServerCode says why
	CodeClockUnset           = "clock_unset"           // the clock is before the build date
	CodeTooManyRequests      = "too_many_requests"     // too many connections, bodies, reports or refreshes
	CodeTimeout              = "timeout"               // the gateway: no answer from the server in time
	CodeNotForGateway        = "not_for_gateway"       // the gateway: a path to open in a browser
	CodeStorage              = "storage"               // new credentials could not be kept, so none are requested
	CodeInvalidConfiguration = "invalid_configuration" // a reload found faults; the old configuration stays in force
	CodeInternal             = "internal"              // a bug in the daemon; its log says more
)

// problems are the title and the HTTP status of each code.
var problems = [...]struct {
	code, title string
	status      int
}{
	{CodeUnknownApp, "No such app", http.StatusNotFound},
	{CodeForbidden, "Not allowed", http.StatusForbidden},
	{CodeAmbiguousApp, "Which app?", http.StatusConflict},
	{CodeInvalidParameter, "The request can't be read", http.StatusBadRequest},
	{CodeNotFound, "No such path", http.StatusNotFound},
	{CodeMethodNotAllowed, "Method not allowed", http.StatusMethodNotAllowed},
	{CodeTooLarge, "The request is too large", http.StatusRequestEntityTooLarge},
	{CodeNotReady, "No token yet", http.StatusServiceUnavailable},
	{CodeThrottled, "The server's throttle is closed", http.StatusServiceUnavailable},
	{CodeOffline, "The server can't be reached", http.StatusServiceUnavailable},
	{CodeServerError, "The server answers wrongly", http.StatusServiceUnavailable},
	{CodeRejected, "The server refuses this app", http.StatusBadGateway},
	{CodeClockUnset, "The clock is not set", http.StatusServiceUnavailable},
	{CodeTooManyRequests, "Too many requests", http.StatusTooManyRequests},
	{CodeTimeout, "The server did not answer in time", http.StatusGatewayTimeout},
	{CodeNotForGateway, "Not for the gateway", http.StatusBadRequest},
	{CodeStorage, "State can't be kept", http.StatusInternalServerError},
	{CodeInvalidConfiguration, "The configuration is refused", http.StatusUnprocessableEntity},
	{CodeInternal, "Internal error", http.StatusInternalServerError},
}

// Problem is an error that the daemon answers with: the body of RFC 9457. As an
// error its type is *Problem.
type Problem struct {
	Title        string `json:"title"`
	Status       int    `json:"status"` // of HTTP
	Detail       string `json:"detail"`
	Code         string `json:"code"`
	ServerCode   string `json:"server_code,omitempty"`    // what the server said, if Code is CodeRejected
	RetryAfterMS int64  `json:"retry_after_ms,omitempty"` // when to retry; 0 if that is not known or pointless

	// Sent is set in the gateway's problems: false means that not a byte of the
	// request has left for the server, so repeating it is safe.
	Sent *bool `json:"sent,omitempty"`
}

// NewProblem returns a problem with the title and the HTTP status of code. A
// code that this package does not define has those of [CodeInternal].
func NewProblem(code, detail string) *Problem {
	of := problems[len(problems)-1]
	for _, p := range problems {
		if p.code == code {
			of = p
			break
		}
	}
	return &Problem{Title: of.title, Status: of.status, Detail: detail, Code: code}
}

// Error returns the code and the detail.
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

// RetryAfter returns how long to wait before a retry, 0 if that is not known.
func (p *Problem) RetryAfter() time.Duration { return time.Duration(p.RetryAfterMS) * time.Millisecond }
