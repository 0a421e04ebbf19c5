package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tvpassd/tvpassd/daemon/dcr/dcrtest"
	"github.com/tvpassd/tvpassd/ipc"
)

// apiLab is a lab whose server is the test's own. The simulator answers
// registrations and token requests, and a function of the test API calls.
type apiLab struct {
	*lab
	sim    *dcrtest.Server
	player http.Client // on the socket
	server *http.Server

	mu     sync.Mutex // guards what follows
	answer http.HandlerFunc
	seen   []arrival
	tokens []string // that were issued
	conns  int      // connections that were made
}

// arrival is a request that came to the server.
type arrival struct {
	method, uri string
	header      http.Header // with Host and Transfer-Encoding
	body        string
	remote      string
	at          time.Time
	api         bool
	status      int
}

// follows reports whether a came over the connection of the one before, which
// the daemon drops when it has been idle for 2 s.
func (a arrival) follows(before arrival) bool {
	return a.remote == before.remote || a.at.Sub(before.at) > time.Second
}

// newAPILab starts a server and writes a configuration with the app ref30. A nil
// answer is that of fine.
func newAPILab(t *testing.T, answer http.HandlerFunc) *apiLab {
	t.Helper()
	t.Parallel()                        // they mostly wait
	dir, err := os.MkdirTemp("", "lab") // t.TempDir's paths are too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	sim := dcrtest.New(dcrtest.Config{Now: time.Now, NoThrottle: true})
	l := &apiLab{lab: &lab{t: t, dir: dir}, answer: answer, sim: sim}
	if answer == nil {
		l.answer = fine
	}
	l.must(os.Chmod(dir, 0o755))
	l.must(os.Mkdir(l.path("apps.d"), 0o755))
	l.must(os.Mkdir(l.path("runtime"), 0o755))
	ca, cert, err := dcrtest.NewCA(time.Now())
	l.must(err)
	l.write("ca.pem", string(ca))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	l.must(err)
	l.serve(tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{cert}}))
	l.endpoint = "https://" + listener.Addr().String()
	l.answerWithin("5m")
	l.addApp("ref30", "")
	l.write("runtime/identifier", `{"source":"dmi-product-uuid","raw":"ODU1NjY0YWItYTE1Ny00Y2I2"}`)
	l.player.Transport = &http.Transport{
		DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", l.path("sock"))
		},
	}
	t.Cleanup(l.player.CloseIdleConnections)
	return l
}

// answerWithin writes a configuration with a time for the server's answers.
func (l *apiLab) answerWithin(timeout string) {
	l.t.Helper()
	l.configure("", "[device]", `model = "Box"`, `version = "1"`, "[gateway]", fmt.Sprintf("timeout = %q", timeout))
}

// fine answers an API call.
func fine(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	io.WriteString(w, `{"fine":true}`)
}

func (l *apiLab) serve(listener net.Listener) {
	l.server = &http.Server{
		Handler: http.HandlerFunc(l.handle), ErrorLog: log.New(io.Discard, "", 0),
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				l.mu.Lock()
				defer l.mu.Unlock()
				l.conns++
			}
		},
	}
	go l.server.Serve(listener)
	l.t.Cleanup(func() { l.server.Close() })
}

func (l *apiLab) handle(w http.ResponseWriter, r *http.Request) {
	at := time.Now()
	body, _ := io.ReadAll(r.Body)
	header := r.Header.Clone()
	header["Host"] = []string{r.Host}
	header["Transfer-Encoding"] = r.TransferEncoding
	r.Body = io.NopCloser(strings.NewReader(string(body)))
	api := strings.HasPrefix(r.URL.Path, "/api/")
	status := &statusWriter{ResponseWriter: w}
	l.mu.Lock()
	n := len(l.seen)
	l.seen = append(l.seen, arrival{r.Method, r.RequestURI, header, string(body), r.RemoteAddr, at, api, 0})
	answer := l.answer
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if n < len(l.seen) {
			l.seen[n].status = status.status
		}
	}()
	if api {
		answer(status, r)
		return
	}
	status.copy = new(strings.Builder)
	l.sim.ServeHTTP(status, r)
	var issued struct {
		AccessToken string `json:"access_token"`
	}
	if json.Unmarshal([]byte(status.copy.String()), &issued) == nil && issued.AccessToken != "" {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.tokens = append(l.tokens, issued.AccessToken)
	}
}

// statusWriter remembers what was answered.
type statusWriter struct {
	http.ResponseWriter
	status int
	copy   *strings.Builder
}

func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if w.copy != nil {
		w.copy.Write(b)
	}
	return w.ResponseWriter.Write(b)
}

