package dcr

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

// noName is a name that no name server is asked for: its first label is too
// long.
var noName = strings.Repeat("x", 64) + ".example"

func TestDialer(t *testing.T) {
	now := labTime
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	server := net.JoinHostPort(noName, port)
	d := &Dialer{Server: server, Timeout: labTimeout, Now: func() time.Time { return now }}
	dial := func(address string) error {
		conn, err := d.DialContext(t.Context(), "tcp", address)
		if err == nil {
			conn.Close()
		}
		return err
	}
	fails := func(what, address string) {
		t.Helper()
		if e, ok := errors.AsType[*LookupError](dial(address)); !ok || e.Host != noName ||
			e.Reason != "no name server was asked, and it is not in /etc/hosts" {
			t.Errorf("%s: %v", what, e)
		}
	}
	fails("without a good address", server)
	d.Confirm(netip.MustParseAddr("::ffff:127.0.0.1"))
	if err := dial(server); err != nil {
		t.Errorf("with the last good address: %v", err)
	}
	fails("another port", net.JoinHostPort(noName, "1"))
	now = now.Add(24 * time.Hour)
	if err := dial(server); err != nil {
		t.Errorf("after a day: %v", err)
	}
	now = now.Add(time.Second)
	fails("after more than a day", server)
	next, elsewhere := &Dialer{Server: server, Timeout: labTimeout, Now: d.Now}, &Dialer{Server: "other.example:443"}
	next.inherit(d)
	elsewhere.inherit(d)
	now = now.Add(-time.Second)
	d = next
	if err := dial(server); err != nil || elsewhere.good.IsValid() {
		t.Errorf("after a reload: %v, and another server has the address %v", err, elsewhere.good)
	}
	now = labTime.Add(-time.Second)
	fails("before it was good", server)
}

// Of several addresses the first that takes the connection is used, and a
// silent one delays it by a moment.
func TestAddresses(t *testing.T) {
	var hello sync.WaitGroup
	good := raw(t, nil, func(c net.Conn) { hello.Done(); _, _ = c.Read(make([]byte, 1)) })
	_, port, _ := net.SplitHostPort(good)
	d := &Dialer{Timeout: labTimeout, Now: labNow}
	for name, list := range map[string]string{
		"refused":     "127.0.0.9 127.0.0.1",
		"unreachable": "2001:db8:ffff::1 127.0.0.1",
		"alone":       "127.0.0.1",
	} {
		var addrs []netip.Addr
		for text := range strings.FieldsSeq(list) {
			addrs = append(addrs, netip.MustParseAddr(text))
		}
		hello.Add(1)
		conn, err := d.connect(t.Context(), "tcp", addrs, port)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		hello.Wait()
		conn.Close()
	}
	_, err := d.connect(
		t.Context(),
		"tcp",
		[]netip.Addr{netip.MustParseAddr("127.0.0.9"), netip.MustParseAddr("127.0.0.8")},
		port,
	)
	if op, ok := errors.AsType[*net.OpError](err); !ok || !strings.HasPrefix(op.Addr.String(), "127.0.0.9:") {
		t.Errorf("none is good: %v, want the error of the first", err)
	}
	m := &mute{t: t, reached: make(chan struct{}, 2)}
	deaf := m.full()
	_, port, _ = net.SplitHostPort(deaf)
	other, err := net.Listen("tcp", "127.0.0.2:"+port)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	conn, err := d.connect(
		t.Context(),
		"tcp",
		[]netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")},
		port,
	)
	if err != nil || !strings.HasPrefix(conn.RemoteAddr().String(), "127.0.0.2:") {
		t.Fatalf("%v, %v", conn, err)
	}
	conn.Close()
}

func TestUnblocked(t *testing.T) {
	const dns, file = true, false
	for _, tc := range []struct {
		server string
		addrs  string
		asked  bool
		want   string // "": blocked
	}{
		{"sp.example:443", "192.0.2.10 2001:db8::10", dns, "192.0.2.10 2001:db8::10"},
		{"sp.example:443", "0.0.0.0", dns, ""},
		{"sp.example:443", "0.0.0.0 ::", dns, ""},
		{"sp.example:443", "127.0.0.1", dns, ""},
		{"sp.example:443", "127.66.6.6 ::1", dns, ""},
		{"sp.example:443", "0.0.0.0 2001:db8::10", dns, "2001:db8::10"},
		{"sp.example:443", "0.0.0.0", file, ""},
		{"sp.example:443", "127.0.0.1", file, ""},
		{"sp.example:8443", "127.0.0.1", dns, ""},
		{"sp.example:8443", "127.0.0.1", file, "127.0.0.1"}, // a lab
		{"sp.example:8443", "0.0.0.0", file, ""},
	} {
		var addrs []netip.Addr
		for text := range strings.FieldsSeq(tc.addrs) {
			addrs = append(addrs, netip.MustParseAddr(text))
		}
		got, err := unblocked(tc.server, addrs, tc.asked)
		var words []string
		for _, addr := range got {
			words = append(words, addr.String())
		}
		if text := strings.Join(words, " "); text != tc.want || (err == nil) == (tc.want == "") {
			t.Errorf("%s is %s (asked %v): %q, %v", tc.server, tc.addrs, tc.asked, text, err)
		}
		if e, ok := errors.AsType[*BlockedError](err); ok &&
			(e.File == tc.asked || e.Addr != addrs[0] || e.Advice() == "") {
			t.Errorf("%+v", e)
		}
	}
}
