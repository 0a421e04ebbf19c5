package dcr

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Kind sorts failures by what the caller can do about them.
type Kind int

const (
	Offline     Kind = iota // no answer from a server that can be trusted
	Throttled               // 429
	ServerError             // an answer, but not one that the protocol knows
	Rejected                // the server refuses, with a code
	Timeout                 // no answer in time, though the request has left; of Send only
)

// kinds are the names of the kinds: the codes of the socket's errors, which
// this package must not know.
var kinds = [...]string{
	Offline: "offline", Throttled: "throttled", ServerError: "server_error", Rejected: "rejected", Timeout: "timeout",
}

// String returns the kind's name.
func (k Kind) String() string { return kinds[k] }

// Error says why a call failed. It holds no secret, and nothing of the answer
// but the server's code.
type Error struct {
	Kind       Kind
	Status     int           // HTTP; 0 without an answer
	ServerCode string        // with Rejected
	RetryAfter time.Duration // as the server asked; 0 if it did not
	Detail     string        // for people
	Date       time.Time     // as in Credentials
	Sent       bool          // a byte of the request may have left; with Send only
	err        error
}

func (e *Error) Error() string { return e.Kind.String() + ": " + e.Detail }

func (e *Error) Unwrap() error { return e.err }

// noAnswer describes an error of the network for a technician. p is how far the
// exchange came.
func (c *Client) noAnswer(err error, p *progress) *Error {
	if e, ok := err.(*Error); ok {
		return e
	}
	host, between := c.endpoint.Host, "something on the way interrupts TLS, such as a firewall, a filter or a router"
	switch {
	case p.via == nil:
	case p.tunneled():
		host, between = host+" (through the proxy)", "the proxy or something behind it interrupts TLS"
	default:
		host = "the proxy that [http] proxy or HTTPS_PROXY names"
	}
	e := &Error{Kind: Offline, err: err}
	for _, words := range []string{c.pathTrouble(host, err, p), certificateTrouble(host, err)} {
		if words != "" {
			e.Detail = words
			return e
		}
	}
	timeout, isNet := errors.AsType[net.Error](err)
	errno, isErrno := errors.AsType[syscall.Errno](err)
	op, isOp := errors.AsType[*net.OpError](err)
	late := errors.Is(err, context.DeadlineExceeded) || isNet && timeout.Timeout()
	switch {
	case late && p.shaking.Load():
		e.Detail = fmt.Sprintf("%s takes connections, but does not finish the TLS handshake within %v: %s",
			host, c.timeout, between)
	case late:
		e.Detail = fmt.Sprintf("%s did not answer within %v: check the network", host, c.timeout)
	case errors.Is(err, context.Canceled):
		e.Detail = "the call was given up"
	case p.answered.Load():
		e.Kind = ServerError
		e.Detail = fmt.Sprintf("the answer of %s is cut short, or is not HTTP: check what stands between", host)
	case isOp && op.Op == "remote error": // an alert of TLS
		e.Detail = fmt.Sprintf("%s refuses TLS as this device speaks it (%v): check the endpoint, or what stands between",
			host, op.Err)
	case p.shaking.Load():
		e.Detail = fmt.Sprintf("%s takes connections, but the TLS handshake breaks off (%s): %s",
			host, errnoOf(err), between)
	case p.begun.Load() && isErrno, errors.Is(err, io.EOF):
		e.Detail = fmt.Sprintf("%s closed the connection without an answer", host)
	case isErrno:
		e.Detail = fmt.Sprintf("%s can't be reached (%v): check the network", host, errno)
	case isOp && strings.HasPrefix(op.Op, "socks"):
		e.Detail = fmt.Sprintf("the proxy refuses to connect to %s (%v): check [http] proxy, or HTTPS_PROXY",
			c.endpoint.Host, op.Err)
	case !p.tunneled():
		e.Detail = fmt.Sprintf("%s does not answer as a proxy does: check its scheme, host and port", host)
	default:
		e.Detail = fmt.Sprintf("no answer from %s: %v", host, err)
	}
	return e
}

// pathTrouble describes what is wrong on the way to a server; "" if that is not
// the trouble.
func (c *Client) pathTrouble(host string, err error, p *progress) string {
	if blocked, ok := errors.AsType[*BlockedError](err); ok {
		return blocked.Error() + ": " + blocked.Advice()
	}
	if lookup, ok := errors.AsType[*LookupError](err); ok {
		of := ""
		if p.via != nil {
			of = " of the proxy"
		}
		return fmt.Sprintf("the name %s%s can't be resolved: %s: check the network and its DNS server",
			lookup.Host, of, lookup.Reason)
	}
	if refusal, ok := errors.AsType[*ProxyRefusal](err); ok {
		check := ""
		if refusal.Status == http.StatusProxyAuthRequired {
			check = "the user and password in "
		}
		return fmt.Sprintf("the proxy refuses to connect to %s (HTTP %d): check %s[http] proxy, or HTTPS_PROXY",
			c.endpoint.Host, refusal.Status, check)
	}
	_, plain := errors.AsType[tls.RecordHeaderError](err)
	switch {
	case plain && !p.tunneled():
		return host + " does not speak TLS: write http:// in place of https://"
	case plain:
		return fmt.Sprintf("%s does not speak TLS: something intercepts the connection, or the endpoint is wrong", host)
	}
	return ""
}

// certificateTrouble describes what is wrong with a certificate; "" if that is
// not the trouble.
func certificateTrouble(host string, err error) string {
	bad, ok := errors.AsType[*tls.CertificateVerificationError](err)
	if !ok {
		return ""
	}
	switch cause := bad.Err.(type) {
	case x509.UnknownAuthorityError:
		between := ""
		if leaf := bad.UnverifiedCertificates[0]; len(bad.UnverifiedCertificates) == 1 && !leaf.IsCA {
			between = ", or the server leaves out the certificate of an authority in between"
		}
		return fmt.Sprintf("the certificate of %s comes from an authority that this device does not know: "+
			"something intercepts the connection, or [http] ca_file is missing%s", host, between)
	case x509.HostnameError:
		return fmt.Sprintf("what answers as %s has a certificate for another name: "+
			"check the endpoint, or what intercepts the connection", host)
	case x509.CertificateInvalidError:
		if cause.Reason == x509.Expired {
			return fmt.Sprintf("the certificate of %s is valid from %s to %s, and not at the device's time: "+
				"check the clock; if it is right, tell the server's operator", host,
				cause.Cert.NotBefore.UTC().Format(time.DateOnly), cause.Cert.NotAfter.UTC().Format(time.DateOnly))
		}
	}
	return fmt.Sprintf("the certificate of %s can't be trusted: %v", host, bad.Err)
}

// readable returns a server's error code if it looks like one, else "": it is
// shown and logged.
func readable(code string) string {
	strange := func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-", r)
	}
	if len(code) > 64 || strings.ContainsFunc(code, strange) {
		return ""
	}
	return code
}

// repeats reports whether a code is one of private, or has eight characters in
// a row of one: a server may echo what it refuses, whole or in part.
func repeats(code string, private []string) bool {
	return slices.ContainsFunc(private, func(value string) bool {
		for i := 8; i <= len(code); i++ {
			if strings.Contains(value, code[i-8:i]) {
				return true
			}
		}
		return code == value
	})
}
