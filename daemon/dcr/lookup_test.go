package dcr

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/tvpassd/tvpassd/daemon/dcr/dcrtest"
)

// nameServer serves a name server that knows sp.example, with faults as
// [dcrtest.ParseNameFault] reads them.
func nameServer(t *testing.T, faults ...string) (n *dcrtest.NameServer, address string) {
	t.Helper()
	n = dcrtest.NewNameServer()
	n.SetHost("sp.example", netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("2001:db8::10"))
	for _, words := range faults {
		f, err := dcrtest.ParseNameFault(words)
		if err != nil {
			t.Fatal(err)
		}
		if err := n.SetFault(f); err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	address, wait, err := n.Listen(ctx, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(); wait() })
	return n, address
}

// begin begins a look-up that ends with the test.
func begin(t *testing.T) *lookup {
	l := newLookup()
	t.Cleanup(l.end)
	return l
}

// converse sends a query as the standard resolver does, and describes the
// answer.
func (l *lookup) converse(t *testing.T, query []byte, network, server string) string {
	t.Helper()
	conn, err := l.dial(t.Context(), network, server)
	if err != nil {
		return "none"
	}
	defer conn.Close()
	if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(query))), query...)); err != nil {
		return "none"
	}
	size := make([]byte, 2)
	if _, err := io.ReadFull(conn, size); err != nil {
		return "none"
	}
	reply := make([]byte, binary.BigEndian.Uint16(size))
	if _, err := io.ReadFull(conn, reply); err != nil {
		return "none"
	}
	if network == "udp" && reply[2]&flagTruncated != 0 { // as the resolver does
		return l.converse(t, query, "tcp", server)
	}
	return read(t, reply)
}

