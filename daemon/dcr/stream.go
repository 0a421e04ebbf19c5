package dcr

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"time"
)

// stream is one query of the resolver to one name server over TCP, and the
// answer. A server has a turn for it, whatever resolv.conf allows.
type stream struct {
	net.Conn // nil: the resolver uses the methods below
	*lookup
	ctx    context.Context // of the query
	server string
	reply  bytes.Reader // the answer, with its length in front
}

func (s *stream) SetDeadline(time.Time) error { return nil } // a turn is shorter

func (s *stream) Close() error { return nil }

// Write sends the query, which comes with its length in front, and waits for the
// answer.
func (s *stream) Write(framed []byte) (int, error) {
	reply, err := s.exchange(framed)
	if err != nil {
		s.fault(s.server, "can't be asked over TCP ("+errnoOf(err)+")")
		if reply = s.partial(framed[2:]); reply == nil {
			return 0, err
		}
	}
	s.reply.Reset(reply)
	return len(framed), nil
}

// Read reads the answer.
func (s *stream) Read(p []byte) (int, error) { return s.reply.Read(p) }

func (s *stream) exchange(framed []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(s.ctx, turn)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	end, _ := ctx.Deadline()
	if err := conn.SetDeadline(end); err != nil {
		return nil, err
	}
	if _, err := conn.Write(framed); err != nil {
		return nil, err
	}
	reply := make([]byte, 2)
	if _, err := io.ReadFull(conn, reply); err != nil {
		return nil, err
	}
	reply = append(reply, make([]byte, binary.BigEndian.Uint16(reply))...)
	_, err = io.ReadFull(conn, reply[2:])
	return reply, err
}

// partial returns the records of the answer that was cut short, as a whole
// answer to the query; nil if it has none. musl takes them, too.
func (s *stream) partial(query []byte) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.questions[string(withoutEDNS(query)[headerSize:])]
	if q == nil || len(q.answer) < len(q.plain) || records(q.answer) == 0 ||
		!wholeRecords(q.answer[len(q.plain):], records(q.answer)) {
		return nil
	}
	reply := append(binary.BigEndian.AppendUint16(nil, uint16(len(q.answer))), q.answer...)
	copy(reply[2:], query[:2])
	reply[4] &^= flagTruncated
	return reply
}
