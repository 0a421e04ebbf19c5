package main

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// echoSize is what the echo floor answers.
const echoSize = 1536

// target is a server, and how it is asked.
type target struct {
	name     string
	socket   string
	each     bool // a connection for each request
	untilEOF bool // the end of the connection ends an answer
	request  []byte
	complete func(answer []byte) (bool, error)
}

func parseTarget(s string) (*target, error) {
	part := strings.Split(s, ":")
	if len(part) < 3 || len(part) > 4 {
		return nil, fmt.Errorf("target %q: want NAME:MODE:SOCKET[:PATH]", s)
	}
	path := ""
	if len(part) == 4 {
		path = part[3]
	}
	t := &target{name: part[0], socket: part[2]}
	var mode string
	mode, t.each = strings.CutSuffix(part[1], "-each")
	switch {
	case mode == "echo":
		t.request, t.complete = bytes.Repeat([]byte{'q'}, 96), echoComplete
	case mode == "http":
		t.request = []byte("GET " + path + " HTTP/1.1\r\nHost: tvpassd\r\nUser-Agent: load\r\nAccept: */*\r\n\r\n")
		t.complete = httpComplete
	case mode == "oidc" && t.each:
		t.request = []byte(`{"request":"access_token","account":` + strconv.Quote(path) + `,"min_valid_period":0}`)
		t.complete, t.untilEOF = neverComplete, true
	default:
		return nil, fmt.Errorf("target %q: no such mode %q", s, part[1])
	}
	return t, nil
}

func echoComplete(answer []byte) (bool, error) { return len(answer) >= echoSize, nil }

func neverComplete([]byte) (bool, error) { return false, nil }

func httpComplete(answer []byte) (bool, error) {
	head, body, found := bytes.Cut(answer, []byte("\r\n\r\n"))
	if !found {
		return false, nil
	}
	status, fields, _ := bytes.Cut(head, []byte("\r\n"))
	if !bytes.HasPrefix(status, []byte("HTTP/1.1 200")) {
		return false, fmt.Errorf("answered %q", status)
	}
	_, length, found := bytes.Cut(fields, []byte("Content-Length: "))
	if !found {
		return false, errors.New("answered without a Content-Length")
	}
	length, _, _ = bytes.Cut(length, []byte("\r\n"))
	want, err := strconv.Atoi(string(length))
	if err != nil {
		return false, fmt.Errorf("answered with Content-Length %q", length)
	}
	return len(body) >= want, nil
}

// client has one request under way at a time. Its system calls are raw: it
// blocks its thread, and Go's scheduler and poller stay out of what is
// measured.
type client struct {
	target *target
	fd     int // -1: not connected
	buf    [64 << 10]byte
	size   int // of the last answer
}

// ask asks n times, or until end if n is 0, and returns how long each answer
// took.
func (c *client) ask(n int, end time.Time) (took []time.Duration, err error) {
	defer func() { err = errors.Join(err, c.hangUp()) }()
	if !c.target.each {
		if err := c.connect(); err != nil {
			return nil, err
		}
		if err := c.once(); err != nil { // neither the accept nor a first run of the path belongs to the figures
			return nil, err
		}
	}
	for now := time.Now(); len(took) == 0 || len(took) < n || n == 0 && now.Before(end); {
		if err := c.request(); err != nil {
			return nil, err
		}
		answered := time.Now()
		took = append(took, answered.Sub(now))
		now = answered
	}
	return took, nil
}

// request makes the one request whose latency is measured.
func (c *client) request() error {
	if !c.target.each {
		return c.once()
	}
	if err := c.connect(); err != nil {
		return err
	}
	return errors.Join(c.once(), c.hangUp())
}

func (c *client) connect() (err error) {
	if c.fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return fmt.Errorf("make a socket: %w", err)
	}
	for {
		err = unix.Connect(c.fd, &unix.SockaddrUnix{Name: c.target.socket})
		if err == nil {
			return nil
		}
		if err != unix.EINTR && err != unix.EAGAIN { // EAGAIN: the server's backlog is full
			return fmt.Errorf("%s: connect to %s: %w", c.target.name, c.target.socket, err)
		}
		time.Sleep(100 * time.Microsecond)
	}
}

func (c *client) hangUp() error {
	if c.fd < 0 {
		return nil
	}
	fd := c.fd
	c.fd = -1
	return unix.Close(fd)
}

// once sends one request and reads its answer to the end.
func (c *client) once() error {
	if _, err := transfer(unix.SYS_WRITE, c.fd, c.target.request); err != nil { // a request fits into a socket's buffer
		return fmt.Errorf("%s: send the request: %w", c.target.name, err)
	}
	for c.size = 0; ; {
		if c.size == len(c.buf) {
			return fmt.Errorf("%s: answered with more than %d bytes", c.target.name, len(c.buf))
		}
		n, err := transfer(unix.SYS_READ, c.fd, c.buf[c.size:])
		if err != nil {
			return fmt.Errorf("%s: read the answer: %w", c.target.name, err)
		}
		c.size += n
		done, err := c.target.complete(c.buf[:c.size])
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", c.target.name, err)
		case done:
			return nil
		case n == 0 && c.size > 0 && c.target.untilEOF:
			return nil
		case n == 0:
			return fmt.Errorf("%s: hung up in the middle of an answer", c.target.name)
		}
	}
}

// transfer is a read or write that Go's scheduler does not notice.
func transfer(call uintptr, fd int, b []byte) (int, error) {
	for {
		n, _, errno := unix.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}
