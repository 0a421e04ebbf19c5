package gateway

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tvpassd/tvpassd/ipc"
)

const (
	maxSegments = 8
	maxSegment  = 128
	maxValue    = 8 << 10 // of a header, in bytes
	maxWait     = time.Minute
)

// invalid returns the problem of a request that does not leave the device.
func invalid(detail string) error { return ipc.NewProblem(ipc.CodeInvalidParameter, detail) }

// checkFraming refuses what net/http lets pass: another Expect beside
// 100-continue, and chunks in HTTP/1.0, which net/http takes for an empty body.
func checkFraming(r *http.Request) error {
	expect := strings.Join(r.Header["Expect"], ",")
	if expect != "" && !strings.EqualFold(expect, "100-continue") {
		p := ipc.NewProblem(ipc.CodeInvalidParameter, "the only Expect that is understood is 100-continue")
		p.Status = http.StatusExpectationFailed
		return p
	}
	if r.Method == http.MethodPost && r.ProtoMinor == 0 && r.Header["Content-Length"] == nil {
		return invalid("a POST of HTTP/1.0 needs a Content-Length")
	}
	return nil
}

// parsePath returns the segments behind /api/v2/ of a request. An endpoint that
// nobody knows today may be a new one: it passes.
func parsePath(r *http.Request, path string) ([]string, error) {
	raw, _, _ := strings.Cut(r.RequestURI, "?")
	if r.URL.Host != "" || strings.Contains(raw, "%") {
		return nil, invalid("the gateway takes a path alone, without a host and without escapes (%)")
	}
	segments := strings.Split(strings.TrimSuffix(path, "/"), "/")
	for _, s := range segments {
		if len(segments) > maxSegments || s == "" || len(s) > maxSegment || !only(s, "._~-") || s == "." || s == ".." {
			return nil, invalid("behind /api/v2/ there must be 1 to 8 segments, each of 1 to 128 of " +
				"A-Z a-z 0-9 . _ ~ - and neither . nor ..")
		}
	}
	if segments[0] == "authenticate" {
		return nil, ipc.NewProblem(ipc.CodeNotForGateway,
			"this path is opened in a browser, at the endpoint that the header Tvpassd-Endpoint of other answers names")
	}
	return segments, nil
}

// only reports whether s consists of letters, digits and the characters in more.
func only(s, more string) bool {
	for i := range len(s) {
		c := s[i]
		if lower := c | 0x20; (lower < 'a' || lower > 'z') && (c < '0' || c > '9') && strings.IndexByte(more, c) < 0 {
			return false
		}
	}
	return true
}

// parseQuery encodes a query anew and keeps its order. It writes a space as %20,
// which every server understands.
func parseQuery(raw string) (string, error) {
	var pairs []string
	for _, pair := range strings.Split(raw, "&") {
		if pair == "" {
			continue
		}
		parts := strings.SplitN(pair, "=", 2)
		for i, part := range parts {
			plain, err := url.QueryUnescape(part)
			if err != nil || strings.Contains(part, ";") {
				return "", invalid("the query has an escape that can't be read, or a semicolon (in a value it is %3B)")
			}
			parts[i] = strings.ReplaceAll(url.QueryEscape(plain), "+", "%20")
		}
		pairs = append(pairs, strings.Join(parts, "="))
	}
	return strings.Join(pairs, "&"), nil
}

// The headers that are always the daemon's own, and two that it may change, as
// net/http spells them.
const (
	authorization = "Authorization"
	identifier    = "Ap-Device-Identifier"
	deviceInfo    = "X-Device-Info"
	agent         = "User-Agent"
	acceptCoding  = "Accept-Encoding"
)

// forwarded are the headers of a player that leave, and the beginnings of others.
var (
	forwarded = [...]string{"Content-Type", "Accept", "Accept-Language", agent, acceptCoding}
	prefixes  = [...]string{"Ap-", "Ad-", "Adobe-", "X-Roku-Reserved-"}
)

