package gateway_test

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/tvpassd/tvpassd/daemon/gateway"
)

const (
	fine     = "HTTP/1.1 200 OK\r\n"
	chunked  = fine + "Transfer-Encoding: chunked\r\n\r\n"
	hello    = "Content-Length: 5\r\n\r\nhello"
	received = "received-status="
	notHTTP  = "error=http_protocol_error"
)

// write answers with bytes.
func write(answer string) func(*tls.Conn) {
	return func(c *tls.Conn) { _, _ = io.WriteString(c, answer) } // the daemon may have enough
}

// under answers with a half, and then does something to the connection below TLS.
func under(do func(*net.TCPConn)) func(*tls.Conn) {
	return func(c *tls.Conn) {
		write(fine + "Content-Length: 50\r\n\r\nhello")(c)
		do(c.NetConn().(*net.TCPConn))
	}
}

// oddAnswer is an answer of the server, and what becomes of it.
type oddAnswer struct {
	name   string
	answer func(*tls.Conn)
	status int
	proxy  string // without "tvpassd; "; "" if it is the server's own status
	body   string // "" for that of a problem
	cut    bool   // the body is
}

func oddAnswers() []oddAnswer {
	extensions := "5;a=\"b\"\r\nhello\r\n0;x\r\nX-Late: 1\r\n\r\n"
	early := strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", 9)
	return []oddAnswer{
		{"204 with a body", write("HTTP/1.1 204 No Content\r\n" + hello), 204, "", "", false},
		{"205", write("HTTP/1.1 205 Reset Content\r\n" + hello), 205, "", "hello", false},
		{"close-delimited", write(fine + "\r\nhello"), 200, "", "hello", false},
		{"HTTP/1.0", write("HTTP/1.0 200 OK\r\n\r\nhello"), 200, "", "hello", false},
		{"HTTP/0.9", write("hello"), 503, notHTTP, "", false},
		{"longer than it says", write(fine + hello + ", world"), 200, "", "hello", false},
		{"shorter than it says", write(fine + "Content-Length: 50\r\n\r\nhello"), 200, "", "hello", true},
		{"two lengths", write(fine + "Content-Length: 6\r\n" + hello), 503, notHTTP, "", false},
		{"a length twice", write(fine + "Content-Length: 5\r\n" + hello), 200, "", "hello", false},
		{"a negative length", write(fine + "Content-Length: -5\r\n\r\nhello"), 503, notHTTP, "", false},
		{"a length and chunks", write(fine + "Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n" + extensions),
			200, "", "hello", false},
		{"extensions and trailers", write(chunked + extensions), 200, "", "hello", false},
		{"a bad chunk", write(chunked + "5\r\nhello\r\nzz\r\n"), 200, "", "hello", true},
		{"a bad first chunk", write(chunked + "fffffffffffffffff\r\nhello\r\n"), 200, "", "", true},
		{"an unknown coding", write(fine + "Transfer-Encoding: zip, chunked\r\n\r\n0\r\n\r\n"), 503, notHTTP, "", false},
		{"a header of 1 MB", write(fine + "X-Odd: " + strings.Repeat("x", 1<<20) + "\r\n" + hello), 503, notHTTP, "", false},
		{"1xx", write(early + fine + hello), 200, "", "hello", false},
		{"status 099", write("HTTP/1.1 099 Odd\r\n" + hello), 503, notHTTP, "", false},
		{"status 600", write("HTTP/1.1 600 Odd\r\n" + hello), 503, notHTTP, "", false},
		{"status 999", write("HTTP/1.1 999 Odd\r\n" + hello), 503, notHTTP, "", false},
		{"status abc", write("HTTP/1.1 abc Odd\r\n" + hello), 503, notHTTP, "", false},
		{"a header with CR", write(fine + "ETag: a\rX-Odd: b\r\n" + hello), 503, notHTTP, "", false},
		{"no gzip", write(fine + "Content-Encoding: gzip\r\n" + hello), 200, "", "hello", false},
		{"two answers", write(fine + hello + fine + "Content-Length: 5\r\n\r\nWRONG"), 200, "", "hello", false},
		{"a cut 401", write("HTTP/1.1 401 Unauthorized\r\nContent-Length: 50\r\n\r\nhello"), 401, "", "hello", true},
		{"a reset", under(func(c *net.TCPConn) { _ = c.SetLinger(0); _ = c.Close() }), 200, "", "hello", true},
		{"an end without close_notify", under(func(c *net.TCPConn) { _ = c.Close() }), 200, "", "hello", true},
		{"a TLS alert", under(func(c *net.TCPConn) { _, _ = c.Write([]byte{21, 3, 3, 0, 2, 2, 80}) }),
			200, "", "hello", true},
	}
}

