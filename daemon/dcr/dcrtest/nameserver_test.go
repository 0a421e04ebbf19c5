package dcrtest_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/tvpassd/tvpassd/daemon/dcr/dcrtest"
)

// names serves a name server that knows sp.example.
func names(t *testing.T) (n *dcrtest.NameServer, address string) {
	t.Helper()
	n = dcrtest.NewNameServer()
	n.SetHost("SP.example.", netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("2001:db8::10"))
	ctx, stop := context.WithCancel(context.Background())
	address, wait, err := n.Listen(ctx, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(); wait() })
	return n, address
}

// query is a query as bytes; its id is 7.
func query(t *testing.T, name string, qtype dnsmessage.Type, edns bool) []byte {
	t.Helper()
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: 7, RecursionDesired: true}}
	m.Questions = []dnsmessage.Question{
		{Name: dnsmessage.MustNewName(name), Type: qtype, Class: dnsmessage.ClassINET},
	}
	if edns {
		var opt dnsmessage.ResourceHeader
		if err := opt.SetEDNS0(1232, 0, false); err != nil {
			t.Fatal(err)
		}
		m.Additionals = []dnsmessage.Resource{{Header: opt, Body: &dnsmessage.OPTResource{}}}
	}
	raw, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// told sends a query and describes the answer in a line.
