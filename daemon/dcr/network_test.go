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
)

// Whatever hangs, a call ends in its time, or when its caller gives up.
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
			if e := failure(t, err); e.Kind != Offline || !strings.Contains(e.Detail, "did not answer within 500ms") {
				t.Error(e)
			}
			m = &mute{t: t, reached: make(chan struct{}, 2)}
			ctx, giveUp := context.WithCancel(t.Context())
			go func() { <-m.reached; giveUp() }()
			_, err = newClient(t, "", trust, change(m)).Token(ctx, labTokenRequest)
			if e := failure(t, err); e.Kind != Offline || !strings.Contains(e.Detail, "given up") || !errors.Is(e, context.Canceled) {
				t.Error(e)
			}
		})
	}
}

func to(address string) func(*Config) { return func(c *Config) { c.Endpoint = "https://" + address } }

// mute is a server that leaves its client waiting.
type mute struct {
	t       *testing.T
	reached chan struct{} // a client is where nothing comes any more
}

// serve says something once there is a client, and then hangs until that goes; or it drips, often enough to satisfy who
// counts from the last byte.
func (m *mute) serve(config *tls.Config, says, drip string) (address string) {
	return raw(m.t, config, func(conn net.Conn) {
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			return // a client in a hurry
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

// full is the address of a socket that takes no more connections: the kernel ignores who tries.
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

// What keeps a call from its server, in words for whoever has to mend it.
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
		{"no TLS", strings.Replace(plain.URL, "http:", "https:", 1), "", labTime, "does not speak TLS"},
		{"TLS 1.1", old.URL, old.caFile, labTime, "protocol version"},
		{"nobody there", "https://" + vacant(t), "", labTime, "connection refused"},
		// No resolver is asked for a label so long.
		{"no such name", "https://" + strings.Repeat("x", 64) + ".example", "", labTime, "the name " + strings.Repeat("x", 64) + ".example can't be resolved"},
	} {
		c := newClient(t, test.endpoint, func(c *Config) { c.CAFile, c.Now = test.caFile, func() time.Time { return test.now } })
		_, err := c.Token(t.Context(), labTokenRequest)
		if e := failure(t, err); e.Kind != Offline || e.Status != 0 || !strings.Contains(e.Detail, test.want) {
			t.Errorf("%s: %v", test.name, e)
		}
	}
	// The server of TLS 1.1 would have spoken with somebody less choosy.
	conn, err := tls.Dial("tcp", old.Listener.Addr().String(), &tls.Config{MinVersion: tls.VersionTLS10, InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

// vacant is an address where nobody listens.
func vacant(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
