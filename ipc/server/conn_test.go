package server

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tvpassd/tvpassd/ipc"
)

// A caller who shuts its writing side, as `nc -N` does, still gets its answer;
// the request of one who leaves ends.
func TestAHalfClosedCallerIsServed(t *testing.T) {
	t.Parallel()
	l := startLab(t, nil)
	release := make(chan struct{})
	l.blocks(release)
	l.set("one", ipc.AppStatus{App: "one", State: "before"}, nil)
	half := func(c net.Conn) {
		if err := c.(*net.UnixConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
	}
	ask := func(body string) net.Conn {
		c := l.dial(alice)
		fmt.Fprintf(c, "GET /v1/token HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		half(c)
		return c
	}
	plain, withBody, leaver, watcher := ask(""), ask("a body"), ask(""), l.watch(alice, "one")
	half(watcher.conn)
	watcher.expect("at once", "state {")
	l.until("waiters", func() bool { return l.waiters() == 3 })
	leaver.Close()
	l.until("leaving", func() bool { return l.waiters() == 2 })

	l.set("one", ipc.AppStatus{App: "one", State: "after"}, nil)
	watcher.expect("later", `state {"app":"one","state":"after"`)
	close(release)
	for name, c := range map[string]net.Conn{"plain": plain, "with a body": withBody} {
		text := closed(t, c)
		if !strings.HasPrefix(text, "HTTP/1.1 200 OK") || !strings.HasSuffix(text, "}\n") {
			t.Errorf("%s: %s", name, text)
		}
	}
}

// The request of a caller who leaves ends, also if the caller has sent another
// one, or anything else, behind it.
func TestALeaverWithMoreToSay(t *testing.T) {
	t.Parallel()
	l := startLab(t, nil)
	release := make(chan struct{})
	defer close(release)
	l.blocks(release)
	const request = "GET /v1/token HTTP/1.1\r\nHost: x\r\n\r\n"
	var leavers []net.Conn
	for together, more := range map[bool]string{true: request, false: strings.Repeat("x", 100<<10)} {
		c := l.dial(alice)
		if together {
			io.WriteString(c, request+more)
		} else {
			io.WriteString(c, request)
			l.until("waiters", func() bool { return l.waiters() == len(leavers)+1 })
			io.WriteString(c, more)
		}
		leavers = append(leavers, c)
		l.until("waiters", func() bool { return l.waiters() == len(leavers) })
	}
	for i, c := range leavers {
		c.Close()
		l.until("leaving", func() bool { return l.waiters() == len(leavers)-i-1 })
	}
}

// Some clients send the socket's path as Host, or other text.
func TestAnyHost(t *testing.T) {
	t.Parallel()
	l := startLab(t, nil)
	c := l.dial(alice)
	for _, host := range []string{"Host: tvpassd", "Host:", "HOST:  /run/x.sock ", "host: a b", "Host: \"<ü>\"\x7f",
		"X: y\r\nhOsT: [::", "Host: " + strings.Repeat("/", 8000)} {
		fmt.Fprintf(c, "GET /v1/token HTTP/1.1\r\n%s\r\n\r\n", host)
		if a := l.read(c, "GET"); a.StatusCode != 200 {
			t.Errorf("%.40q: %s %s", host, a.Status, a.body)
		}
	}
}

// An unwanted body does not become the next request.
func TestAConnectionGoesOn(t *testing.T) {
	t.Parallel()
	l := startLab(t, nil)
	c := l.dial(alice)
	r := bufio.NewReader(c)
	for _, path := range []string{"/v1/token", "/nothing", "/v1/apps/two/token", "/v1/apps/one/report",
		"/v1/token?wait=x", "/v1/token"} {
		const body = "GET /v1/metrics HTTP/1.1\r\nHost: x\r\n\r\n"
		fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if kind := resp.Header.Get("Content-Type"); strings.HasPrefix(kind, "text/plain") {
			t.Fatalf("%s: the body was obeyed", path)
		}
	}
}

// echo answers a request with its body, as an answer of a known length.
func echo(w http.ResponseWriter, r *http.Request) {
	r.Context().Value(peerKey{}).(*conn).expect(r.ContentLength)
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(err)
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Write(body)
}

// oneConn is a listener that accepts what the channel holds.
type oneConn chan net.Conn

func (l oneConn) Accept() (net.Conn, error) {
	if c, ok := <-l; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (l oneConn) Close() error   { return nil }
func (l oneConn) Addr() net.Addr { return nil }

// Whatever the Host, and however the requests are cut on their way, bodies
// arrive byte for byte, even where they look like a header.
func TestBodiesPassUntouched(t *testing.T) {
	t.Parallel()
	bodies := []string{"host: a=1", "\r\n\r\nHost: /x\r\nhOST:/\xff\n\nhost:", "x", "hosthost:\n", "\n"}
	var requests, want string
	for i, body := range bodies {
		kind := fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body)
		if i == len(bodies)-1 { // the last one, as [conn.idle] says
			kind = fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n1;x=y\r\nh\r\n0\r\nHost: /trailer\r\n\r\n",
				len(body), body)
			body += "h"
		}
		requests += "GET /a HTTP/1.1\r\nHost: /run/tvpassd.sock\r\n\r\n" +
			"POST /host: HTTP/1.1\r\nHos: /\r\nHOST: /b c\r\nX: host: /d\r\n" + kind
		want += body
	}
	requests += "GET /last HTTP/1.1\r\nConnection: close\r\nHost: x\r\n\r\n"
	for cut := range len(requests) {
		for _, pieces := range [][]string{{requests[:cut], requests[cut:]}, split(requests, cut+1)} {
			if got := echoed(t, pieces, 2*len(bodies)+1); got != want {
				t.Fatalf("cut at %d: %q, want %q", cut, got, want)
			}
		}
	}
}

func split(s string, size int) []string {
	var pieces []string
	for piece := range slices.Chunk([]byte(s), size) {
		pieces = append(pieces, string(piece))
	}
	return pieces
}

// echoed sends the pieces of requests, and returns the bodies of the answers.
func echoed(t *testing.T, pieces []string, answers int) string {
	t.Helper()
	near, far := net.Pipe()
	defer near.Close()
	accept := make(oneConn, 1)
	accept <- &conn{Conn: far}
	close(accept)
	s := &Server{cfg: Config{Log: discard()}}
	srv := s.http(t.Context(), http.HandlerFunc(echo))
	if err := srv.Serve(accept); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	go func() {
		for _, piece := range pieces {
			io.WriteString(near, piece)
		}
	}()
	r := bufio.NewReader(near)
	var all strings.Builder
	for range answers {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatalf("%v, after %q", err, all.String())
		}
		if _, err := io.Copy(&all, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s, %v", resp.Status, err)
		}
	}
	return all.String()
}

