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
	for _, test := range []struct{ name, address, want string }{
		{"refuses", refusing.Listener.Addr().String(), "the proxy refuses to connect to sp.example (HTTP 407)"},
		{"is not there", dcrtest.Vacant,
			"the proxy that [http] proxy or HTTPS_PROXY names can't be reached (connection refused)"},
		{"has no name", noName + ":3128", "the name " + noName + " can't be resolved"},
	} {
		_, err := newClient(t, "https://sp.example", throughProxy(test.address)).Token(t.Context(), labTokenRequest)
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
