package dcr

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tvpassd/tvpassd/daemon/dcr/dcrtest"
)

// Wherever a call hangs, it ends in its time, or when its caller gives up.
func TestHangs(t *testing.T) {
	config, caFile := labTLS(t)
	tunnel := "HTTP/1.1 200 OK\r\n\r\n"
	for name, change := range map[string]func(*mute) func(*Config){
		"connect":            func(m *mute) func(*Config) { return to(m.full()) },
		"handshake":          func(m *mute) func(*Config) { return to(m.serve(nil, "", "")) },
		"tunnel":             func(m *mute) func(*Config) { return throughProxy(m.serve(nil, "", "")) },
		"tunneled handshake": func(m *mute) func(*Config) { return throughProxy(m.serve(nil, tunnel, "")) },
		"headers":            func(m *mute) func(*Config) { return to(m.serve(config, "", "")) },
		"half of the status": func(m *mute) func(*Config) { return to(m.serve(config, "HTTP/1.1 2", "")) },
		"dripping headers":   func(m *mute) func(*Config) { return to(m.serve(config, "HTTP/1.1 200 OK\r\nX: ", "x")) },
		"body":               func(m *mute) func(*Config) { return to(m.serve(config, "HTTP/1.1 200 OK\r\n\r\n", "")) },
		"dripping body":      func(m *mute) func(*Config) { return to(m.serve(config, "HTTP/1.1 200 OK\r\n\r\n", "{")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			trust := func(c *Config) { c.CAFile = caFile }
			m := &mute{t: t, reached: make(chan struct{}, 2)}
			_, err := newClient(t, "", trust, change(m), impatient).Token(t.Context(), labTokenRequest)
			if e := failure(t, err); e.Kind != Offline || !strings.Contains(e.Detail, "within 500ms") ||
				strings.Contains(e.Detail, "TLS handshake") != strings.Contains(name, "handshake") {
				t.Error(e)
			}
			m = &mute{t: t, reached: make(chan struct{}, 2)}
			ctx, giveUp := context.WithCancel(t.Context())
			go func() { <-m.reached; giveUp() }()
			_, err = newClient(t, "", trust, change(m)).Token(ctx, labTokenRequest)
			if e := failure(t, err); e.Kind != Offline || !strings.Contains(e.Detail, "given up") ||
				!errors.Is(e, context.Canceled) {
				t.Error(e)
			}
		})
	}
}

func to(address string) func(*Config) { return func(c *Config) { c.Endpoint = "https://" + address } }

// mute is a server that leaves its client waiting.
type mute struct {
	t       *testing.T
	reached chan struct{} // gets a value when a client begins to wait in vain
}

// serve writes something once a client has written, and then hangs until the
// client goes. With drip it goes on writing that, often enough to keep a
// timeout from the last byte from ending it.
func (m *mute) serve(config *tls.Config, says, drip string) (address string) {
	return raw(m.t, config, func(conn net.Conn) {
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			return // the client has left already
		}
		_, _ = io.WriteString(conn, says)
		m.reached <- struct{}{}
		for drip != "" {
			if _, err := io.WriteString(conn, drip); err != nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		_, _ = io.Copy(io.Discard, conn)
	})
}

// full returns the address of a socket with a full queue: the kernel ignores
// further attempts to connect.
func (m *mute) full() (address string) {
	m.t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		m.t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		m.t.Fatal(err)
	}
	own, err := syscall.Getsockname(fd)
	if err != nil {
		m.t.Fatal(err)
	}
	address = fmt.Sprintf("127.0.0.1:%d", own.(*syscall.SockaddrInet4).Port)
	for { // until the queue is full
		conn, err := net.DialTimeout("tcp", address, 100*time.Millisecond)
		if err != nil {
			break
		}
		m.t.Cleanup(func() { conn.Close() })
	}
	m.reached <- struct{}{}
	return address
}