// A request that net/http itself refuses is answered like any other.
func TestRefusalsAreProblems(t *testing.T) {
	t.Parallel()
	l := startLab(t, nil)
	const get = "GET /v1/token HTTP/1.1\r\n"
	for _, test := range []struct {
		request string
		status  int
		code    string
	}{
		{get + "\r\n", 400, ipc.CodeInvalidParameter},
		{"nonsense\r\n\r\n", 400, ipc.CodeInvalidParameter},
		{"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400, ipc.CodeInvalidParameter},
		{get + "Host: x\r\nContent-Length: x\r\n\r\n", 400, ipc.CodeInvalidParameter},
		{get + "Host: x\r\nExpect: a-miracle\r\n\r\n", 417, ipc.CodeInvalidParameter},
		{get + "Host: x\r\nX: " + strings.Repeat("x", 2*maxHeader) + "\r\n\r\n", 431, ipc.CodeTooLarge},
		{get + "Host: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501, ipc.CodeInvalidParameter},
		{"GET /v1/token HTTP/2.0\r\nHost: x\r\n\r\n", 505, ipc.CodeInvalidParameter},
	} {
		for _, before := range []string{"", get + "Host: x\r\n\r\n"} {
			c := l.dial(alice)
			io.WriteString(c, before+test.request)
			r := bufio.NewReader(c)
			if before != "" {
				if a := l.read(r, "GET"); a.StatusCode != http.StatusOK {
					t.Errorf("before %.60q: %s", test.request, a.Status)
				}
			}
			a := l.read(r, "GET")
			if p := a.problem(t); a.StatusCode != test.status || p.Status != test.status || p.Code != test.code ||
				p.Detail == "" || !a.Close || a.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%.60q: %s %v %+v", test.request, a.Status, a.Header, p)
			}
		}
	}
}

// Whoever sends a body that is refused can send all of it: many clients read the
// answer only then.
func TestARefusedBodyCanBeSent(t *testing.T) {
	t.Parallel()
	l := startLab(t, func(cfg *Config) { cfg.HeaderTimeout = time.Minute })
	large := strings.Repeat("x", 300_000)
	for _, tc := range []struct {
		what   string
		uid    uint32
		head   string
		status int
	}{
		{"too large", alice, "POST /v1/apps/one/report HTTP/1.1\r\n", 413},
		{"too large, at the end", alice, "POST /v1/apps/one/report HTTP/1.1\r\nConnection: close\r\n", 413},
		{"without a right", stranger, "POST /v1/apps/one/report HTTP/1.1\r\nConnection: close\r\n", 403},
		{"another method", alice, "POST /v1/apps/one/token HTTP/1.1\r\nConnection: close\r\n", 405},
		{"of HTTP/1.0", alice, "POST /v1/nothing HTTP/1.0\r\n", 404},
	} {
		c := l.dial(tc.uid)
		fmt.Fprintf(c, "%sHost: x\r\nContent-Length: %d\r\n\r\n", tc.head, len(large))
		if a := l.read(c, "POST"); a.StatusCode != tc.status {
			t.Errorf("%s: %s %s", tc.what, a.Status, a.body)
		}
		if n, err := io.WriteString(c, large); err != nil {
			t.Errorf("%s: after %d bytes: %v", tc.what, n, err)
		}
	}
}

// A refusal by net/http has the gateway's headers if the path is the gateway's,
// however the request comes in.
func TestRefusalsOfTheGateway(t *testing.T) {
	t.Parallel()
	const path = "GET /v1/apps/one/api/v2/x HTTP/1.1\r\n"
	for request, gateway := range map[string]bool{
		path + "nonsense\r\n\r\n": true, path + "\r\n": true, strings.Replace(path, "x", "%zz", 1) + "\r\n": true,
		strings.Replace(path, "x", strings.Repeat("x", 2*maxHeader), 1) + "\r\n": true,
		"GET /v1/token HTTP/1.1\r\nX: /api/v2/x\r\n\r\n":                         false,
		"GET /" + strings.Repeat("x", 2*maxLine) + "/api/v2/x HTTP/1.1\r\n\r\n":  false,
	} {
		for _, size := range []int{1, 10, len(request)} {
			answer, err := http.ReadResponse(bufio.NewReader(strings.NewReader(refused(t, request, size))), nil)
			if err != nil {
				t.Fatal(err)
			}
			var p ipc.Problem
			if err := json.NewDecoder(answer.Body).Decode(&p); err != nil {
				t.Fatal(err)
			}
			if has := answer.Header.Get("Proxy-Status") == "tvpassd; error=http_request_error"; answer.StatusCode < 400 ||
				has != gateway || (p.Sent != nil) != gateway {
				t.Errorf("%.60q in pieces of %d: %s %v %+v", request, size, answer.Status, answer.Header, p)
			}
		}
	}
}

// refused sends a request in pieces, and returns all of the answer.
func refused(t *testing.T, request string, size int) string {
	t.Helper()
	near, far := net.Pipe()
	accept := make(oneConn, 1)
	accept <- &conn{Conn: far}
	close(accept)
	srv := (&Server{cfg: Config{Log: discard()}}).http(t.Context(), http.HandlerFunc(echo))
	if err := srv.Serve(accept); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	go func() {
		for _, piece := range split(request, size) {
			io.WriteString(near, piece) // the server may have read enough
		}
	}()
	answer, err := io.ReadAll(near)
	if err != nil {
		t.Error(err)
	}
	return string(answer)
}

// Whatever comes in, in whatever pieces: nothing but the value of a Host header
// changes, no byte is lost, and bodies pass untouched.
func FuzzRead(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\nHost: /x\r\n\r\nGET / HTTP/1.1\r\nhost:y\n\n"), uint8(3), uint8(0))
	f.Add([]byte("\r\n\r\nHOST:\nhost: a"), uint8(1), uint8(7))
	f.Add([]byte("h\no\ns\nt\n:\nhost:\rx"), uint8(200), uint8(255))
	f.Add([]byte("host\x1a0"), uint8(9), uint8(0)) // like a colon but for one bit
	f.Fuzz(func(t *testing.T, sent []byte, size, body uint8) {
		near, far := net.Pipe()
		go func() {
			for piece := range slices.Chunk(sent, int(size)+1) {
				near.Write(piece)
			}
			near.Close()
		}()
		c := &conn{Conn: far}
		c.expect(int64(body)) // what comes first is a body
		var got []byte
		for b := make([]byte, int(size)+1); ; {
			n, err := c.Read(b)
			got = append(got, b[:n]...)
			if err != nil {
				break
			}
		}
		if len(got) != len(sent) {
			t.Fatalf("%q became %q", sent, got)
		}
		inBody := min(int(body), len(sent))
		if !bytes.Equal(sent[:inBody], got[:inBody]) {
			t.Fatalf("the body %q became %q", sent[:inBody], got[:inBody])
		}
		was, is := bytes.Split(sent[inBody:], []byte("\n")), bytes.Split(got[inBody:], []byte("\n"))
		for i, line := range was {
			if !bytes.Equal(line, is[i]) && !bytes.EqualFold(bytes.ReplaceAll(line, []byte("\r"), nil)[:len(hostName)],
				[]byte(hostName)) {
				t.Fatalf("%q became %q", line, is[i])
			}
		}
	})
}
