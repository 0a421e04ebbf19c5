package main

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// Behaviours of the gateway that docs/players.md promises, from outside: the
// built daemon on a real socket, and a server over TLS.

// headersSent checks the daemon's three headers of a call, and returns the
// other headers.
func (l *apiLab) headersSent(c arrival) http.Header {
	l.t.Helper()
	token := l.issued()[0]
	for name, wants := range map[string]func(string) bool{
		"Authorization":        func(v string) bool { return v == "Bearer "+token },
		"Ap-Device-Identifier": func(v string) bool { return strings.HasPrefix(v, "fingerprint ") },
		"X-Device-Info":        func(v string) bool { return strings.HasPrefix(v, "ey") },
	} {
		if values := c.header[name]; len(values) != 1 || !wants(values[0]) {
			l.t.Errorf("%s %s: %s is %q", c.method, c.uri, name, values)
		}
	}
	rest := maps.Clone(c.header)
	for _, name := range []string{
		"Authorization", "Ap-Device-Identifier", "X-Device-Info", "User-Agent", "Host", "Transfer-Encoding",
	} {
		delete(rest, name)
	}
	return rest
}

// The server gets exactly the daemon's three headers, once each.
func TestGatewayHeadersAreTheDaemons(t *testing.T) {
	l := newAPILab(t, nil)
	l.up()
	const start = "GET /v1/apps/ref30/api/v2/REF30/configuration HTTP/1.1\r\nHost: x\r\n"
	for _, lines := range []string{
		"",
		"Authorization: Bearer mine\r\nAP-Device-Identifier: fingerprint bWluZQ==\r\nX-Device-Info: bWluZQ==\r\n",
		"aUTHORIZATION: Bearer mine\r\nap-device-identifier: mine\r\nx-device-info: mine\r\nX-DEVICE-INFO: mine\r\n",
		"Authorization: Bearer mine\r\nAuthorization: Bearer mine\r\nX-Device-Info: a\r\nX-Device-Info: b\r\n",
		"X_Device_Info: mine\r\nAP_Device_Identifier: mine\r\nAP-Device_Identifier: mine\r\nAP-Device.Identifier: mine\r\n",
		"Connection: Authorization, AP-Device-Identifier, X-Device-Info\r\nAuthorization: Bearer mine\r\n",
		"Connection: close, authorization\r\nProxy-Authorization: Basic bWluZQ==\r\n",
	} {
		l.send(start+lines+"Prefer: wait=60\r\n\r\n").expect(t, 200, "received-status=200")
		calls := l.calls()
		if rest := l.headersSent(calls[len(calls)-1]); len(rest) > 0 {
			t.Errorf("with %q the server also gets %v", lines, rest)
		}
	}
	if n := l.sum("tvpassd_gateway_ignored_headers_total"); n != 9 {
		t.Errorf("%v headers were counted as ignored, want 9", n)
	}
}