func told(t *testing.T, network, address string, raw []byte) string {
	t.Helper()
	conn, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	reply := make([]byte, 4096)
	if network == "tcp" {
		raw = append(binary.BigEndian.AppendUint16(nil, uint16(len(raw))), raw...)
	} else if err := conn.SetReadDeadline(time.Now().Add(3 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(raw); err != nil {
		t.Fatal(err)
	}
	if network == "tcp" {
		if _, err := io.ReadFull(conn, reply[:2]); err != nil {
			return "nothing"
		}
	}
	n, err := conn.Read(reply)
	if err != nil {
		return "nothing"
	}
	var m dnsmessage.Message
	if err := m.Unpack(reply[:n]); err != nil {
		return "nonsense"
	}
	words := []string{strings.TrimPrefix(m.RCode.String(), "RCode")}
	if m.ID != 7 {
		words = append(words, "wrong id")
	}
	if len(m.Questions) != 1 {
		words = append(words, "no question")
	}
	if m.Truncated {
		words = append(words, "truncated")
	}
	for _, a := range m.Answers {
		switch body := a.Body.(type) {
		case *dnsmessage.AResource:
			words = append(words, netip.AddrFrom4(body.A).String())
		case *dnsmessage.AAAAResource:
			words = append(words, netip.AddrFrom16(body.AAAA).String())
		}
	}
	for _, a := range m.Additionals {
		if a.Header.Type == dnsmessage.TypeOPT {
			words = append(words, fmt.Sprintf("opt %d", a.Header.ExtendedRCode(m.RCode)))
		}
	}
	return strings.Join(words, " ")
}

func TestNameServer(t *testing.T) {
	const sp, a, aaaa = "sp.example.", dnsmessage.TypeA, dnsmessage.TypeAAAA
	for _, tc := range []struct {
		fault string
		name  string
		qtype dnsmessage.Type
		edns  bool
		net   string
		want  string
	}{
		{"", sp, a, false, "udp", "Success 192.0.2.10"},
		{"", "Sp.EXAMPLE.", aaaa, true, "udp", "Success 2001:db8::10 opt 0"},
		{"", sp, a, true, "tcp", "Success 192.0.2.10 opt 0"},
		{"", "other.example.", a, false, "udp", "NameError"},
		{"", sp, dnsmessage.TypeTXT, false, "udp", "Success"},
		{"kind=drop", sp, a, false, "udp", "nothing"},
		{"kind=drop proto=tcp", sp, a, false, "tcp", "nothing"},
		{"kind=drop proto=tcp", sp, a, false, "udp", "Success 192.0.2.10"},
		{"kind=drop type=AAAA", sp, a, false, "udp", "Success 192.0.2.10"},
		{"kind=formerr edns=true", sp, a, true, "udp", "FormatError"},
		{"kind=formerr edns=true", sp, a, false, "udp", "Success 192.0.2.10"},
		{"kind=servfail", sp, a, true, "udp", "ServerFailure"},
		{"kind=notimp", sp, a, true, "udp", "NotImplemented"},
		{"kind=refused", sp, a, true, "udp", "Refused"},
		{"kind=nxdomain", sp, a, true, "udp", "NameError"},
		{"kind=badvers edns=true", sp, a, true, "udp", "Success opt 16"},
		{"kind=empty", sp, a, false, "udp", "Success"},
		{"kind=truncate", sp, a, false, "udp", "Success truncated"},
		{"kind=truncate", sp, a, false, "tcp", "Success 192.0.2.10"},
		{"kind=partial", sp, a, false, "udp", "Success truncated 192.0.2.10"},
		{"kind=cut", sp, a, false, "udp", "nonsense"},
		{"kind=mangle", sp, a, false, "udp", "nonsense"},
		{"kind=wrong-id", sp, a, false, "udp", "Success wrong id 192.0.2.10"},
		{"kind=question", sp, a, false, "udp", "Success no question 192.0.2.10"},
		{"kind=forge", sp, a, false, "udp", "Success wrong id 203.0.113.66"},
		{"kind=delay delay=1ms", sp, a, false, "udp", "Success 192.0.2.10"},
		{"kind=address address=0.0.0.0", sp, a, false, "udp", "Success 0.0.0.0"},
		{"kind=address address=0.0.0.0", sp, aaaa, false, "udp", "Success 2001:db8::10"},
		{"kind=address address=::", sp, aaaa, false, "udp", "Success ::"},
	} {
		n, address := names(t)
		if tc.fault != "" {
			f, err := dcrtest.ParseNameFault(tc.fault)
			if err != nil {
				t.Fatal(err)
			}
			if err := n.SetFault(f); err != nil {
				t.Fatal(err)
			}
		}
		if got := told(t, tc.net, address, query(t, tc.name, tc.qtype, tc.edns)); got != tc.want {
			t.Errorf("%s: %s %v over %s: %q, want %q", tc.fault, tc.name, tc.qtype, tc.net, got, tc.want)
		}
	}
}

// Faults are used up, cleared and listed as those of the server are.
func TestNameServerAdmin(t *testing.T) {
	n, address := names(t)
	order := func(method, path, body string, want int) string {
		t.Helper()
		w := httptest.NewRecorder()
		n.Admin().ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
		if w.Code != want {
			t.Errorf("%s %s %s: %d %s, want %d", method, path, body, w.Code, w.Body, want)
		}
		return w.Body.String()
	}
	ask := func(name string) string {
		t.Helper()
		return told(t, "udp", address, query(t, name, dnsmessage.TypeA, true))
	}
	order("POST", "/dns/fault", `{"kind":"servfail","type":"a","count":1}`, http.StatusNoContent)
	order(
		"POST",
		"/dns/fault",
		`{"kind":"address","address":"127.0.0.1","delay":"1ms","count":2}`,
		http.StatusNoContent,
	)
	got := []string{ask("sp.example."), ask("sp.example.")}
	order("DELETE", "/dns/fault", "", http.StatusNoContent)
	order("POST", "/dns/host", `{"name":"sp.example","addresses":["192.0.2.11"]}`, http.StatusNoContent)
	got = append(got, ask("sp.example."))
	want := []string{"ServerFailure", "Success 127.0.0.1 opt 0", "Success 192.0.2.11 opt 0"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	var queries []dcrtest.NameQuery
	if err := json.Unmarshal([]byte(order("GET", "/dns/queries", "", http.StatusOK)), &queries); err != nil {
		t.Fatal(err)
	}
	q := dcrtest.NameQuery{Name: "sp.example", Type: "A", EDNS: true}
	struck := []dcrtest.NameQuery{q, q, q}
	struck[0].Fault, struck[1].Fault = "servfail", "address"
	if diff := cmp.Diff(struck, queries); diff != "" {
		t.Error(diff)
	}
	order("DELETE", "/dns/queries", "", http.StatusNoContent)
	if got := order("GET", "/dns/queries", "", http.StatusOK); got != "[]\n" {
		t.Errorf("after clearing: %s", got)
	}
	for _, body := range []string{`{}`, `{"kind":"nonsense"}`, `{"kind":"drop","type":"MX"}`,
		`{"kind":"drop","proto":"quic"}`, `{"kind":"address"}`, `{"kind":"delay"}`, `{"kind":"drop","count":-1}`,
		`{"kind":"drop","delay":"1h"}`} {
		order("POST", "/dns/fault", body, http.StatusBadRequest)
	}
	order("POST", "/dns/host", `{}`, http.StatusBadRequest)
	for _, words := range []string{"kind", "kind=drop colour=red", "edns=perhaps", "count=x", "address=x", "delay=5",
		"kind=x"} {
		if f, err := dcrtest.ParseNameFault(words); err == nil {
			t.Errorf("%s: %+v, want an error", words, f)
		}
	}
}
