package dcr

import (
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// A Date that came over plain HTTP from elsewhere could be anybody's.
func TestADateOverPlainHTTPIsNoWitness(t *testing.T) {
	var address net.IP
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() {
			address = n.IP
		}
	}
	if address == nil {
		t.Skip(
			"this machine has no address but loopback: ip link add dummy0 type dummy && ip address add 192.0.2.1/24 dev dummy0",
		)
	}
	l, err := net.Listen("tcp", net.JoinHostPort(address.String(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: newSim()}
	go server.Serve(l) // ends with the listener
	t.Cleanup(func() { server.Close() })
	c := newClient(t, "http://"+l.Addr().String())
	cred, err := c.Register(t.Context(), labRegistration)
	if err != nil || !cred.Date.IsZero() {
		t.Errorf("the Date is %v, %v", cred.Date, err)
	}
	_, err = c.Token(t.Context(), labTokenRequest)
	if e := failure(t, err); !e.Date.IsZero() {
		t.Errorf("with an error the Date is %v", e.Date)
	}
}

// A bad answer must not leak a connection: after months a device would run out
// of file descriptors.
func TestBadAnswersLeaveNoDescriptorOpen(t *testing.T) {
	for name, s := range map[string]*server{
		"redirect":  answers(t, 302, "elsewhere", "Location", "https://elsewhere.example/"),
		"throttled": answers(t, 429, `{"error":"too_many_requests"}`),
		"refusal":   answers(t, 400, `{"error":"invalid_client"}`),
		"HTML":      answers(t, 200, "<html>"),
		"long":      answers(t, 200, string(make([]byte, maxBody+2))),
		"503":       answers(t, 503, string(make([]byte, 100_000))),
	} {
		t.Run(name, func(t *testing.T) {
			c, before := s.client(t), sockets(t)
			for range 50 {
				if _, err := c.Token(t.Context(), labTokenRequest); err == nil {
					t.Fatal("the answer is taken for a good one")
				}
			}
			c.Forget()
			for deadline := time.Now().Add(20 * time.Second); sockets(t) > before; time.Sleep(10 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("%d sockets more than before are open after 50 answers", sockets(t)-before)
				}
			}
		})
	}
}

// sockets counts this process's.
func sockets(t *testing.T) (n int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}