// answers makes another function answer API calls from now on.
func (l *apiLab) answers(f http.HandlerFunc) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answer = f
}

// calls returns the API calls that came.
func (l *apiLab) calls() []arrival {
	var calls []arrival
	for _, c := range l.requests() {
		if c.api {
			calls = append(calls, c)
		}
	}
	return calls
}

// requests returns all requests that came.
func (l *apiLab) requests() []arrival {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]arrival(nil), l.seen...)
}

// forget forgets the requests that came.
func (l *apiLab) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen = nil
}

// issued returns the access tokens.
func (l *apiLab) issued() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.tokens...)
}

// reply is an answer on the socket.
type reply struct {
	*http.Response
	body string
}

// problem returns the problem that a reply is.
func (r reply) problem(t *testing.T) *ipc.Problem {
	t.Helper()
	p := new(ipc.Problem)
	err := json.Unmarshal([]byte(r.body), p)
	if err != nil || r.Header.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("%s %v %q is not a problem", r.Status, r.Header, r.body)
	}
	return p
}

// expect expects a status, and a Proxy-Status.
func (r reply) expect(t *testing.T, status int, proxyStatus string) {
	t.Helper()
	if got := r.Header["Proxy-Status"]; r.StatusCode != status || len(got) != 1 || got[0] != "tvpassd; "+proxyStatus {
		t.Errorf("%s, Proxy-Status %q, want %d and %q\n%s", r.Status, got, status, proxyStatus, r.body)
	}
}

// fails expects a problem of the daemon's own.
func (r reply) fails(t *testing.T, status int, code, proxyError string, sent bool) *ipc.Problem {
	t.Helper()
	r.expect(t, status, "error="+proxyError)
	p := r.problem(t)
	if p.Code != code || p.Status != status || p.Sent == nil || *p.Sent != sent {
		t.Errorf("%+v, want code %s and sent %v\n%s", p, code, sent, r.body)
	}
	if r.Header["Tvpassd-Endpoint"] != nil {
		t.Errorf("Tvpassd-Endpoint stands on an answer that is not the server's: %v", r.Header)
	}
	return p
}

// call makes a player's call of ref30's. Headers are name and value in turn.
func (l *apiLab) call(method, path, body string, headers ...string) reply {
	l.t.Helper()
	r, err := l.try(l.t.Context(), method, "/v1/apps/ref30/api/v2/"+path, body, headers...)
	l.must(err)
	return r
}

// try makes a player's call that may fail.
func (l *apiLab) try(ctx context.Context, method, path, body string, headers ...string) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://tvpassd"+path, strings.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	resp, err := l.player.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return reply{resp, string(text)}, err
}

// raw sends bytes on a connection of its own, and returns the connection and what
// reads from it.
func (l *apiLab) raw(request string) (net.Conn, *bufio.Reader) {
	l.t.Helper()
	c, err := net.Dial("unix", l.path("sock"))
	l.must(err)
	l.t.Cleanup(func() { c.Close() })
	l.must(c.SetDeadline(time.Now().Add(patience)))
	_, err = io.WriteString(c, request)
	l.must(err)
	return c, bufio.NewReader(c)
}

// reply reads the answer to a request of a method.
func (l *apiLab) reply(from *bufio.Reader, method string) reply {
	l.t.Helper()
	resp, err := http.ReadResponse(from, &http.Request{Method: method})
	l.must(err)
	text, err := io.ReadAll(resp.Body)
	l.must(err)
	return reply{resp, string(text)}
}

// send sends bytes and reads the answer.
func (l *apiLab) send(request string) reply {
	l.t.Helper()
	_, from := l.raw(request)
	method, _, _ := strings.Cut(request, " ")
	return l.reply(from, method)
}

// until waits for something to become true while the daemon runs.
func (l *apiLab) until(what string, ready func() bool) {
	l.t.Helper()
	l.daemon.until(what, ready)
}

// status returns the daemon's status.
func (l *apiLab) status() (st ipc.Status) {
	l.t.Helper()
	r := l.curl("/v1/status")
	l.must(json.Unmarshal([]byte(r.stdout), &st))
	return st
}

// sum adds up the samples of a metric, whose lines begin so.
func (l *apiLab) sum(prefix string) (sum float64) {
	l.t.Helper()
	for line := range strings.Lines(l.curl("/v1/metrics").stdout) {
		if strings.HasPrefix(line, prefix) {
			var value float64
			_, err := fmt.Sscan(line[strings.LastIndexByte(line, ' ')+1:], &value)
			l.must(err)
			sum += value
		}
	}
	return sum
}
