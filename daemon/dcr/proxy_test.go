package dcr

import (
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/tvpassd/tvpassd/daemon/dcr/dcrtest"
)

// throughProxy makes a client use a proxy, with user and password.
func throughProxy(address string) func(*Config) {
	return func(c *Config) {
		c.Proxy = &url.URL{Scheme: "http", Host: address, User: url.UserPassword("tv", proxyPassword)}
		if c.Endpoint == "" {
			c.Endpoint = "https://sp.example"
		}
	}
}

// tunnels is a proxy that connects every client to one server, whatever name it
// asks for.
func tunnels(t *testing.T, to *server) *server {
	return servePlain(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		server, err := net.Dial("tcp", to.Listener.Addr().String())
		if err != nil {
			t.Error(err)
			return
		}
		defer server.Close()
		client, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer client.Close()
		_, _ = io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n")
		var both sync.WaitGroup
		both.Go(func() { _, _ = io.Copy(server, client); server.Close() })
		_, _ = io.Copy(client, server)
		client.Close()
		both.Wait()
	}))
}

func TestProxy(t *testing.T) {
	s := serve(t, newSim())
	proxy := tunnels(t, s)
	c := newClient(
		t,
		"https://sp.example",
		func(c *Config) { c.CAFile = s.caFile },
		throughProxy(proxy.Listener.Addr().String()),
	)
	if _, err := c.Token(t.Context(), register(t, c)); err != nil {
		t.Fatal(err)
	}
	seen := proxy.asked()
	if len(seen) != 1 || seen[0].target != "sp.example:443" || seen[0].header.Get("Proxy-Authorization") == "" {
		t.Fatalf("the proxy saw %+v", seen)
	}
	if got := seen[0].header["User-Agent"]; len(got) != 1 || got[0] != "tvpassd/1.2" {
		t.Errorf("the proxy saw the User-Agent %q", got)
	}
	for _, r := range s.asked() {
		if got := connectionOf(t, r); got != "" { // the server sees the proxy's address
			t.Errorf("the device info has the address %s of the way to the proxy", got)
		}
		if r.header["Proxy-Authorization"] != nil {
			t.Error("the server sees the proxy's credentials")
		}
	}
}

func TestProxyFails(t *testing.T) {
	refusing := servePlain(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusProxyAuthRequired)
		io.WriteString(w, proxyPassword)
	}))
	const named = "the proxy that [http] proxy or HTTPS_PROXY names "
	says := func(words string) (address string) {
		return raw(t, nil, func(c net.Conn) {
			_, _ = c.Read(make([]byte, 4096))
			_, _ = io.WriteString(c, words)
		})
	}
	for _, test := range []struct{ name, address, want string }{
		{"refuses", refusing.Listener.Addr().String(),
			"the proxy refuses to connect to sp.example (HTTP 407): check the user and password"},
		{"redirects", says("HTTP/1.1 302 Found\r\n\r\n"), "the proxy refuses to connect to sp.example (HTTP 302)"},
		{"is not there", dcrtest.Vacant, named + "can't be reached (connection refused)"},
		{"has no name", noName + ":3128", "the name " + noName + " of the proxy can't be resolved"},
		{"hangs up", says(""), named + "does not answer as a proxy does"},
		{"is not a proxy", says("SSH-2.0-x\r\n"), named + "does not answer as a proxy does"},
		{"never ends its header", says("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 1<<20)),
			named + "does not answer as a proxy does"},
		{"answers with a page", says("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npage"),
			"sp.example (through the proxy) takes connections, but the TLS handshake breaks off ("},
		{"speaks no TLS", "https://" + says("HTTP/1.1 400 Bad Request\r\n\r\n"),
			named + "does not speak TLS: write http:// in place of https://"},
		{"is no SOCKS proxy", "socks5://" + says("HTTP/1.1 400 Bad Request\r\n\r\n"),
			"the proxy refuses to connect to sp.example ("},
		{"takes no user", "socks5://" + says("\x05\xff"),
			"the proxy refuses to connect to sp.example (no acceptable authentication methods)"},
	} {
		scheme, address, ok := strings.Cut(test.address, "://")
		if !ok {
			scheme, address = "http", test.address
		}
		_, err := newClient(t, "https://sp.example", throughProxy(address), func(c *Config) { c.Proxy.Scheme = scheme }).
			Token(t.Context(), labTokenRequest)
		if e := failure(t, err); e.Kind != Offline || !strings.Contains(e.Detail, test.want) {
			t.Errorf("%s: %v", test.name, e)
		}
	}
}

// net/http reads the environment once in a process, and never uses a proxy for
// a loopback address; 0.0.0.0 is this machine, but does not count as one.
func TestProxyFromEnvironment(t *testing.T) {
	s := serve(t, newSim())
	proxy := tunnels(t, s)
	endpoint := strings.Replace(s.URL, "127.0.0.1", "0.0.0.0", 1)
	call := func(env ...string) error { return call(t, endpoint, s.caFile, env...) }
	if err := call("HTTPS_PROXY=" + proxy.URL); err != nil || len(proxy.asked()) != 1 {
		t.Errorf("HTTPS_PROXY: %v, and the proxy saw %+v", err, proxy.asked())
	}
	if err := call("HTTPS_PROXY="+proxy.URL, "NO_PROXY=0.0.0.0"); err != nil || len(proxy.asked()) != 1 {
		t.Errorf("NO_PROXY: %v, and the proxy saw %+v", err, proxy.asked())
	}
	if got := len(s.asked()); got != 2 {
		t.Errorf("%d registrations came, want 2", got)
	}
}
