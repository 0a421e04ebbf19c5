package dcr

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxBody is the longest answer that is read; a real one has less than 2 KiB.
const maxBody = 1 << 20

// answer is a 2xx with a JSON object.
type answer struct {
	status int
	date   time.Time
	fields map[string]json.RawMessage
}

// read judges an answer. No error repeats one of private, which was sent.
// witness reports whether the Date can be trusted.
func (c *Client) read(ctx context.Context, resp *http.Response, private []string, witness bool) (*answer, error) {
	ans := &answer{status: resp.StatusCode}
	date, dateErr := http.ParseTime(resp.Header.Get("Date"))
	if witness && dateErr == nil {
		ans.date = date.UTC()
	}
	host := c.endpoint.Host
	fail := func(kind Kind, format string, args ...any) *Error {
		return &Error{
			Kind: kind, Status: resp.StatusCode, Detail: fmt.Sprintf(format, args...), Date: ans.date,
			RetryAfter: c.retryAfter(resp.Header.Get("Retry-After"), date),
		}
	}
	if resp.StatusCode == http.StatusTooManyRequests {
		return nil, fail(Throttled, "the server's throttle is shut: too many requests from this address")
	}
	if resp.StatusCode >= 300 && resp.StatusCode < 400 {
		return nil, fail(ServerError,
			"%s answers with a redirect, which is not followed: check environment or endpoint in config.toml", host)
	}
	body, err := c.whole(ctx, resp, fail)
	if err != nil {
		return nil, err
	}
	isObject := json.Unmarshal(body, &ans.fields) == nil && ans.fields != nil
	code := readable(ans.text("error"))
	if repeats(code, private) {
		code = ""
	}
	switch {
	case resp.StatusCode >= 400 && resp.StatusCode < 500 && code != "":
		e := fail(Rejected, "the server refuses: %s", code)
		e.ServerCode = code
		return nil, e
	case compression(body) != "":
		return nil, fail(ServerError,
			"the answer of %s (HTTP %d) is compressed (%s), and does not say so: check what stands between",
			host, resp.StatusCode, compression(body))
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		return nil, fail(ServerError, "%s answers HTTP %d without an error code", host, resp.StatusCode)
	case !isObject:
		return nil, fail(ServerError,
			"%s answers HTTP %d with something other than a JSON object: check environment or endpoint in config.toml",
			host, resp.StatusCode)
	}
	return ans, nil
}

// whole reads the body of an answer. fail makes the error of one that can't be
// used.
func (c *Client) whole(
	ctx context.Context, resp *http.Response, fail func(kind Kind, format string, args ...any) *Error,
) ([]byte, error) {
	host := c.endpoint.Host
	body, err := readBody(resp)
	if err == nil && ctx.Err() != nil && !json.Valid(body) { // giving a call up ends the body like a server does
		err = context.Cause(ctx)
	}
	slow, isNet := errors.AsType[net.Error](err)
	coding, isCoding := err.(codingError)
	switch {
	case isNet && slow.Timeout(), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return nil, c.noAnswer(err, &progress{})
	case isCoding:
		return nil, fail(ServerError,
			"the answer of %s (HTTP %d) is compressed (%s), which was not asked for: check what stands between",
			host, resp.StatusCode, string(coding))
	case err != nil:
		return nil, fail(ServerError, "the answer of %s (HTTP %d) is cut short", host, resp.StatusCode)
	case len(body) > maxBody:
		return nil, fail(ServerError, "the answer of %s (HTTP %d) is longer than 1 MiB", host, resp.StatusCode)
	}
	return body, nil
}

// codingError is the name of a Content-Encoding that is not supported.
type codingError string

func (e codingError) Error() string { return "content encoding " + string(e) }

// readBody reads at most one byte more than maxBody. Caches and proxies
// compress answers without being asked, or decompress them and leave the label:
// gzip is undone if it is there.
func readBody(resp *http.Response) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	body = bytes.TrimPrefix(body, []byte(bom))
	coding := strings.ToLower(resp.Header.Get("Content-Encoding"))
	switch {
	case err != nil || coding == "" || coding == "identity" || json.Valid(body):
		return body, err
	case coding != "gzip" && coding != "x-gzip":
		return nil, codingError(cmp.Or(readable(coding), "in an unknown way"))
	}
	unzip, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return body, nil // it is not compressed at all
	}
	body, err = io.ReadAll(io.LimitReader(unzip, maxBody+1))
	return bytes.TrimPrefix(body, []byte(bom)), err
}

// bom is what some editors write in front of UTF-8.
const bom = "\ufeff"

// compression names the compressed format that a body is in; "" if it is none.
func compression(body []byte) string {
	switch {
	case bytes.HasPrefix(body, []byte("\x1f\x8b")):
		return "gzip"
	case bytes.HasPrefix(body, []byte("\x28\xb5\x2f\xfd")):
		return "zstd"
	case len(body) > 1 && body[0] == 0x78 && (body[1] == 0x01 || body[1] == 0x9c || body[1] == 0xda):
		return "zlib"
	}
	return ""
}

// RetryAfter returns how long the server asks to wait; 0 if it does not.
func (c *Client) RetryAfter(resp *http.Response) time.Duration {
	date, _ := http.ParseTime(resp.Header.Get("Date"))
	return c.retryAfter(resp.Header.Get("Retry-After"), date)
}

// retryAfter reads the header: seconds, rounded up, or a date, which counts by
// the server's own clock if it has one.
func (c *Client) retryAfter(value string, date time.Time) time.Duration {
	whole, fraction, _ := strings.Cut(value, ".")
	seconds, err := strconv.ParseUint("0"+whole, 10, 31)
	numeric := err == nil || errors.Is(err, strconv.ErrRange) // then it is the highest number, 68 years
	if numeric && value != "" && strings.Trim(fraction, "0123456789") == "" {
		if strings.Trim(fraction, "0") != "" {
			seconds++
		}
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	if date.IsZero() {
		date = c.now()
	}
	return max(at.Sub(date), 0)
}
