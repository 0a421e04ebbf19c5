package gateway

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"github.com/tvpassd/tvpassd/daemon/dcr"
	"github.com/tvpassd/tvpassd/daemon/throttle"
	"github.com/tvpassd/tvpassd/ipc"
)

// passed are the headers of an answer that a player gets. The first two net/http
// adds unless they are set to nothing.
var passed = [...]string{
	"Content-Type", "Date", "Content-Encoding", "Content-Language", "Retry-After", cacheControl, "Etag",
	"Www-Authenticate", "X-Request-Id",
}

const cacheControl = "Cache-Control"

// set is [http.Header.Set] for a name in canonical form.
func set(h http.Header, name, value string) { h[name] = []string{value} }

// maxPart is how much of an answer's body is passed on at a time, in bytes.
const maxPart = 16 << 10

// pass writes the server's answer to a player as it comes.
func (c *call) pass(w http.ResponseWriter, resp *http.Response) error {
	status := resp.StatusCode
	if class := status / 100; class < 2 || class == 3 || class > 5 {
		return c.failed(w.Header(), &dcr.Error{Kind: dcr.ServerError, Sent: true, Detail: "the server answers HTTP " +
			strconv.Itoa(status) + ", which is not followed: a captive portal, or a wrong endpoint"})
	}
	h := w.Header()
	for i, name := range passed {
		if values := resp.Header[name]; values != nil || i < 2 {
			h[name] = values
		}
	}
	if h[cacheControl] == nil {
		set(h, cacheControl, "no-store")
	}
	if resp.ContentLength >= 0 && status != http.StatusNoContent {
		set(h, "Content-Length", strconv.FormatInt(resp.ContentLength, 10))
	}
	set(h, "Proxy-Status", "tvpassd; received-status="+strconv.Itoa(status))
	set(h, "Tvpassd-Endpoint", c.endpoint)
	c.outcome.Result = string('0'+byte(status/100)) + "xx"
	w.WriteHeader(status)
	c.copyBody(w, resp)
	return nil
}

// copyBody passes a body on. If it is cut short, so is the answer to the player:
// no text of the daemon's may follow the server's.
func (c *call) copyBody(w http.ResponseWriter, resp *http.Response) {
	size := int64(maxPart)
	if resp.ContentLength >= 0 {
		size = min(size, resp.ContentLength+1) // one more, so that the last read finds the end
	}
	part := make([]byte, size)
	for passed := int64(0); ; {
		n, err := resp.Body.Read(part)
		passed += int64(n)
		if _, gone := w.Write(part[:n]); gone != nil {
			c.outcome.Result = resultLeft
			return
		}
		switch {
		case err == io.EOF:
			return
		case err != nil:
			c.outcome.Result = resultServerError
			if c.ctx.Err() != nil {
				c.outcome.Result = resultLeft
			}
			if c.chunks || resp.ContentLength >= 0 { // else a header alone says that the body is empty
				_ = http.NewResponseController(w).Flush() // what there is
			}
			panic(http.ErrAbortHandler)
		case n > 0 && passed != resp.ContentLength:
			_ = http.NewResponseController(w).Flush() // the next write has the error
		}
	}
}

// failed returns what a player is told about a call without an answer, and adds
// the header Proxy-Status (RFC 9209).
func (c *call) failed(h http.Header, err error) error {
	var p *ipc.Problem
	kind := "proxy_internal_error"
	c.outcome.Result = resultNoToken
	shut, isShut := errors.AsType[*throttle.ShutError](err)
	failure, isFailure := errors.AsType[*dcr.Error](err)
	switch {
	case c.ctx.Err() != nil:
		p = ipc.NewProblem(ipc.CodeNotReady, "tvpassd is stopping: ask again once it is back")
		p.RetryAfterMS = 1000
		c.outcome.Result = resultLeft
	case isShut:
		p = ipc.NewProblem(ipc.CodeThrottled,
			shut.Error()+": ask again then, or wait longer with Prefer: wait=SECONDS")
		p.RetryAfterMS = (shut.RetryAfter + time.Millisecond - 1).Milliseconds()
		c.outcome.Result, kind = resultThrottled, "connection_limit_reached"
	case isFailure:
		p = ipc.NewProblem(failure.Kind.String(), failure.Detail)
		if failure.Kind == dcr.Offline {
			p.RetryAfterMS = 1000
		}
		c.outcome.Result, kind = p.Code, proxyError(failure)
	default:
		if p, _ = errors.AsType[*ipc.Problem](err); p == nil || !c.noToken {
			return err // a bug, or a reload has changed what the player may
		}
	}
	p.Sent = new(c.sent)
	set(h, "Proxy-Status", "tvpassd; error="+kind)
	return p
}

// proxyError returns the proxy error type of a failure on the way.
func proxyError(e *dcr.Error) string {
	_, lookup := errors.AsType[*dcr.LookupError](e)
	_, blocked := errors.AsType[*dcr.BlockedError](e)
	_, certificate := errors.AsType[*tls.CertificateVerificationError](e)
	_, plain := errors.AsType[tls.RecordHeaderError](e)
	op, isOp := errors.AsType[*net.OpError](e)
	late, isLate := errors.AsType[net.Error](e)
	cut := errors.Is(e, io.EOF) || errors.Is(e, io.ErrUnexpectedEOF) || errors.Is(e, syscall.ECONNRESET) ||
		errors.Is(e, syscall.EPIPE)
	switch {
	case e.Kind == dcr.Timeout:
		return "http_response_timeout"
	case e.Kind == dcr.ServerError && cut:
		return "http_response_incomplete"
	case e.Kind == dcr.ServerError:
		return "http_protocol_error"
	case lookup || blocked:
		return "dns_error"
	case certificate:
		return "tls_certificate_error"
	case isOp && op.Op == "remote error": // as crypto/tls names an alert
		return "tls_alert_received"
	case plain:
		return "tls_protocol_error"
	case isLate && late.Timeout():
		return "connection_timeout"
	case errors.Is(e, syscall.ECONNREFUSED):
		return "connection_refused"
	case cut:
		return "connection_terminated"
	}
	return "destination_unavailable"
}
