package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tvpassd/tvpassd/daemon/dcr/dcrtest"
)

// hijack answers with bytes and closes the connection.
func hijack(w http.ResponseWriter, answer string) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	_, _ = io.WriteString(c, answer)
	_ = c.Close()
}

// Each failure of the server has its problem for the player.
func TestGatewayServerFaults(t *testing.T) {
	l := newAPILab(t, func(w http.ResponseWriter, r *http.Request) {
		switch path := strings.TrimPrefix(r.URL.Path, "/api/v2/"); path {
		case "301", "302", "303", "304", "307", "308", "300":
			w.Header().Set("Location", "/api/v2/elsewhere")
			var status int
			fmt.Sscan(path, &status)
			w.WriteHeader(status)
		case "101":
			hijack(w, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
		case "close":
			panic(http.ErrAbortHandler)
		case "half":
			hijack(w, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n")
		case "odd":
			hijack(w, "SSH-2.0-OpenSSH_9.2\r\n\r\n")
		case "hang":
			<-r.Context().Done()
		default:
			fine(w, r)
		}
	})
	l.up()
	l.token()
	want := map[string]string{
		"101": "http_protocol_error", "odd": "http_protocol_error",
		"close": "http_response_incomplete", "half": "http_response_incomplete",
	}
	for _, redirect := range []string{"300", "301", "302", "303", "304", "307", "308"} {
		want[redirect] = "http_protocol_error"
	}
	for path, want := range want {
		r := l.call("GET", path, "", "Prefer", "wait=60")
		r.fails(t, 503, "server_error", want, true)
		if r.Header["Location"] != nil || r.Header["Upgrade"] != nil {
			t.Errorf("%s: the headers are %v", path, r.Header)
		}
	}
	l.answerWithin("1s")
	l.run("reload").expect(t, 0)
	l.call("POST", "hang", "x", "Prefer", "wait=60").fails(t, 504, "timeout", "http_response_timeout", true)
	for _, call := range l.calls() {
		if strings.Contains(call.uri, "elsewhere") {
			t.Error("a redirect was followed")
		}
	}
	for result, n := range map[string]float64{"server_error": 11, "timeout": 1} {
		if got := l.sum(`tvpassd_gateway_requests_total{app="ref30",operation="other",result="` + result); got != n {
			t.Errorf("%v calls were counted as %s, want %v", got, result, n)
		}
	}
}

// An answer that is cut in its body ends the player's connection: the player sees
// that it is not whole, and no text of ours.
func TestGatewayCutBodies(t *testing.T) {
	l := newAPILab(t, func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimPrefix(r.URL.Path, "/api/v2/")
		if strings.HasPrefix(name, "length") {
			w.Header().Set("Content-Length", "100000")
		}
		w.WriteHeader(200)
		io.WriteString(w, strings.Repeat("x", 5000))
		_ = http.NewResponseController(w).Flush()
		if strings.HasSuffix(name, "hang") {
			<-r.Context().Done()
		}
		panic(http.ErrAbortHandler)
	})
	l.up()
	for _, path := range []string{"length", "chunked", "length-hang", "chunked-hang"} {
		if path == "length-hang" {
			l.answerWithin("1s")
			l.run("reload").expect(t, 0)
		}
		var head, body string
		l.until("an answer in time", func() bool {
			c, from := l.raw("GET /v1/apps/ref30/api/v2/" + path +
				" HTTP/1.1\r\nHost: x\r\nConnection: close\r\nPrefer: wait=60\r\n\r\n")
			defer c.Close()
			answer, err := io.ReadAll(from)
			l.must(err)
			head, body, _ = strings.Cut(string(answer), "\r\n\r\n")
			return !strings.Contains(head, " 504 ")
		})
		if !strings.HasPrefix(head, "HTTP/1.1 200 OK\r\n") || strings.Trim(body, "x\r\n0123456789abcdef") != "" ||
			strings.Count(body, "x") != 5000 || strings.HasSuffix(body, "0\r\n\r\n") {
			t.Errorf("%s: %s\n%d bytes, ending in %q", path, head, len(body), body[max(len(body)-40, 0):])
		}
	}
}

// replaceServer puts something else in the place of the server, whose token is at
// hand and whose connections are gone.
func (l *apiLab) replaceServer(serve func(net.Listener)) {
	l.t.Helper()
	address := strings.TrimPrefix(l.endpoint, "https://")
	l.server.Close()
	l.untilClosed()
	l.daemon.until("the port", func() bool {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			return false
		}
		l.t.Cleanup(func() { listener.Close() })
		if serve == nil {
			listener.Close()
		} else {
			go serve(listener)
		}
		return true
	})
}

