package dcrtest

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// The kinds of faults of a [NameServer].
const (
	NameDrop     = "drop"     // no answer
	NameFormErr  = "formerr"  // FORMERR, without the OPT record, as from servers that do not know EDNS0
	NameServFail = "servfail" // SERVFAIL
	NameNotImp   = "notimp"   // NOTIMP
	NameRefused  = "refused"  // REFUSED
	NameBadVers  = "badvers"  // BADVERS, in an OPT record
	NameNXDomain = "nxdomain" // NXDOMAIN
	NameEmpty    = "empty"    // the name exists, but has no such record
	NameTruncate = "truncate" // over UDP the TC bit and no record
	NamePartial  = "partial"  // over UDP the TC bit and the true records
	NameCut      = "cut"      // the second half of the message is missing
	NameMangle   = "mangle"   // the lengths and counts are nonsense
	NameWrongID  = "wrong-id" // the answer to another query
	NameQuestion = "question" // the question comes back in another form: without it
	NameForge    = "forge"    // first an answer with another id and address, then the true one
	NameDelay    = "delay"    // the true answer, Delay late
	NameAddress  = "address"  // Address in place of the true one, as DNS blockers answer
)

var nameKinds = []string{NameDrop, NameFormErr, NameServFail, NameNotImp, NameRefused, NameBadVers, NameNXDomain,
	NameEmpty, NameTruncate, NamePartial, NameCut, NameMangle, NameWrongID, NameQuestion, NameForge,
	NameDelay, NameAddress}

// NameFault is something to go wrong with DNS.
type NameFault struct {
	Kind    string        `json:"kind"`    // one of the constants
	Type    string        `json:"type"`    // strikes queries for A or AAAA only; default: all
	EDNS    bool          `json:"edns"`    // strikes only queries with an EDNS0 record
	Proto   string        `json:"proto"`   // strikes queries over udp or tcp only; default: both
	Count   int           `json:"count"`   // how many queries; 0: all until it is cleared
	Address netip.Addr    `json:"address"` // for address
	Delay   time.Duration `json:"-"`       // before the answer, with any kind
}

// SetFault adds a fault behind those that are set: of those that fit a query
// the first strikes, until it is used up.
func (n *NameServer) SetFault(f NameFault) error {
	f, err := f.checked()
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.faults = append(n.faults, f)
	return nil
}

// ClearFaults ends all faults.
func (n *NameServer) ClearFaults() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.faults = nil
}

// checked returns the fault in the letters that queries have, and what is wrong
// with it.
func (f NameFault) checked() (NameFault, error) {
	f.Type, f.Proto = strings.ToUpper(f.Type), strings.ToLower(f.Proto)
	return f, f.check()
}

func (f NameFault) check() error {
	switch {
	case !slices.Contains(nameKinds, f.Kind):
		return fmt.Errorf("kind %q is not among %s", f.Kind, strings.Join(nameKinds, ", "))
	case f.Type != "" && f.Type != "A" && f.Type != "AAAA":
		return fmt.Errorf("type %q is neither A nor AAAA", f.Type)
	case f.Proto != "" && f.Proto != "udp" && f.Proto != "tcp":
		return fmt.Errorf("proto %q is neither udp nor tcp", f.Proto)
	case f.Count < 0:
		return errors.New("count is negative: leave it out to strike until cleared")
	case f.Kind == NameAddress && !f.Address.IsValid():
		return errors.New("kind address needs an address")
	case f.Kind == NameDelay && f.Delay == 0:
		return errors.New("kind delay needs a delay")
	case f.Delay < 0 || f.Delay > maxDelay:
		return fmt.Errorf("delay %v is not between 0 and %v", f.Delay, maxDelay)
	}
	return nil
}

// ParseNameFault reads a fault from words such as "type=AAAA kind=drop
// count=2".
func ParseNameFault(text string) (NameFault, error) {
	var f NameFault
	err := readWords(text, func(set *flag.FlagSet) {
		set.StringVar(&f.Kind, "kind", "", "")
		set.StringVar(&f.Type, "type", "", "")
		set.StringVar(&f.Proto, "proto", "", "")
		set.BoolVar(&f.EDNS, "edns", false, "")
		set.IntVar(&f.Count, "count", 0, "")
		set.TextVar(&f.Address, "address", netip.Addr{}, "")
		set.DurationVar(&f.Delay, "delay", 0, "")
	})
	if err != nil {
		return NameFault{}, err
	}
	return f.checked()
}

// takeFault uses up one count of the fault that strikes a query; the zero
// NameFault does nothing.
func (n *NameServer) takeFault(q NameQuery) NameFault {
	strikes := func(f NameFault) bool { return f.strikes(q) }
	return take(&n.faults, strikes, func(f *NameFault) *int { return &f.Count })
}

func (f NameFault) strikes(q NameQuery) bool {
	switch {
	case f.Type != "" && f.Type != q.Type,
		f.EDNS && !q.EDNS,
		f.Proto != "" && (f.Proto == "tcp") != q.TCP,
		(f.Kind == NameTruncate || f.Kind == NamePartial) && q.TCP,
		f.Kind == NameAddress && (q.Type == "A") != f.Address.Is4():
		return false
	}
	return true
}

// refusals are the faults that answer with a code and nothing else.
var refusals = map[string]dnsmessage.RCode{
	NameFormErr:  dnsmessage.RCodeFormatError,
	NameServFail: dnsmessage.RCodeServerFailure,
	NameNotImp:   dnsmessage.RCodeNotImplemented,
	NameRefused:  dnsmessage.RCodeRefused,
	NameNXDomain: dnsmessage.RCodeNameError,
}

// spoil turns the true answer into what the fault sends.
func (f NameFault) spoil(a dnsmessage.Message, q NameQuery) [][]byte {
	if code, ok := refusals[f.Kind]; ok {
		a.RCode, a.Answers, a.Additionals = code, nil, nil
	}
	switch f.Kind {
	case NameDrop:
		return nil
	case NameBadVers:
		a.Answers, a.Additionals = nil, nil
		if q.EDNS {
			var opt dnsmessage.ResourceHeader
			if err := opt.SetEDNS0(1232, dnsmessage.RCode(16), false); err == nil {
				a.Additionals = []dnsmessage.Resource{{Header: opt, Body: &dnsmessage.OPTResource{}}}
			}
		}
	case NameEmpty:
		a.Answers = nil
	case NameTruncate:
		a.Truncated, a.Answers, a.Additionals = true, nil, nil
	case NamePartial:
		a.Truncated = true
	case NameWrongID:
		a.ID ^= 0x5555
	case NameQuestion:
		a.Questions = nil
	}
	raw, err := a.Pack()
	if err != nil {
		return nil // only a name that came in a query is packed, and that was unpacked before
	}
	switch f.Kind {
	case NameCut:
		raw = raw[:len(raw)/2]
	case NameMangle:
		for i := 4; i < len(raw); i += 3 { // id and flags stay
			raw[i] ^= 0xa5
		}
	case NameForge:
		forged := a
		forged.ID ^= 0x5555
		forged.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: a.Questions[0].Name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET},
			Body:   &dnsmessage.AResource{A: [4]byte{203, 0, 113, 66}},
		}}
		first, err := forged.Pack()
		if err != nil {
			return nil
		}
		return [][]byte{first, raw}
	}
	return [][]byte{raw}
}