// Unknown headers do not reach the server. Those that the API knows pass.
func TestGatewayHeadersThatPass(t *testing.T) {
	l := newAPILab(t, nil)
	l.up()
	const start = "GET /v1/api/v2/REF30/configuration HTTP/1.1\r\nHost: x\r\n"
	odd := []string{
		"X-Forwarded-For: 203.0.113.1", "X-Forwarded-Host: evil.example", "X-Forwarded-Proto: http",
		"X-Real-IP: 1.2.3.4", "Forwarded: for=203.0.113.1", "Via: 1.1 evil", "Cookie: AWSALB=x",
		"Cookie2: x", "Set-Cookie: x=y", "Referer: http://x/", "Origin: http://evil.example", "Host2: y",
		"Keep-Alive: timeout=5", "Proxy-Connection: keep-alive", "TE: trailers", "Trailer: X-Late",
		"Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__", "Connection: Upgrade, HTTP2-Settings",
		"Max-Forwards: 0", "Range: bytes=0-1", "If-None-Match: \"x\"",
		"If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT", "Cache-Control: no-cache",
		"Pragma: no-cache", "Warning: 199 x", "Date: Thu, 01 Jan 1970 00:00:00 GMT", "From: a@b.c",
		"Idempotency-Key: 1", "X-Idempotency-Key: 1", "X-Http-Method-Override: DELETE",
		"X-Original-URL: /o/client/token", "Sec-Fetch-Mode: cors", "Access-Control-Request-Method: PUT",
		"Priority: u=1", "DNT: 1", "X-Roku: 1", "APX: 1", "AP: 1", "Adobe: 1", "AP_TempPass_Identity: x",
		"Content-Disposition: x", "Content-Encoding: br", "Content-MD5: x", "X-AP-Y: 1",
		"Transfer-Encoding2: chunked", "Accept-Charset: x", "Authorization2: x", "Age: 1", "Link: <x>",
		"Early-Data: 1",
	}
	l.send(start+strings.Join(odd, "\r\n")+"\r\n\r\n").expect(t, 200, "received-status=200")
	call := l.calls()[0]
	if rest := l.headersSent(call); len(rest) > 0 || call.header.Get("User-Agent") != "tvpassd/1.2.3" {
		t.Errorf("the server also gets %v, and User-Agent %q", rest, call.header["User-Agent"])
	}

	known := []string{
		"Content-Type: text/odd", "Accept: a/b", "Accept-Language: de-AT", "Accept-Encoding: gzip;q=0.5, identity",
		"AP-TempPass-Identity: x", "AP-Visitor-Identifier: y", "Adobe-Subject-Token: " + strings.Repeat("t", 1500),
		"AD-Service-Token: z", "X-Roku-Reserved-Roku-Connect-Token: r",
	}
	l.send(start+strings.Join(known, "\r\n")+"\r\nUser-Agent: Player/7\r\n\r\n").expect(t, 200, "received-status=200")
	call = l.calls()[1]
	rest := l.headersSent(call)
	for _, line := range known {
		name, value, _ := strings.Cut(line, ": ")
		if rest.Get(name) != value {
			t.Errorf("%s is %q, want %q", name, rest[http.CanonicalHeaderKey(name)], value)
		}
	}
	if len(rest) != len(known) || call.header.Get("User-Agent") != "Player/7" {
		t.Errorf("the server gets %v", call.header)
	}
	l.send(start+"Accept-Encoding: br, zstd\r\nConnection: AP-Visitor-Identifier\r\nAP-Visitor-Identifier: y\r\n\r\n").
		expect(t, 200, "received-status=200")
	if rest := l.headersSent(l.calls()[2]); len(rest) != 1 || rest.Get("Accept-Encoding") != "identity" {
		t.Errorf("the server gets %v", rest)
	}

	l.send(start+"AP-X: 1\r\nAP-X: 2\r\n\r\n").fails(t, 400, "invalid_parameter", "http_request_error", false)
	l.send(start+"Accept: 1\r\naccept: 2\r\n\r\n").fails(t, 400, "invalid_parameter", "http_request_error", false)
	l.send(start+"AP-X: "+strings.Repeat("x", 8<<10+1)+"\r\n\r\n").fails(t, 431, "too_large", "http_request_error", false)
	if n := len(l.calls()); n != 3 {
		t.Errorf("%d calls left, want 3", n)
	}
}

