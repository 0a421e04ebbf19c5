package dcr

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
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

// offline words an error of the network for a technician.
func (c *Client) offline(err error) *Error {
	host := c.endpoint.Hostname()
	e := &Error{Kind: Offline, err: err}
	var (
		dns       *net.DNSError
		unknown   x509.UnknownAuthorityError
		name      x509.HostnameError
		invalid   x509.CertificateInvalidError
		plain     tls.RecordHeaderError
		handshake *tls.CertificateVerificationError
		refusal   syscall.Errno
		timeout   net.Error
	)
	switch {
	case errors.As(err, &dns):
		e.Detail = fmt.Sprintf("the name %s can't be resolved: check the network and its DNS server", host)
	case errors.As(err, &unknown):
		e.Detail = fmt.Sprintf("the certificate of %s comes from an authority that this box does not know: something intercepts the connection, or [http] ca_file is missing", host)
	case errors.As(err, &name):
		e.Detail = fmt.Sprintf("what answers as %s has a certificate for another name: check the endpoint, or what intercepts the connection", host)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		e.Detail = fmt.Sprintf("the certificate of %s is not valid at the box's time: check the clock", host)
	case errors.As(err, &handshake):
		e.Detail = fmt.Sprintf("the certificate of %s is not to be trusted: %v", host, handshake.Err)
	case errors.As(err, &plain):
		e.Detail = fmt.Sprintf("%s does not speak TLS: something intercepts the connection, or the endpoint is wrong", c.endpoint.Host)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		e.Detail = fmt.Sprintf("%s did not answer within %v: check the network", c.endpoint.Host, c.timeout)
	case errors.Is(err, context.Canceled):
		e.Detail = "the call was given up"
	case errors.As(err, &refusal):
		e.Detail = fmt.Sprintf("%s can't be reached (%v): check the network", c.endpoint.Host, refusal)
	default:
		e.Detail = fmt.Sprintf("no answer from %s: %v", c.endpoint.Host, err)
	}
	return e
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
