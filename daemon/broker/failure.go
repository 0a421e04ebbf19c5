package broker

import (
	"errors"
	"time"

	"github.com/tvpassd/tvpassd/daemon/clock"
	"github.com/tvpassd/tvpassd/daemon/dcr"
	"github.com/tvpassd/tvpassd/ipc"
	"github.com/tvpassd/tvpassd/storage"
)

// Failure is why there is no new token.
type Failure struct {
	Code       string
	ServerCode string // the server's own, with ipc.CodeRejected
	Detail     string // for people; never a secret
	At         time.Time

	retryAfter time.Duration
}

// invalidClient is the one refusal that registering again may mend ("Retrieve
// access token").
const invalidClient = "invalid_client"

func (f Failure) invalidClient() bool {
	return f.Code == ipc.CodeRejected && f.ServerCode == invalidClient
}

// failureOf returns the failure that the error of a call stands for. The names of
// [dcr.Kind] are the codes of ipc, which a test of dcr checks.
func failureOf(err error, now clock.Reading) Failure {
	f := Failure{Code: ipc.CodeOffline, Detail: err.Error(), At: now.Wall}
	wire, ok := errors.AsType[*dcr.Error](err)
	if !ok {
		return f
	}
	f.Code, f.ServerCode, f.Detail, f.retryAfter = wire.Kind.String(), wire.ServerCode, wire.Detail, wire.RetryAfter
	if f.Code == ipc.CodeRejected {
		f.Detail = explain(wire.ServerCode)
	}
	return f
}

// explanations returns, in plain words, what each documented refusal means and
// who can mend it ("Retrieve client credentials", "Retrieve access token").
func explanations() map[string]string {
	return map[string]string{
		"invalid_request": "the server found the request malformed: " +
			"update tvpassd, or check what stands between it and the server",
		"invalid_redirect_uri": "the redirect URI is not valid: correct redirect_uri in the app's configuration",
		"invalid_software_statement": "the software statement is not valid: " +
			"install the one from the TVE Dashboard again",
		"unapproved_software_statement": "the software statement is not approved or was revoked: " +
			"have the registered application approved in the TVE Dashboard",
		"invalid_client": "the server does not know this device's client credentials: " +
			"it is asked again, and the device registers again only if they stay unknown",
		"unauthorized_client": "the registered application may not ask for tokens this way: " +
			"check its scopes in the TVE Dashboard",
		"unsupported_grant_type": "the server does not offer client credentials tokens: " +
			"check the endpoint, or update tvpassd",
	}
}

// documented reports whether the server's documentation knows a code.
func documented(serverCode string) bool { return explanations()[serverCode] != "" }

func explain(serverCode string) string {
	if words := explanations()[serverCode]; words != "" {
		return words
	}
	return "the server refused the app (" + serverCode + "): check the registered application in the TVE Dashboard"
}

// failureFrom returns the last failure of a stored retry state, or false if that
// only notes an attempt.
func failureFrom(r *storage.Retry) (Failure, bool) {
	if r == nil || r.Code == "" {
		return Failure{}, false
	}
	return Failure{Code: r.Code, ServerCode: r.ServerCode, Detail: r.Detail, At: r.At}, true
}