// An error says what keeps a call from the server, and what to check.
func TestOffline(t *testing.T) {
	good := serve(t, newSim())
	old := serve(t, newSim(), func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 })
	elsewhere := newServer(newSim())
	var err error
	elsewhere.Listener.Close()
	if elsewhere.Listener, err = net.Listen("tcp", "127.0.0.2:0"); err != nil {
		t.Fatal(err)
	}
	elsewhere.TLS, elsewhere.caFile = labTLS(t)
	elsewhere.StartTLS()
	defer elsewhere.Close()
	plain := servePlain(t, newSim())

	for _, test := range []struct {
		name, endpoint, caFile string
		now                    time.Time
		want                   string
	}{
		{"unknown authority", good.URL, elsewhere.caFile, labTime, "ca_file is missing"},
		{"another name", elsewhere.URL, elsewhere.caFile, labTime, "certificate for another name"},
		{"expired", good.URL, good.caFile, labTime.AddDate(2, 0, 0), "check the clock"},
		{"not valid yet", good.URL, good.caFile, time.Unix(0, 0), "check the clock"},
		{"reset at the ClientHello", "https://" + raw(t, nil, func(c net.Conn) {
			_, _ = c.Read(make([]byte, 1))
			_ = c.(*net.TCPConn).SetLinger(0)
		}), "", labTime, "the TLS handshake breaks off (connection reset by peer): something on the way interrupts TLS"},
		{"closed at the ClientHello", "https://" + raw(t, nil, func(c net.Conn) {
			_, _ = io.ReadAtLeast(c, make([]byte, 1000), 200)
		}), "", labTime, "the TLS handshake breaks off (EOF)"},
		{"no TLS", strings.Replace(plain.URL, "http:", "https:", 1), "", labTime, "does not speak TLS"},
		{"TLS 1.1", old.URL, old.caFile, labTime, "protocol version"},
		{"nobody there", "https://" + dcrtest.Vacant, "", labTime, "connection refused"},
		{"no such name", "https://" + noName, "", labTime,
			"the name " + noName + " can't be resolved: no name server was asked, and it is not in /etc/hosts"},
	} {
		c := newClient(
			t,
			test.endpoint,
			func(c *Config) { c.CAFile, c.Now = test.caFile, func() time.Time { return test.now } },
		)
		_, err := c.Token(t.Context(), labTokenRequest)
		if e := failure(t, err); e.Kind != Offline || e.Status != 0 || !strings.Contains(e.Detail, test.want) {
			t.Errorf("%s: %v", test.name, e)
		}
	}
	// The server of TLS 1.1 works with a client that allows TLS 1.0.
	conn, err := tls.Dial(
		"tcp",
		old.Listener.Addr().String(),
		&tls.Config{MinVersion: tls.VersionTLS10, InsecureSkipVerify: true},
	)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

// A server that ends TLS says why in an alert, or nothing at all.
func TestTLSThatTheServerEnds(t *testing.T) {
	config, caFile := labTLS(t)
	alert := raw(t, nil, func(c net.Conn) {
		_, _ = io.ReadAtLeast(c, make([]byte, 1000), 200)
		_, _ = io.WriteString(c, "\x15\x03\x03\x00\x02\x02\x28")
	})
	reset := raw(t, config, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 1))
		_ = c.(*tls.Conn).NetConn().(*net.TCPConn).SetLinger(0)
	})
	for address, want := range map[string]string{
		alert: "refuses TLS as this device speaks it (tls: handshake failure): check the endpoint",
		reset: "closed the connection without an answer",
	} {
		c := newClient(t, "https://"+address, func(c *Config) { c.CAFile = caFile })
		_, err := c.Token(t.Context(), labTokenRequest)
		if e := failure(t, err); e.Kind != Offline || !strings.Contains(e.Detail, want) {
			t.Errorf("got %v, want %s", e, want)
		}
	}
}
