package dcr

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"
)

// Kind sorts what can go wrong by what the caller can do about it.
type Kind int

const (
	Offline     Kind = iota // no answer, or none from a server that can be trusted
	Throttled               // 429
	ServerError             // an answer, but not one that the protocol knows
	Rejected                // the server refuses, with a code
)

// String is the kind as the socket's errors call it.
func (k Kind) String() string {
	return [...]string{Offline: "offline", Throttled: "throttled", ServerError: "server_error", Rejected: "rejected"}[k]
}

// Error says why a call brought nothing. It holds neither secrets nor anything of the answer but the server's code.
type Error struct {
	Kind       Kind
	Status     int           // HTTP; 0 where none came
	ServerCode string        // with Rejected
	RetryAfter time.Duration // as the server asked; 0 where it did not
	Detail     string        // for people
	Date       time.Time     // as in Credentials
	err        error
}

func (e *Error) Error() string { return e.Kind.String() + ": " + e.Detail }

func (e *Error) Unwrap() error { return e.err }

// noAnswer words an error of the network for a technician. An answer may have begun.
func (c *Client) noAnswer(err error, began bool) *Error {
	host := c.endpoint.Host
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "proxyconnect" {
		host = "the proxy that [http] proxy or HTTPS_PROXY names"
	}
	e := &Error{Kind: Offline, Detail: certificateTrouble(host, err), err: err}
	if e.Detail != "" {
		return e
	}
	var (
		dns     *net.DNSError
		plain   tls.RecordHeaderError
		refusal proxyRefusal
		errno   syscall.Errno
		timeout net.Error
	)
	switch {
	case errors.As(err, &dns):
		e.Detail = fmt.Sprintf("the name %s can't be resolved: check the network and its DNS server", dns.Name)
	case errors.As(err, &refusal):
		e.Detail = fmt.Sprintf("the proxy refuses to connect to %s (HTTP %d): check [http] proxy, or HTTPS_PROXY", host, int(refusal))
	case errors.As(err, &plain):
		e.Detail = fmt.Sprintf("%s does not speak TLS: something intercepts the connection, or the endpoint is wrong", host)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		e.Detail = fmt.Sprintf("%s did not answer within %v: check the network", host, c.timeout)
	case errors.Is(err, context.Canceled):
		e.Detail = "the call was given up"
	case began:
		e.Kind, e.Detail = ServerError, fmt.Sprintf("the answer of %s is cut short, or is not HTTP: check what stands between", host)
	case errors.As(err, &errno):
		e.Detail = fmt.Sprintf("%s can't be reached (%v): check the network", host, errno)
	case errors.Is(err, io.EOF):
		e.Detail = fmt.Sprintf("%s closed the connection without an answer", host)
	default:
		e.Detail = fmt.Sprintf("no answer from %s: %v", host, err)
	}
	return e
}

// certificateTrouble words what is wrong with a certificate; "" where that is not it.
func certificateTrouble(host string, err error) string {
	var (
		unknown x509.UnknownAuthorityError
		name    x509.HostnameError
		invalid x509.CertificateInvalidError
		other   *tls.CertificateVerificationError
	)
	switch {
	case errors.As(err, &unknown):
		return fmt.Sprintf("the certificate of %s comes from an authority that this box does not know: something intercepts the connection, or [http] ca_file is missing", host)
	case errors.As(err, &name):
		return fmt.Sprintf("what answers as %s has a certificate for another name: check the endpoint, or what intercepts the connection", host)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Sprintf("the certificate of %s is not valid at the box's time: check the clock", host)
	case errors.As(err, &other):
		return fmt.Sprintf("the certificate of %s is not to be trusted: %v", host, other.Err)
	}
	return ""
}

// readable returns a server's error code if it looks like one, else "": it is shown and logged.
func readable(code string) string {
	strange := func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-", r)
	}
	if len(code) > 64 || strings.ContainsFunc(code, strange) {
		return ""
	}
	return code
}
