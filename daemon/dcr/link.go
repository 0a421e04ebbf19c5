package dcr

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"syscall"
)

const (
	// maxHeader is how much is read of an answer up to its body, in bytes.
	maxHeader = 64 << 10
	// linkBuffer is for reading, and for writing: most messages are shorter, and
	// some are in flight at once.
	linkBuffer = 2 << 10
	// shortBody is how much of a request the kernel takes, in bytes, although the
	// server does not read it.
	shortBody = 4 << 10
)

// link is a connection to the server. One request at a time uses it.
type link struct {
	net.Conn // TCP; Read is the link's own
	raw      syscall.RawConn
	peeks    bool // Read does not wait
	left     int  // how many bytes may still be read

	top   net.Conn             // TLS over the link, or the link itself
	state *tls.ConnectionState // of TLS, or nil
	r     *bufio.Reader        // of top
	w     *bufio.Writer

	// Of the present request:
	spare func() bool // keeps the end of its context from closing the connection
	wrote chan error  // gets a value once it is written
}

func newLink(conn net.Conn, raw syscall.RawConn) *link {
	return &link{Conn: conn, raw: raw, left: math.MaxInt, wrote: make(chan error, 1)}
}

// use says what requests are written to.
func (l *link) use(top net.Conn) {
	l.top, l.r, l.w = top, bufio.NewReaderSize(top, linkBuffer), bufio.NewWriterSize(top, linkBuffer)
}

// Read reads from below TLS. It returns EAGAIN if it may not wait: TLS goes on
// after that, as it does after a deadline.
func (l *link) Read(p []byte) (n int, err error) {
	if l.left <= 0 {
		return 0, errors.New("the header is too long")
	}
	p = p[:min(len(p), l.left)]
	if !l.peeks {
		n, err = l.Conn.Read(p)
	} else if closed := l.raw.Read(func(fd uintptr) bool {
		n, err = syscall.Read(int(fd), p)
		return true
	}); closed != nil {
		return 0, closed
	}
	if n == 0 && err == nil {
		err = io.EOF
	}
	n = max(n, 0)
	l.left -= n
	return n, err
}

// silent reports whether a kept connection is open, and nothing has come since
// the last answer.
func (l *link) silent() bool {
	l.peeks = true
	left := l.left
	_, err := l.r.Peek(1)
	l.peeks = false
	return err == syscall.EAGAIN && l.left == left
}

// exchange sends a request and returns the answer up to its body.
func (l *link) exchange(req *http.Request, trace *httptrace.ClientTrace) (*http.Response, error) {
	if req.ContentLength > shortBody { // the server may answer before it has read that
		go func() { l.wrote <- l.write(req) }() // written waits for it
	} else {
		err := l.write(req)
		l.wrote <- err
		if _, gone := errors.AsType[*net.OpError](err); err != nil && !gone {
			return nil, err
		}
	}
	return l.answer(req, trace)
}

// answer returns the answer to a request up to its body.
func (l *link) answer(req *http.Request, trace *httptrace.ClientTrace) (*http.Response, error) {
	l.left = maxHeader
	if _, err := l.r.Peek(1); err != nil {
		return nil, err
	}
	trace.GotFirstResponseByte()
	const version = "HTTP/1."
	first, _ := l.r.Peek(min(l.r.Buffered(), len(version)))
	isHTTP := strings.HasPrefix(version, string(first)) // as far as it has come
	for {
		resp, err := http.ReadResponse(l.r, req)
		if err != nil {
			l.peeks = true // the connection is not used again
			if _, end := l.r.Peek(1); end == io.EOF && isHTTP {
				err = io.ErrUnexpectedEOF // net/http calls a status line that is cut malformed
			}
			return nil, err
		}
		if resp.StatusCode/100 != 1 || resp.StatusCode == http.StatusSwitchingProtocols {
			l.left = math.MaxInt
			resp.TLS = l.state
			return resp, nil
		}
	}
}

func (l *link) write(req *http.Request) error {
	if err := req.Write(l.w); err != nil {
		return err
	}
	return l.w.Flush()
}

// written reports whether the server has got the whole request. If it has
// answered without waiting for that, the rest is not sent.
func (l *link) written() bool {
	select {
	case err := <-l.wrote:
		return err == nil
	default:
	}
	_ = l.Conn.Close()
	<-l.wrote
	return false
}

// linkBody is the body of an answer. Its end is that of the request.
type linkBody struct {
	io.ReadCloser
	direct *direct
	link   *link // nil after the end
	keep   bool  // the connection may be kept
}

func (b *linkBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.end(err == io.EOF && b.keep)
	}
	return n, err
}

func (b *linkBody) Close() error {
	b.end(false)
	return nil
}

func (b *linkBody) end(keep bool) {
	if b.link != nil {
		b.direct.end(b.link, keep)
		b.link = nil
	}
}
