package gateway_test

import (
	"crypto/tls"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/tvpassd/tvpassd/daemon/gateway"
)

// A caller may leave while the gateway reads why the server refuses. The
// connections that later calls keep can be dropped all the same.
func TestACallerLeavesDuringARefusal(t *testing.T) {
	r := newRig(t)
	leave, gone := make(chan struct{}), make(chan struct{})
	r.answers(func(c *tls.Conn) {
		write("HTTP/1.1 401 Unauthorized\r\nContent-Length: 50\r\n\r\nhello")(c)
		close(leave)
		_, _ = c.Read(make([]byte, 1)) // until the daemon hangs up
		close(gone)
	})
	c, err := net.Dial("unix", r.socket)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("GET /v1/api/v2/x HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	<-leave
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	<-gone
	r.until(t, "the call to be counted as left", func() bool {
		return slices.ContainsFunc(r.outcomes, func(o gateway.Outcome) bool { return o.Result == "left" })
	})
	r.answers(nil)
	for range 2 {
		r.get(t)
		r.client.Forget()
	}
	seen := r.take()
	if len(seen) != 3 || seen[1].RemoteAddr == seen[2].RemoteAddr {
		t.Errorf("of %d calls the last two came over one connection: it was kept for ever", len(seen))
	}
}

// until waits for something that the rig's mutex guards.
func (r *rig) until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		r.mu.Lock()
		done := is()
		r.mu.Unlock()
		if done {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("waited a minute for %s", what)
		}
	}
}