// A path outside the API does not leave, and neither does another method.
func TestGatewayRefusesPaths(t *testing.T) {
	l := newAPILab(t, nil)
	l.up()
	l.token()
	l.forget()
	long, deep := strings.Repeat("a", 129), "1/2/3/4/5/6/7/8/9"
	for _, path := range []string{
		"..", "../v2/x", "x/..", "x/../y", "x/./y", ".", "x/%2e%2e/y", "%2e%2e", "x/..%2fy", "x%2fy", "x//y", "/x", "x//",
		"x/%00",
		"x%00", `x\y`, `..\y`, long, "x/" + long, deep, "", "/", "//", "a:b", "a;b", "a@b", "a,b", "a+b", "ä", "x/%61",
		"a&b", "a=b", "x/y\x7f", "x%0d%0ay", "(x)", "x'y", "x*", "x!y", "x$y", "x|y", "x~/^", "x#y",
	} {
		r := l.send("GET /v1/apps/ref30/api/v2/" + path + " HTTP/1.1\r\nHost: x\r\n\r\n")
		if strings.ContainsAny(path, "\x7f") { // net/http refuses it before anybody knows where it leads
			r.expect(t, 400, "error=http_request_error")
			continue
		}
		r.fails(t, 400, "invalid_parameter", "http_request_error", false)
	}
	for _, path := range []string{"authenticate", "authenticate/REF30/ABC", "authenticate/"} {
		l.send("GET /v1/apps/ref30/api/v2/"+path+" HTTP/1.1\r\nHost: x\r\n\r\n").
			fails(t, 400, "not_for_gateway", "http_request_error", false)
	}
	for _, query := range []string{"a=%zz", "a=%", "%a=b", "a;b", "a=b;c=d"} {
		l.send("GET /v1/apps/ref30/api/v2/x?"+query+" HTTP/1.1\r\nHost: x\r\n\r\n").
			fails(t, 400, "invalid_parameter", "http_request_error", false)
	}
	for _, target := range []string{"http://evil.example", "http://tvpassd", l.endpoint} {
		l.send("GET "+target+"/v1/apps/ref30/api/v2/x HTTP/1.1\r\nHost: x\r\n\r\n").
			fails(t, 400, "invalid_parameter", "http_request_error", false)
		if p := l.send("GET " + target + "/api/v2/x HTTP/1.1\r\nHost: x\r\n\r\n").problem(t); p.Code != "invalid_parameter" {
			t.Errorf("%+v", p)
		}
	}
	for _, method := range []string{"HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PATCH", "get", "BREW"} {
		r := l.send(method + " /v1/apps/ref30/api/v2/x HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
		r.expect(t, 405, "error=http_request_error")
		if r.Header.Get("Allow") != "GET, POST" {
			t.Errorf("%s: Allow is %q", method, r.Header.Get("Allow"))
		}
	}
	l.send("POST /v1/apps/ref30/api/v2/x HTTP/1.1\r\nHost: x\r\nExpect: 200-ok\r\nContent-Length: 1\r\n\r\n").
		expect(t, 417, "error=http_request_error")
	if seen := l.requests(); len(seen) > 0 {
		t.Errorf("the server got %v", seen)
	}
}

// A query leaves encoded anew, in its order.
func TestGatewayQuery(t *testing.T) {
	l := newAPILab(t, nil)
	l.up()
	l.call("GET", "x/?b=1&a=%2F+%20&&c&d=&b=2&e=%c3%a4&f=a=b", "").expect(t, 200, "received-status=200")
	if got := l.calls()[0].uri; got != "/api/v2/x?b=1&a=%2F%20%20&c&d=&b=2&e=%C3%A4&f=a%3Db" {
		t.Errorf("the server got %s", got)
	}
}

// Bodies arrive byte for byte, however they are sent.
func TestGatewayBodies(t *testing.T) {
	l := newAPILab(t, nil)
	l.up()
	random := make([]byte, 256<<10)
	_, _ = rand.Read(random)
	const path = "/v1/apps/ref30/api/v2/REF30/sessions"
	bodies := []string{
		"", "x", string(random), strings.Repeat("Host: evil.example\r\n\r\n", 500),
		"\r\n\r\nGET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n", strings.Repeat("\n", 4097),
	}
	for _, body := range bodies {
		l.call("POST", "REF30/sessions", body, "Prefer", "wait=60").expect(t, 200, "received-status=200")
		c, from := l.raw(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nPrefer: wait=60\r\n"+
			"Transfer-Encoding: chunked\r\nTrailer: X-Late\r\n\r\n", path))
		line, err := from.ReadString('\n')
		l.must(err)
		if line != "HTTP/1.1 100 Continue\r\n" {
			t.Fatalf("the answer to Expect is %q", line)
		}
		_, err = from.ReadString('\n')
		l.must(err)
		for part := range slices.Chunk([]byte(body), 5000) {
			fmt.Fprintf(c, "%x;ext=1\r\n%s\r\n", len(part), part)
		}
		fmt.Fprintf(c, "0\r\nX-Late: 1\r\n\r\n")
		l.reply(from, "POST").expect(t, 200, "received-status=200")
	}
	for i, call := range l.calls() {
		if call.body != bodies[i/2] || call.header.Get("Content-Length") != fmt.Sprint(len(call.body)) {
			t.Errorf("call %d: %d bytes arrived, Content-Length %s, want %d",
				i, len(call.body), call.header.Get("Content-Length"), len(bodies[i/2]))
		}
	}
	large := string(random) + "x"
	l.call("POST", "REF30/sessions", large).fails(t, 413, "too_large", "http_request_error", false)
	// Refused by its length: nothing of it is waited for.
	l.send("POST "+path+" HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 262145\r\n\r\n").
		fails(t, 413, "too_large", "http_request_error", false)
	_, from := l.raw("POST " + path + " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" +
		"40001\r\n" + large + "\r\n0\r\n\r\n")
	l.reply(from, "POST").fails(t, 413, "too_large", "http_request_error", false)
	if n := len(l.calls()); n != 2*len(bodies) {
		t.Errorf("%d calls left", n)
	}
}

// oddAnswers answers each path in another way, and has headers that are not for
// players.
type oddAnswers struct{ large, zipped []byte }

