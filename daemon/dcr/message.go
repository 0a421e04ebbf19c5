package dcr

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"strings"
)

// The parts of DNS messages that lookup needs (RFC 1035, section 4).
const (
	headerSize    = 12
	flagResponse  = 0x80 // in the third byte
	flagTruncated = 0x02 // in the third byte
	flagRecursion = 0x80 // in the fourth byte: recursion is available
	nameError     = 3
	sizeOPT       = 11 // of an OPT record without options
	typeOPT       = 41
)

// What an answer is worth, in words that follow the server's name.
const (
	goodAnswer   = "" // the name does not exist, or has such records
	emptyAnswer  = "answers without a record"
	cutAnswer    = "sends answers that are cut short"
	brokenAnswer = "sends broken answers"
)

// codes are the names of the response codes of RFC 1035.
var codes = [...]string{1: "FORMERR", 2: "SERVFAIL", 4: "NOTIMP", 5: "REFUSED"}

// judge looks at an answer to a query. It checks only what broken name servers
// and middleboxes spoil; the resolver reads the records.
func judge(reply, query []byte) string {
	if len(reply) < headerSize || reply[2]&flagResponse == 0 {
		return brokenAnswer
	}
	switch code := int(reply[3] & 0xf); {
	case code == 0 || code == nameError:
	case code < len(codes):
		return "answers " + codes[code]
	default:
		return "answers with code " + strconv.Itoa(code)
	}
	question := query[headerSize:]
	rest := reply[headerSize:]
	if binary.BigEndian.Uint16(reply[4:]) != 1 || len(rest) < len(question) ||
		!strings.EqualFold(string(rest[:len(question)]), string(question)) {
		return brokenAnswer
	}
	switch {
	case reply[2]&flagTruncated != 0:
		return cutAnswer
	case !wholeRecords(rest[len(question):], records(reply)):
		return brokenAnswer
	case records(reply) == 0 && reply[3]&0xf != nameError:
		return emptyAnswer
	}
	return goodAnswer
}

// records returns the number of records that answer the question.
func records(m []byte) int { return int(binary.BigEndian.Uint16(m[6:])) }

// wholeRecords reports whether so many records are all there.
func wholeRecords(m []byte, count int) bool {
	const (
		pointer = 0xc0 // to the rest of a name
		label   = 0x3f // the longest
		fixed   = 10   // type, class, TTL and the length of what follows
	)
	at := 0
	for range count {
		for at < len(m) && m[at] > 0 && m[at] <= label {
			at += 1 + int(m[at])
		}
		switch {
		case at >= len(m) || m[at] > label && m[at] < pointer:
			return false
		case m[at] >= pointer:
			at++
		}
		at++
		if at+fixed > len(m) {
			return false
		}
		at += fixed + int(binary.BigEndian.Uint16(m[at+fixed-2:]))
	}
	return at <= len(m)
}

// kindOf names the type of record that a query asks for.
func kindOf(query []byte) string {
	if query[len(query)-3] == 28 {
		return "AAAA"
	}
	return "A"
}

// withoutEDNS returns a query of the standard resolver without its OPT record,
// which is its last one. A query without such a record is returned as it is.
func withoutEDNS(query []byte) []byte {
	last := len(query) - sizeOPT
	if last < headerSize || query[11] != 1 || query[last] != 0 || binary.BigEndian.Uint16(query[last+1:]) != typeOPT {
		return query
	}
	plain := bytes.Clone(query[:last])
	plain[11] = 0
	return plain
}

// empty answers a query without EDNS0: the name exists, but has no such record.
func empty(query []byte) []byte {
	m := bytes.Clone(query)
	m[2] |= flagResponse
	m[3] |= flagRecursion
	return m
}
