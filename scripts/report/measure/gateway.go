package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

const (
	gatewayPath = "/v1/apps/" + app + "/api/v2/REF30/profiles"
	polls       = 21
	roundTrip   = 50 * time.Millisecond
)

// relay passes connections on to the simulator, with the delay of a long line.
type relay struct {
	net.Listener
	to    string
	delay time.Duration // of a round trip
	conns atomic.Int64  // that were made
}

func newRelay(to string, delay time.Duration) (*relay, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &relay{Listener: listener, to: strings.TrimPrefix(to, "https://"), delay: delay}
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return // it was closed
			}
			r.conns.Add(1)
			go r.pass(c)
		}
	}()
	return r, nil
}

// pass serves a connection. Its beginning takes a round trip, as the handshake of
// TCP does.
func (r *relay) pass(c net.Conn) {
	defer c.Close()
	server, err := net.Dial("tcp", r.to)
	if err != nil {
		return
	}
	defer server.Close()
	time.Sleep(r.delay)
	go func() {
		r.copy(server, c)
		_ = server.Close() // the other way ends too
	}()
	r.copy(c, server)
}

func (r *relay) copy(to io.Writer, from io.Reader) {
	part := make([]byte, 64<<10)
	for {
		n, err := from.Read(part)
		time.Sleep(r.delay / 2)
		if _, gone := to.Write(part[:n]); err != nil || gone != nil {
			return
		}
	}
}

// client is a player's own way to the server, by a name that its certificate has.
func (l *lab) client() (*http.Client, error) {
	pem, err := os.ReadFile(l.files.own("ca.pem"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}, Timeout: patience}, nil
}

// took is how long a GET takes, to the last byte of its answer.
func took(ctx context.Context, client *http.Client, url string) (time.Duration, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	request.Header.Set("Prefer", "wait=60")
	began := time.Now()
	answer, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, answer.Body)
	return time.Since(began), errors.Join(err, answer.Body.Close())
}

func onSocketClient(socket string) *http.Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	return &http.Client{Transport: &http.Transport{DialContext: dial}, Timeout: 2 * time.Minute}
}

// gateway compares players' calls through the daemon with calls of their own.
// `make bench` compares them on a kept connection, without a throttle.
func gateway(ctx context.Context, l *lab) (rows []row, err error) {
	first := row{what: "a player's first call, gateway over direct, 50 ms away", unit: "%.2f", budget: 1 / 2.5}
	kept := row{what: "TLS connections of a sign-in's polls", unit: "%.0f", budget: 1}
	wear := row{what: "writes to flash after six 429s with Retry-After: 2", unit: "%.0f", budget: 1}
	for _, part := range []struct {
		delay   time.Duration
		measure measuring
	}{
		{roundTrip, func(ctx context.Context, l *lab, r *relay) error { return l.firstCalls(ctx, r, &first, &kept) }},
		{0, func(ctx context.Context, l *lab, _ *relay) error { return l.flashOf429s(ctx, &wear) }},
	} {
		if err := l.behindRelay(ctx, part.delay, part.measure); err != nil {
			return nil, err
		}
	}
	return []row{first, kept, wear}, nil
}

// measuring is a measurement with a daemon that reaches the simulator by a relay.
type measuring func(context.Context, *lab, *relay) error

// behindRelay runs a measurement with a daemon that has a state of its own.
func (l *lab) behindRelay(ctx context.Context, delay time.Duration, measure measuring) (err error) {
	r, err := newRelay(l.endpoint, delay)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	far := *l
	far.endpoint, far.state = "https://"+r.Addr().String(), l.files.own("gateway-state")
	if far.args, err = far.configure("gateway.toml", far.state); err != nil {
		return err
	}
	daemon, err := far.daemon(ctx, -1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, daemon.stop()) }()
	if _, err := getToken(ctx, far.socket, "?wait=60s"); err != nil {
		return err
	}
	return measure(ctx, &far, r)
}

// firstCalls compares the first call of players that have just started, and
// counts the connections of the daemon.
func (l *lab) firstCalls(ctx context.Context, r *relay, to, kept *row) error {
	if _, err := took(ctx, onSocketClient(l.socket), "http://tvpassd"+gatewayPath); err != nil { // a warm daemon
		return err
	}
	var ours, theirs []time.Duration
	made := r.conns.Load()
	for range polls {
		a, err := took(ctx, onSocketClient(l.socket), "http://tvpassd"+gatewayPath)
		if err != nil {
			return err
		}
		ours = append(ours, a)
		if err := sleep(ctx, 3*time.Second); err != nil {
			return err
		}
	}
	kept.value = float64(1 + r.conns.Load() - made) // and the one that there was
	kept.note = fmt.Sprintf("%d polls 3 s apart", polls)
	for range 5 {
		direct, err := l.client()
		if err != nil {
			return err
		}
		b, err := took(ctx, direct, l.endpoint+"/captive-portal")
		if err != nil {
			return err
		}
		theirs = append(theirs, b)
	}
	a, b := median(ours), median(theirs)
	to.value = a.Seconds() / b.Seconds()
	to.note = fmt.Sprintf("here %v over %v", a.Round(time.Millisecond), b.Round(time.Millisecond))
	return nil
}

// flashOf429s counts the writes when 429s shut the gate.
func (l *lab) flashOf429s(ctx context.Context, to *row) error {
	const metric = "tvpassd_storage_writes_total "
	before, err := l.metric(ctx, metric)
	if err != nil {
		return err
	}
	fault := strings.NewReader(`{"path":"api","kind":"429","retry_after":"2","count":6}`)
	answer, err := http.Post(l.admin+"/fault", "application/json", fault)
	if err != nil {
		return err
	}
	_ = answer.Body.Close()
	// One call is repeated after all of them.
	if _, err := took(ctx, onSocketClient(l.socket), "http://tvpassd"+gatewayPath); err != nil {
		return err
	}
	after, err := l.metric(ctx, metric)
	to.value = after - before
	return err
}

// metric reads a metric without labels.
func (l *lab) metric(ctx context.Context, name string) (value float64, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://tvpassd/v1/metrics", nil)
	if err != nil {
		return 0, err
	}
	answer, err := onSocketClient(l.socket).Do(request)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, err
	}
	_, rest, found := strings.Cut(string(text), "\n"+name)
	if !found {
		return 0, fmt.Errorf("there is no metric %s", name)
	}
	_, err = fmt.Sscan(rest, &value)
	return value, err
}

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}