// resolverQuery is a query as the standard resolver writes it.
func resolverQuery(t *testing.T, qtype dnsmessage.Type, edns bool) []byte {
	t.Helper()
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: 0x1234, RecursionDesired: true}}
	m.Questions = []dnsmessage.Question{
		{Name: dnsmessage.MustNewName("sp.example."), Type: qtype, Class: dnsmessage.ClassINET},
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

// read describes an answer to the resolver.
func read(t *testing.T, raw []byte) string {
	t.Helper()
	var m dnsmessage.Message
	if err := m.Unpack(raw); err != nil {
		t.Fatal(err)
	}
	if m.ID != 0x1234 || !m.Response || m.Truncated || len(m.Questions) != 1 ||
		m.RCode != 0 && m.RCode != dnsmessage.RCodeNameError {
		t.Errorf("the resolver would refuse %+v", m.Header)
	}
	if m.RCode == dnsmessage.RCodeNameError {
		return "no such name"
	}
	if len(m.Answers) == 0 {
		return "no record"
	}
	switch body := m.Answers[0].Body.(type) {
	case *dnsmessage.AResource:
		return netip.AddrFrom4(body.A).String()
	case *dnsmessage.AAAAResource:
		return netip.AddrFrom16(body.AAAA).String()
	}
	return m.Answers[0].GoString()
}

// A question is answered although name servers misbehave, and their faults are
// named.
func TestConverse(t *testing.T) {
	const good = "192.0.2.10"
	for _, tc := range []struct {
		faults []string
		want   string
		told   string // part of what is said about the server; "" for nothing
	}{
		{nil, good, ""},
		{[]string{"kind=nxdomain"}, "no such name", ""},
		{[]string{"edns=true kind=nxdomain"}, "no such name", ""}, // not asked again
		{[]string{"kind=empty"}, "no record", ""},
		{[]string{"edns=true kind=empty"}, good, ""},
		{[]string{"edns=true kind=drop"}, good, "does not answer when asked with EDNS0"},
		{[]string{"edns=true kind=formerr"}, good, "answers FORMERR when asked with EDNS0"},
		{[]string{"edns=true kind=servfail"}, good, "answers SERVFAIL when asked with EDNS0"},
		{[]string{"edns=true kind=notimp"}, good, "answers NOTIMP when asked with EDNS0"},
		{[]string{"edns=true kind=refused"}, good, "answers REFUSED when asked with EDNS0"},
		{[]string{"edns=true kind=badvers"}, good, ""}, // which looks like no record without a reading of OPT
		{[]string{"edns=true kind=mangle"}, good, "sends broken answers when asked with EDNS0"},
		{[]string{"edns=true kind=cut"}, good, "sends broken answers when asked with EDNS0"},
		{[]string{"edns=true kind=question"}, good, "sends broken answers when asked with EDNS0"},
		{[]string{"edns=true kind=wrong-id"}, good, "does not answer when asked with EDNS0"},
		{[]string{"edns=true kind=truncate", "proto=tcp kind=drop"}, good,
			"sends answers that are cut short when asked with EDNS0"},
		{[]string{"kind=truncate"}, good, ""},
		{[]string{"kind=forge"}, good, ""},
		{[]string{"kind=delay delay=1200ms"}, good, ""},
		{[]string{"kind=truncate", "proto=tcp kind=drop"}, "none", "can't be asked over TCP (EOF)"},
		{[]string{"kind=partial", "proto=tcp kind=drop"}, good, "can't be asked over TCP (EOF)"},
		{[]string{"kind=partial", "proto=tcp kind=delay delay=1m"}, good, "can't be asked over TCP (no answer in time)"},
		{[]string{"kind=servfail"}, "none", "answers SERVFAIL"},
		{[]string{"kind=cut"}, "none", "sends broken answers"},
		{[]string{"kind=drop"}, "none", "does not answer within 2.5s"},
	} {
		t.Run(strings.Join(tc.faults, ";"), func(t *testing.T) {
			t.Parallel()
			_, address := nameServer(t, tc.faults...)
			l := begin(t)
			if got := l.converse(t, resolverQuery(t, dnsmessage.TypeA, true), "udp", address); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
			l.mu.Lock()
			told := strings.Join(l.faults, "; ")
			l.mu.Unlock()
			if (told == "") != (tc.told == "") || !strings.Contains(told, tc.told) {
				t.Errorf("told %q, want %q", told, tc.told)
			}
		})
	}
}

// GODEBUG=netedns0=0 and "options use-vc" are respected.
func TestConverseAsConfigured(t *testing.T) {
	n, address := nameServer(t)
	for _, network := range []string{"udp", "tcp"} {
		if got := begin(t).converse(t, resolverQuery(t, dnsmessage.TypeA, false), network, address); got != "192.0.2.10" {
			t.Errorf("over %s: %s", network, got)
		}
	}
	q := dcrtest.NameQuery{Name: "sp.example", Type: "A"}
	want := []dcrtest.NameQuery{q, q}
	want[1].TCP = true
	if diff := cmp.Diff(want, n.Queries()); diff != "" {
		t.Error(diff)
	}
}

// An answer counts whenever it comes, even if another server has been asked
// since.
func TestALateAnswer(t *testing.T) {
	_, slow := nameServer(t, "kind=delay delay=3s")
	_, deaf := nameServer(t, "kind=drop")
	l := begin(t)
	query := resolverQuery(t, dnsmessage.TypeA, true)
	if got := l.converse(t, query, "udp", slow); got != "none" || !l.takeWaiting() {
		t.Errorf("in its turn: %s", got)
	}
	if got := l.converse(t, query, "udp", deaf); got != "192.0.2.10" {
		t.Errorf("in the turn of the next: %s", got)
	}
}

// That the search list leads to a name without an address says nothing about the
// name as it stands.
func TestWhatExists(t *testing.T) {
	_, address := nameServer(t, "kind=empty")
	for _, searching := range []bool{false, true} {
		l := begin(t)
		l.searching = searching
		if got := l.converse(t, resolverQuery(t, dnsmessage.TypeA, true), "udp", address); got != "no record" {
			t.Errorf("the answer is %s", got)
		}
		l.mu.Lock()
		exists := l.exists
		l.mu.Unlock()
		if exists == searching {
			t.Errorf("searching is %t, and so is exists", searching)
		}
	}
	l := newLookup()
	if _, err := l.addresses(t.Context(), noName); !notFound(err) || !l.searching {
		t.Errorf("the search list does not follow: %v", err)
	}
}

// A name server on this device that answers, if only with an error, is there.
func TestReason(t *testing.T) {
	nobody := "/etc/resolv.conf names no name server but this device, which does not answer DNS"
	for _, tc := range []struct {
		faults []string
		want   string
	}{
		{[]string{"127.0.0.1 can't be reached (connection refused)", "::1 can't be reached (connection refused)"}, nobody},
		{[]string{"127.0.0.1 answers REFUSED", "::1 can't be reached (connection refused)"},
			"127.0.0.1 answers REFUSED, ::1 can't be reached (connection refused)"},
		{[]string{"127.0.0.1 answers SERVFAIL", "::1 answers SERVFAIL"}, "127.0.0.1 answers SERVFAIL, ::1 answers SERVFAIL"},
		{[]string{"192.0.2.1 can't be reached (no route to host)"}, "192.0.2.1 can't be reached (no route to host)"},
	} {
		l := newLookup()
		l.faults = tc.faults
		if got := l.reason(errors.New("server misbehaving")); got != tc.want {
			t.Errorf("%q: %s", tc.faults, got)
		}
	}
}

// The addresses of one family do not wait for those of the other for ever.
func TestALonelyFamily(t *testing.T) {
	_, address := nameServer(t, "type=AAAA kind=drop")
	l := begin(t)
	alone := time.AfterFunc(lonely, func() { l.settle(false, true) })
	defer alone.Stop()
	var both sync.WaitGroup
	both.Go(func() {
		if got := l.converse(t, resolverQuery(t, dnsmessage.TypeAAAA, true), "udp", address); got != "no record" {
			t.Errorf("AAAA: %s", got)
		}
	})
	both.Go(func() {
		if got := l.converse(t, resolverQuery(t, dnsmessage.TypeA, true), "udp", address); got != "192.0.2.10" {
			t.Errorf("A: %s", got)
		}
	})
	both.Wait()
	if diff := cmp.Diff([]string{address + " does not answer queries for AAAA records"}, l.faults); diff != "" {
		t.Error(diff)
	}
}

// An answer counts even if the look-up has been settled meanwhile.
func TestAnAnswerBesideASettledLookup(t *testing.T) {
	_, address := nameServer(t)
	l := begin(t)
	l.settle(false, true)
	for range 100 {
		if got := l.converse(t, resolverQuery(t, dnsmessage.TypeA, true), "udp", address); got != "192.0.2.10" {
			t.Fatal(got)
		}
	}
}

// A missing name server is noticed at once, and one on port 53 is named by its
// address alone.
func TestNoNameServer(t *testing.T) {
	l := begin(t)
	if got := l.converse(t, resolverQuery(t, dnsmessage.TypeA, true), "udp", dcrtest.Vacant); got != "none" ||
		l.takeWaiting() {
		t.Errorf("got %s", got)
	}
	if len(l.faults) != 1 || !strings.Contains(l.faults[0], "can't be reached (connection refused)") {
		t.Errorf("told %q", l.faults)
	}
	l.fault("192.0.2.53:53", "is x")
	if got := l.faults[1]; got != "192.0.2.53 is x" {
		t.Errorf("told %q", got)
	}
}

func FuzzJudge(f *testing.F) {
	query := []byte("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x02sp\x07example\x00\x00\x01\x00\x01")
	for _, seed := range []string{"", "\x12\x34\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00" + string(query[12:]) +
		"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x1e\x00\x04\xc0\x00\x02\x0a",
		string(query), "\x12\x34\x83\x83\x00\x01\x00\x00\x00\x00\x00\x00" + string(query[12:])} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, reply []byte) {
		if v := judge(reply, query); (v == goodAnswer || v == emptyAnswer) && reply[3]&0xf == 0 {
			var p dnsmessage.Parser // as the resolver reads it
			if _, err := p.Start(reply); err != nil {
				t.Fatal(err)
			}
			if err := p.SkipAllQuestions(); err != nil {
				t.Fatal(err)
			}
			if err := p.SkipAllAnswers(); err != nil {
				t.Fatal(err)
			}
		}
		if len(reply) >= headerSize {
			withoutEDNS(reply)
			empty(reply)
		}
	})
}