// leaves reports whether a header of a player is forwarded. Names are compared
// exactly: some servers take a name with _ for the one with -.
func leaves(name string) bool {
	for _, prefix := range prefixes {
		if strings.HasPrefix(name, prefix) {
			return name != identifier && only(name, "-")
		}
	}
	return slices.Contains(forwarded[:], name)
}

// buildHeader returns the header of a call without the daemon's own fields. It
// copies only what is known from the player's header.
func buildHeader(from http.Header, userAgent string) (http.Header, error) {
	header := http.Header{}
	local := elements(from["Connection"]) // these are for the socket alone
	for i, name := range local {
		local[i] = http.CanonicalHeaderKey(name)
	}
	for name, values := range from {
		switch {
		case !leaves(name) || slices.Contains(local, name):
		case len(values) > 1:
			return nil, invalid("the header " + name + " is given twice")
		case len(values[0]) > maxValue:
			p := ipc.NewProblem(ipc.CodeTooLarge, "the header "+name+" is larger than 8 KiB")
			p.Status = http.StatusRequestHeaderFieldsTooLarge
			return nil, p
		default:
			header[name] = values
		}
	}
	if codings := header[acceptCoding]; codings != nil {
		set(header, acceptCoding, acceptable(codings))
	}
	if header.Get(agent) == "" {
		set(header, agent, userAgent)
	}
	return header, nil
}

// elements returns the elements of a header that is a list.
func elements(values []string) []string {
	if len(values) == 0 {
		return nil
	}
	list := strings.Split(strings.Join(values, ","), ",")
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	return list
}

// acceptable returns the codings of an Accept-Encoding that the gateway passes
// on.
func acceptable(codings []string) string {
	rest := ""
	for _, coding := range elements(codings) {
		name, _, _ := strings.Cut(strings.ToLower(coding), ";")
		if name = strings.TrimSpace(name); name == "gzip" || name == "identity" {
			rest += ", " + coding
		}
	}
	if rest == "" {
		return "identity"
	}
	return rest[len(", "):]
}

// parseWait returns how long a call may wait for its turn and a token: what the
// first good wait of Prefer says (RFC 7240).
func parseWait(from http.Header) time.Duration {
	for _, preference := range elements(from["Prefer"]) {
		preference, _, _ = strings.Cut(preference, ";")
		name, seconds, _ := strings.Cut(preference, "=")
		n, err := strconv.ParseUint(strings.Trim(strings.TrimSpace(seconds), `"`), 10, 31)
		if strings.EqualFold(strings.TrimSpace(name), "wait") && !errors.Is(err, strconv.ErrSyntax) {
			return min(time.Duration(n)*time.Second, maxWait) // n is the highest number if it is out of range
		}
	}
	return ipc.DefaultWait
}

// operations are the calls of Adobe's REST API V2 that are known, with their
// names in metrics. A * is any segment.
var operations = [...]struct{ path, name string }{
	{"*/configuration", "configuration"},
	{"*/sessions", "sessions"},
	{"*/sessions/*", "sessions"},
	{"*/sessions/sso/*", "sso"},
	{"*/profiles", "profiles"},
	{"*/profiles/*", "profiles"},
	{"*/profiles/code/*", "profiles_code"},
	{"*/profiles/sso/*", "sso"},
	{"*/decisions/preauthorize/*", "preauthorize"},
	{"*/decisions/authorize/*", "authorize"},
	{"*/logout/*", "logout"},
}

func operationOf(segments []string) string {
	for _, op := range operations {
		if matches(op.path, segments) {
			return op.name
		}
	}
	return "other"
}

func matches(path string, segments []string) bool {
	for _, segment := range segments {
		var word string
		if word, path, _ = strings.Cut(path, "/"); word != "*" && word != segment {
			return false
		}
	}
	return path == ""
}
