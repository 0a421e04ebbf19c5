package client

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tvpassd/tvpassd/ipc"
)

const (
	// maxTries is how often a request is sent while every answer is a 429.
	maxTries = 4
	// minPause is how long no request may follow a 429 (Adobe's page "Throttling
	// mechanism").
	minPause = time.Second
	// maxPause is the longest that a request waits for the throttle.
	maxPause = time.Minute
	// maxRefusal is how much of a 401 is read to find its code, in bytes.
	maxRefusal = 16 << 10
)

// Transport sends calls of the REST API V2 to the server itself, as the Transport
// of an http.Client. It is for players that must use an HTTP stack of their own:
// [Gateway] needs less, and shares the throttle with all others.
//
// A Transport adds the three headers that a call needs. It reports a 401 to the
// daemon, and sends the request once more if there is another token then. It waits
// after a 429: one second, then two and four, or what Retry-After says. After that
// it returns the 429, as it does at once if Retry-After is more than a minute.
// While one request waits, so do all others: the throttle counts them together.
//
// A request is sent again only if it has no body, or has GetBody, which
// http.NewRequest sets for the usual kinds. A redirect to another host is followed
// without the headers.
//
// The zero value works for a user who may use exactly one app. A Transport is safe
// for concurrent use. Its errors are those of [Client] and of Base.
type Transport struct {
	Client *Client           // nil uses ipc.DefaultSocket
	App    string            // "" is the one app that the caller may use
	Base   http.RoundTripper // nil is http.DefaultTransport

	own   Client
	clock clock // nil is the real one

	mu    sync.Mutex // guards opens
	opens time.Time  // no request leaves before this
}

// RoundTrip sends a request, which it does not change.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if elsewhere(req) {
		return t.base().RoundTrip(req)
	}
	resp, sent, err := t.send(req)
	if err != nil || resp.StatusCode != http.StatusUnauthorized || !t.renewed(req.Context(), sent, resp) {
		return resp, err
	}
	again := replay(req)
	if again == nil {
		return resp, nil
	}
	resp.Body.Close()
	resp, _, err = t.send(again)
	return resp, err
}

// elsewhere reports whether redirects have led a request to a host that its caller
// did not name.
func elsewhere(req *http.Request) bool {
	first := req
	for first.Response != nil {
		if first = first.Response.Request; first == nil {
			return true // it is unknown, so it is not trusted
		}
	}
	return first.URL.Scheme != req.URL.Scheme || first.URL.Host != req.URL.Host
}

// send sends a request until the throttle lets it through, and returns the headers
// that it had.
func (t *Transport) send(req *http.Request) (*http.Response, ipc.Headers, error) {
	for try := 0; ; try++ {
		h, err := t.ready(req.Context())
		if err != nil {
			if req.Body != nil {
				req.Body.Close()
			}
			return nil, h, err
		}
		signed := req.Clone(req.Context())
		for name, value := range h.Headers {
			signed.Header.Set(name, value)
		}
		resp, err := t.base().RoundTrip(signed)
		if err != nil || resp.StatusCode != http.StatusTooManyRequests {
			return resp, h, err
		}
		if pause := t.shut(resp.Header, try); try+1 == maxTries || pause > maxPause {
			return resp, h, nil
		}
		again := replay(req)
		if again == nil {
			return resp, h, nil
		}
		resp.Body.Close()
		req = again
	}
}

// ready waits until a request may leave, and returns its headers.
func (t *Transport) ready(ctx context.Context) (ipc.Headers, error) {
	for {
		t.mu.Lock()
		wait := t.opens.Sub(t.time().now())
		t.mu.Unlock()
		if wait <= 0 {
			return t.client().Headers(ctx, t.App, nil)
		}
		if err := t.time().sleep(ctx, wait); err != nil {
			return ipc.Headers{}, err
		}
	}
}

// shut holds all requests back after a 429, and returns how long the refused one
// must wait.
func (t *Transport) shut(answer http.Header, try int) (pause time.Duration) {
	pause = max(minPause<<try, retryAfter(answer))
	opens := t.time().now().Add(min(pause, maxPause))
	t.mu.Lock()
	defer t.mu.Unlock()
	if opens.After(t.opens) {
		t.opens = opens
	}
	return pause
}

// retryAfter reads the header: seconds, or a date by the clock of the server. It
// returns 0 if there is none.
func retryAfter(h http.Header) time.Duration {
	value := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil || errors.Is(err, strconv.ErrRange) {
		return time.Duration(seconds) * time.Second // 68 years if it is out of range
	}
	at, err := http.ParseTime(value)
	now, nowErr := http.ParseTime(h.Get("Date"))
	if err != nil || nowErr != nil {
		return 0
	}
	return at.Sub(now)
}

// renewed reports a refused token to the daemon, and returns whether there is
// another one now.
func (t *Transport) renewed(ctx context.Context, sent ipc.Headers, resp *http.Response) bool {
	refused := sent.Headers["Authorization"]
	_, err := t.client().Report(ctx, sent.App, ipc.Report{
		AccessToken: strings.TrimPrefix(refused, "Bearer "), Status: resp.StatusCode, Code: enhancedCode(resp),
	})
	if err != nil {
		return false
	}
	h, err := t.client().Headers(ctx, t.App, nil) // waits for a refresh
	return err == nil && h.Headers["Authorization"] != refused
}

// enhancedCode returns the code in a refusal (Adobe's page "Enhanced error
// codes"), or "". The body can still be read afterwards.
func enhancedCode(resp *http.Response) string {
	head, _ := io.ReadAll(io.LimitReader(resp.Body, maxRefusal)) // the error comes again for who reads on
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(head), resp.Body), resp.Body}
	var refusal struct{ Code string }
	_ = json.Unmarshal(head, &refusal) // a 401 may come from anybody
	return refusal.Code
}

// replay returns a request to send again, with a body of its own, or nil if there
// is no such body.
func replay(req *http.Request) *http.Request {
	if req.Body == nil || req.Body == http.NoBody {
		return req
	}
	if req.GetBody == nil {
		return nil
	}
	body, err := req.GetBody()
	if err != nil {
		return nil
	}
	again := req.WithContext(req.Context())
	again.Body = body
	return again
}

func (t *Transport) base() http.RoundTripper { return cmp.Or(t.Base, http.DefaultTransport) }
func (t *Transport) client() *Client         { return cmp.Or(t.Client, &t.own) }
func (t *Transport) time() clock             { return cmp.Or[clock](t.clock, realClock{}) }

// clock is the time of a Transport.
type clock interface {
	now() time.Time
	sleep(context.Context, time.Duration) error // returns the context's error if that comes first
}

type realClock struct{}

func (realClock) now() time.Time { return time.Now() }

func (realClock) sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