// A player gets what the server means, as far as that is HTTP: an answer, whole
// or visibly cut, or a problem.
func TestOddAnswers(t *testing.T) {
	r := newRig(t)
	for _, tc := range oddAnswers() {
		t.Run(tc.name, func(t *testing.T) {
			r.answers(tc.answer)
			resp, body, cut := r.get(t)
			if tc.proxy == "" {
				tc.proxy = received + resp.Status[:3]
			}
			if resp.StatusCode != tc.status || resp.Header.Get("Proxy-Status") != "tvpassd; "+tc.proxy || cut != tc.cut {
				t.Errorf("%s, Proxy-Status %q, cut %v", resp.Status, resp.Header.Get("Proxy-Status"), cut)
			}
			// A reset may overtake what was sent before it.
			if tc.proxy[0] == 'r' && body != tc.body && (!tc.cut || body != "") {
				t.Errorf("the body is %q, want %q", body, tc.body)
			}
		})
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range r.outcomes {
		if !slices.Contains(gateway.Results[:], o.Result) {
			t.Errorf("unknown result %q", o.Result)
		}
	}
}

// HTTP/1.0 ends a body without a length by the end of the connection: a header
// alone would be an answer, whole and empty.
func TestACutAnswerToHTTP10(t *testing.T) {
	r := newRig(t)
	r.answers(write(chunked))
	if answer := r.send(t, []byte("GET /v1/api/v2/x HTTP/1.0\r\n\r\n")); answer != "" {
		t.Errorf("the player reads %q", answer)
	}
}

// answers has calls answered by a function from now on, each over a connection of
// its own.
func (r *rig) answers(raw func(*tls.Conn)) {
	r.client.Drop()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.raw = raw
}

// get makes a call, and returns the answer and whether its body is cut.
func (r *rig) get(t *testing.T) (resp *http.Response, body string, cut bool) {
	t.Helper()
	answer := r.send(t, []byte("GET /v1/api/v2/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
	resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(answer)), nil)
	if err != nil {
		t.Fatalf("%v: %q", err, answer)
	}
	text, err := io.ReadAll(resp.Body)
	return resp, string(text), err != nil
}

// What is not a request of HTTP/1.1 is refused as that, and nothing leaves. What
// is odd leaves as one call with the body that was meant.
func TestOddRequests(t *testing.T) {
	const get, post = "GET /v1/api/v2/x HTTP/1.1\r\nHost: x\r\n", "POST /v1/api/v2/x HTTP/1.1\r\nHost: x\r\n"
	const chunks = "\r\n5\r\nhello\r\n0\r\n\r\n"
	r := newRig(t)
	for _, tc := range []struct {
		name, request string
		status        int    // of the first answer
		leaves        string // the body of the call; "-": nothing leaves
	}{
		{"HTTP/0.9", "GET /v1/api/v2/x\r\n\r\n", 400, "-"},
		{"HTTP/2.0", "GET /v1/api/v2/x HTTP/2.0\r\nHost: x\r\n\r\n", 505, "-"},
		{"HTTP/1.0", "GET /v1/api/v2/x HTTP/1.0\r\n\r\n", 200, ""},
		{"HTTP/1.0 with chunks", "POST /v1/api/v2/x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n" + chunks, 400, "-"},
		{"HTTP/1.0 with a body", "POST /v1/api/v2/x HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello", 200, "hello"},
		{"HTTP/1.0 without", "POST /v1/api/v2/x HTTP/1.0\r\nContent-Length: 0\r\n\r\n", 200, ""},
		{"an unknown coding", post + "Transfer-Encoding: xchunked\r\n" + chunks, 501, "-"},
		{"two codings", post + "Transfer-Encoding: gzip, chunked\r\n" + chunks, 501, "-"},
		{"a bad chunk", post + "Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n", 400, "-"},
		{"two lengths", post + "Content-Length: 4\r\nContent-Length: 5\r\n\r\nhello", 400, "-"},
		{"a length with a sign", post + "Content-Length: +5\r\n\r\nhello", 400, "-"},
		{"a length and chunks", post + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n" + chunks, 200, "hello"},
		{"bytes behind the body", post + "Content-Length: 5\r\n\r\nhelloGARBAGE /y\r\n\r\n", 200, "hello"},
		{"a GET with a body", get + "Content-Length: 5\r\n\r\nhello", 200, "hello"},
		{"two Expects", post + "Expect: 100-continue\r\nExpect: 200-ok\r\nContent-Length: 0\r\n\r\n", 417, "-"},
		{"another Expect in the list", post + "Expect: 100-continue, x\r\nContent-Length: 0\r\n\r\n", 417, "-"},
		{"an empty Expect", post + "Expect:\r\nContent-Length: 0\r\n\r\n", 200, ""},
		{"Expect without a body", get + "Expect: 100-continue\r\n\r\n", 200, ""},
		{"a space in a name", get + "AP-X : y\r\n\r\n", 400, "-"},
		{"a CR in a value", get + "AP-X: a\rX-Device-Info: y\r\n\r\n", 400, "-"},
		{"a folded value", get + "AP-X: a\r\n X-Device-Info: y\r\n\r\n", 200, ""},
		{"a websocket", get + "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: eA==\r\n\r\n", 200, ""},
		{"h2c", get + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n\r\n", 200, ""},
		{"CONNECT", "CONNECT /v1/api/v2/x HTTP/1.1\r\nHost: x\r\n\r\n", 405, "-"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var bodies []string
			r.answers(nil)
			answer := r.send(t, []byte(tc.request))
			resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(answer)), nil)
			if err != nil {
				t.Fatalf("%v: %q", err, answer)
			}
			proxy := "error=http_request_error"
			if tc.status == http.StatusOK {
				proxy = received + "200"
			}
			if resp.StatusCode != tc.status || resp.Header.Get("Proxy-Status") != "tvpassd; "+proxy {
				t.Errorf("%s, Proxy-Status %q", resp.Status, resp.Header.Get("Proxy-Status"))
			}
			for _, got := range r.take() {
				check(t, got.Request)
				bodies = append(bodies, got.body)
			}
			if got := strings.Join(bodies, " and "); got != tc.leaves && (len(bodies) > 0 || tc.leaves != "-") {
				t.Errorf("%q has left, want %q", got, tc.leaves)
			}
		})
	}
}