// Failures before a byte has left.
func TestGatewayUnreachable(t *testing.T) {
	for name, tc := range map[string]struct {
		serve func(net.Listener)
		want  string
	}{
		"refused": {nil, "connection_refused"},
		"silent": {func(l net.Listener) {
			var open []net.Conn // the collector closes those that nobody knows
			for {
				c, err := l.Accept()
				if err != nil {
					break
				}
				open = append(open, c)
			}
			for _, c := range open {
				c.Close()
			}
		}, "connection_timeout"},
		"closed": {greets(""), "connection_terminated"},
		"no TLS": {greets("HTTP/1.1 400 Bad Request\r\n\r\n"), "tls_protocol_error"},
		"alert":  {greets("\x15\x03\x01\x00\x02\x02\x28"), "tls_alert_received"},
		"other certificate": {func(l net.Listener) {
			_, cert, err := dcrtest.NewCA(time.Now())
			if err != nil {
				panic(err)
			}
			_ = http.Serve(tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}}), http.HandlerFunc(fine))
		}, "tls_certificate_error"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newAPILab(t, nil)
			if name == "silent" { // the others answer, however long that takes
				l.write("config.toml", strings.Replace(l.read("config.toml"), `timeout = "1m"`, `timeout = "2s"`, 1))
			}
			l.up()
			l.token()
			l.forget()
			l.replaceServer(tc.serve)
			l.call("POST", "REF30/sessions", "x").fails(t, 503, "offline", tc.want, false)
			if n := l.sum(`tvpassd_gateway_requests_total{app="ref30",operation="sessions",result="offline"}`); n != 1 {
				t.Errorf("%v calls were counted as offline", n)
			}
		})
	}
}

// greets returns a server that closes each connection after a few bytes.
func greets(bytes string) func(net.Listener) {
	return func(l net.Listener) {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 16<<10)) // unread bytes would reset the connection
			_, _ = io.WriteString(c, bytes)
			c.Close()
		}
	}
}

// A kept connection that the server has closed does not fail a call: no byte
// has left over it.
func TestGatewayClosedConnections(t *testing.T) {
	l := newAPILab(t, nil)
	l.up()
	l.call("GET", "REF30/profiles", "").expect(t, 200, "received-status=200")
	l.server.SetKeepAlivesEnabled(false) // which closes those that there are
	l.untilClosed()
	l.call("POST", "REF30/sessions", "x").expect(t, 200, "received-status=200")
	l.call("GET", "REF30/profiles", "").expect(t, 200, "received-status=200")
	if n := len(l.calls()); n != 3 {
		t.Errorf("the server got %d calls, want 3", n)
	}
}

// untilClosed waits until the daemon has closed its end of the connections that
// the server closed. A call that crosses the close is lost, and reported as
// lost.
func (l *apiLab) untilClosed() {
	l.t.Helper()
	l.until("the daemon's end to be closed too", func() bool { return !l.connected() })
}

// connected reports whether anybody here has a connection to the server that is
// not closed on this side.
func (l *apiLab) connected() bool {
	_, port, err := net.SplitHostPort(strings.TrimPrefix(l.endpoint, "https://"))
	l.must(err)
	number, err := strconv.ParseUint(port, 10, 16)
	l.must(err)
	table, err := os.ReadFile("/proc/net/tcp")
	l.must(err)
	const established, closeWait = "01", "08"
	for _, line := range strings.Split(string(table), "\n")[1:] {
		f := strings.Fields(line) // number, local, remote, state, ...
		if len(f) > 3 && strings.HasSuffix(f[2], fmt.Sprintf(":%04X", number)) &&
			(f[3] == established || f[3] == closeWait) {
			return true
		}
	}
	return false
}

// Without a token a call fails as /token does, and nothing leaves.
func TestGatewayWithoutToken(t *testing.T) {
	l := newAPILab(t, nil)
	l.sim.SetStatement(false)
	l.up()
	l.until("a refusal", func() bool { return l.status().Apps[0].State == "rejected" })
	p := l.call("GET", "REF30/profiles", "", "Prefer", "wait=0").
		fails(t, 502, "rejected", "proxy_internal_error", false)
	if p.ServerCode != "unapproved_software_statement" || len(l.calls()) > 0 {
		t.Errorf("%+v; the server got %v", p, l.calls())
	}
	if n := l.sum(`tvpassd_gateway_requests_total{app="ref30",operation="profiles",result="no_token"}`); n != 1 {
		t.Errorf("%v calls were counted as without a token", n)
	}
}

// Without the gateway its paths are not there, for anybody. A reload decides.
func TestGatewayDisabled(t *testing.T) {
	l := newAPILab(t, nil)
	config := l.read("config.toml")
	l.write("config.toml", strings.Replace(config, "[gateway]", "[gateway]\nenabled = false", 1))
	l.up()
	for _, path := range []string{"/v1/apps/ref30/api/v2/x/configuration", "/v1/api/v2/x", "/v1/apps/nobody/api/v2/x"} {
		l.curl(path).expect(t, 404, `"code":"not_found"`)
	}
	l.write("config.toml", config)
	l.run("reload").expect(t, 0)
	l.call("GET", "x/configuration", "").expect(t, 200, "received-status=200")
	l.call("GET", "x", "").expect(t, 200, "received-status=200")
}
