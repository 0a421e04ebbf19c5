package dcrtest

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
)

// Listener returns a listener whose connections meet the server's faults with
// path tls. It goes below TLS: what reads from such a connection gets its first
// record, the ClientHello, only if no fault strikes. Without TLS it changes
// nothing.
func (s *Server) Listener(l net.Listener) net.Listener { return &helloListener{l, s} }

type helloListener struct {
	net.Listener
	server *Server
}

func (l *helloListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &helloConn{Conn: conn, server: l.server}, nil
}

// helloConn looks at the first record of a connection.
type helloConn struct {
	net.Conn
	server *Server

	once sync.Once
	read []byte // the first record, as far as nobody has read it
	err  error
}

// NetConn returns the connection below, as [crypto/tls.Conn.NetConn] does.
func (c *helloConn) NetConn() net.Conn { return c.Conn }

func (c *helloConn) Read(p []byte) (int, error) {
	c.once.Do(c.look)
	if len(c.read) > 0 {
		n := copy(p, c.read)
		c.read = c.read[n:]
		return n, nil
	}
	if c.err != nil {
		return 0, c.err
	}
	return c.Conn.Read(p)
}

// look reads the first record and carries out the fault that strikes it.
func (c *helloConn) look() {
	const (
		header    = 5
		handshake = 22 // the type of the record
	)
	c.read = make([]byte, header)
	n, err := io.ReadFull(c.Conn, c.read)
	if err != nil {
		c.read, c.err = c.read[:n], err
		return
	}
	if c.read[0] != handshake {
		return // this is not TLS
	}
	hello := make([]byte, binary.BigEndian.Uint16(c.read[3:]))
	n, c.err = io.ReadFull(c.Conn, hello)
	c.read = append(c.read, hello[:n]...)
	switch f := c.server.takeHelloFault(len(c.read)); f.Kind {
	case FaultHang:
		_, _ = io.Copy(io.Discard, c.Conn) // until the client goes
		c.read, c.err = nil, io.EOF
	case FaultReset, FaultClose:
		if t, ok := c.Conn.(*net.TCPConn); ok && f.Kind == FaultReset {
			_ = t.SetLinger(0) // else the client would see an orderly end
		}
		_ = c.Conn.Close()
		c.read, c.err = nil, net.ErrClosed
	}
}

// takeHelloFault returns the fault that strikes a ClientHello of so many bytes.
func (s *Server) takeHelloFault(size int) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.takeFault(func(f Fault) bool { return f.Path == "tls" && size > f.Size })
}