func (o oddAnswers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	for _, name := range []string{
		"Set-Cookie", "Location", "Alt-Svc", "Access-Control-Allow-Origin", "Server", "Strict-Transport-Security",
		"Keep-Alive", "Trailer", "X-Odd", "Proxy-Status", "Tvpassd-Endpoint", "Via",
	} {
		h.Set(name, "x")
	}
	h.Set("Content-Type", "application/odd")
	switch r.URL.Path {
	case "/api/v2/empty":
		w.WriteHeader(http.StatusNoContent)
	case "/api/v2/nothing":
		h.Set("Content-Length", "0")
		w.WriteHeader(http.StatusCreated)
	case "/api/v2/one":
		h.Set("Retry-After", "7")
		w.WriteHeader(http.StatusInternalServerError)
		io.WriteString(w, "x")
	case "/api/v2/large":
		h.Set("Content-Length", fmt.Sprint(len(o.large)))
		h.Set("Cache-Control", "max-age=5")
		w.Write(o.large)
	case "/api/v2/chunked":
		w.WriteHeader(http.StatusForbidden)
		for part := range slices.Chunk(o.large[:1<<20], 100_000) {
			w.Write(part)
			_ = http.NewResponseController(w).Flush()
		}
	case "/api/v2/gzip":
		h.Set("Content-Encoding", "gzip")
		h.Set("ETag", `"x"`)
		h.Set("Content-Language", "de")
		h.Set("X-Request-Id", "r")
		h.Set("WWW-Authenticate", "Bearer")
		w.WriteHeader(http.StatusNotFound)
		w.Write(o.zipped)
	case "/api/v2/early":
		w.WriteHeader(http.StatusEarlyHints)
		w.Header()["Content-Type"], w.Header()["Date"] = nil, nil
		w.WriteHeader(http.StatusConflict)
	}
}

// Answers arrive as they came: status, body, and the headers that are for players.
func TestGatewayAnswers(t *testing.T) {
	large := make([]byte, 4<<20)
	_, _ = rand.Read(large)
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write(large[:1000])
	_ = z.Close()
	l := newAPILab(t, oddAnswers{large, zipped.Bytes()}.ServeHTTP)
	l.up()
	for _, tc := range []struct {
		path    string
		status  int
		body    string
		headers http.Header // besides those that all have
	}{
		{"empty", 204, "", nil},
		{"nothing", 201, "", http.Header{"Content-Length": {"0"}}},
		{"one", 500, "x", http.Header{"Content-Length": {"1"}, "Retry-After": {"7"}}},
		{"large", 200, string(large), http.Header{
			"Content-Length": {fmt.Sprint(len(large))}, "Cache-Control": {"max-age=5"},
		}},
		{"chunked", 403, string(large[:1<<20]), nil},
		{"gzip", 404, zipped.String(), http.Header{
			"Content-Length": {fmt.Sprint(zipped.Len())}, "Content-Encoding": {"gzip"}, "Etag": {`"x"`},
			"Content-Language": {"de"}, "X-Request-Id": {"r"}, "Www-Authenticate": {"Bearer"},
		}},
		{"early", 409, "", http.Header{"Content-Length": {"0"}, "Content-Type": nil, "Date": nil}},
	} {
		for _, version := range []string{"1.1", "1.0"} {
			_, from := l.raw("GET /v1/apps/ref30/api/v2/" + tc.path + " HTTP/" + version +
				"\r\nHost: x\r\nConnection: keep-alive\r\nPrefer: wait=60\r\n\r\n")
			r := l.reply(from, "GET")
			r.expect(t, tc.status, fmt.Sprintf("received-status=%d", tc.status))
			if r.body != tc.body {
				t.Errorf("%s, HTTP/%s: %d bytes arrived, want %d", tc.path, version, len(r.body), len(tc.body))
			}
			want := http.Header{
				"Content-Type": {"application/odd"}, "Cache-Control": {"no-store"}, "Date": r.Header["Date"],
				"Proxy-Status": r.Header["Proxy-Status"], "Tvpassd-Endpoint": {l.endpoint},
			}
			maps.Copy(want, tc.headers)
			maps.DeleteFunc(want, func(_ string, values []string) bool { return len(values) == 0 })
			r.Header.Del("Connection") // which is the daemon's
			if !maps.EqualFunc(r.Header, want, slices.Equal) {
				t.Errorf("%s, HTTP/%s: the headers are\n%v, want\n%v", tc.path, version, r.Header, want)
			}
		}
	}
}

// A connection serves call after call, and a caller who has shut its writing
// side still gets its answer.
func TestGatewayClients(t *testing.T) {
	l := newAPILab(t, nil)
	l.up()
	const get = "GET /v1/api/v2/REF30/configuration HTTP/1.1\r\nHost: x\r\nPrefer: wait=60\r\n\r\n"
	c, from := l.raw(get + get) // two at once
	l.reply(from, "GET").expect(t, 200, "received-status=200")
	l.reply(from, "GET").expect(t, 200, "received-status=200")
	_, err := io.WriteString(c, get)
	l.must(err)
	l.must(c.(*net.UnixConn).CloseWrite())
	l.reply(from, "GET").expect(t, 200, "received-status=200")
	if rest, err := io.ReadAll(from); len(rest) > 0 || err != nil {
		t.Errorf("behind the answer: %q, %v", rest, err)
	}
	calls := l.calls()
	for i, call := range calls[1:] {
		if !call.follows(calls[i]) {
			t.Errorf("call %d came over a connection of its own", i+1)
		}
	}
}
