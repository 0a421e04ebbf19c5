package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"
)

const (
	gatewayPath = "/v1/apps/" + app + "/api/v2/REF30/profiles"
	roundTrip   = 50 * time.Millisecond
)

// client is a player's own way to the server, by a name that its certificate has.
func (l *lab) client() (*http.Client, error) {
	pem, err := os.ReadFile(l.ca)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}, Timeout: patience}, nil
}

// gateway are the measurements of players' calls through the daemon, beside calls
// of their own. The one with 429s comes last: they change what the gate allows.
func gateway(watch time.Duration) []measurement {
	polls := 81 // 4 minutes
	if watch < time.Minute {
		polls = 11
	}
	return []measurement{
		{"first calls", behindRelay(roundTrip, func(l *lab, ctx context.Context, g *guest) ([]row, error) {
			return l.firstCalls(ctx, g, polls)
		})},
		{"hanging calls", behindRelay(0, (*lab).hangingCalls, "b", "c", "d")},
		{"a flood", behindRelay(0, (*lab).floodAndPolls, "b")},
		{"calls of the gateway", func(ctx context.Context, l *lab) ([]row, error) { return one(gatewayLatency(ctx, l)) }},
		{"size of the gateway", func(ctx context.Context, l *lab) ([]row, error) { return one(gatewaySections(ctx, l)) }},
		{"flash of 429s", behindRelay(0, (*lab).flashOf429s)},
	}
}

// guest is a daemon that reaches the simulator by a relay.
type guest struct {
	*relay
	daemon *process
}

// measuring is a measurement with a guest.
type measuring func(*lab, context.Context, *guest) ([]row, error)

// behindRelay is a measurement with a daemon that has a state of its own, and a
// token of each app.
func behindRelay(delay time.Duration, m measuring, others ...string) func(context.Context, *lab) ([]row, error) {
	return func(ctx context.Context, l *lab) ([]row, error) { return l.withGuest(ctx, delay, others, m) }
}

func (l *lab) withGuest(
	ctx context.Context, delay time.Duration, others []string, m measuring,
) (rows []row, err error) {
	r, err := newRelay(l.endpoint, delay)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	far := *l
	far.endpoint, far.state = "https://"+r.Addr().String(), l.files.own("gateway-state")
	if err := os.RemoveAll(far.state); err != nil {
		return nil, err
	}
	if far.args, err = far.configure("gateway.toml", far.state, others...); err != nil {
		return nil, err
	}
	daemon, err := far.daemon(ctx, -1)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, daemon.stop()) }()
	for _, id := range append([]string{app}, others...) {
		path := "/v1/apps/" + id + "/token?wait=60s"
		if err := onSocket(ctx, far.socket, http.MethodGet, path, nil); err != nil {
			return nil, errors.Join(err, errors.New(daemon.lastWords()))
		}
	}
	return m(&far, ctx, &guest{r, daemon})
}

// firstCalls compares the first call of players that have just started, and
// counts what the daemon does for the polls of a sign-in.
func (l *lab) firstCalls(ctx context.Context, g *guest, polls int) ([]row, error) {
	first := row{what: "a player's first call, gateway over direct, 50 ms away", unit: "%.2f", budget: 1 / 2.5}
	kept := row{what: fmt.Sprintf("TLS connections of %d polls 3 s apart", polls), unit: "%.0f", budget: 1}
	parsed := row{what: "parsings of the roots for them", unit: "%.0f", budget: 1}
	opened, err := watchOpens(l.ca)
	if err != nil {
		return nil, err
	}
	defer opened.close()
	if err := sleep(ctx, settle); err != nil { // what the token needed is forgotten
		return nil, err
	}
	made, read := g.conns.Load(), opened.count()
	var ours, theirs []time.Duration
	for i := range polls {
		a, err := took(ctx, onSocketClient(l.socket), "http://tvpassd"+gatewayPath)
		if err != nil {
			return nil, err
		}
		if i > 0 { // a warm daemon
			ours = append(ours, a)
		}
		if err := sleep(ctx, 3*time.Second); err != nil {
			return nil, err
		}
	}
	kept.value, parsed.value = float64(g.conns.Load()-made), float64(opened.count()-read)
	parsed.note = "ca_file is read once for each"
	for range 5 {
		direct, err := l.client()
		if err != nil {
			return nil, err
		}
		b, err := took(ctx, direct, l.endpoint+"/captive-portal")
		if err != nil {
			return nil, err
		}
		theirs = append(theirs, b)
	}
	a, b := median(ours), median(theirs)
	first.value = a.Seconds() / b.Seconds()
	first.note = fmt.Sprintf("%.1f times as fast: here %v over %v, by a relay that delays", b.Seconds()/a.Seconds(),
		a.Round(time.Millisecond), b.Round(time.Millisecond))
	return []row{first, kept, parsed}, nil
}

// flashOf429s counts what shuts of the gate write.
func (l *lab) flashOf429s(ctx context.Context, _ *guest) ([]row, error) {
	wear := row{what: "writes to flash after six 429s with Retry-After: 2", unit: "%.0f", budget: 1}
	const metric = "tvpassd_storage_writes_total "
	if err := sleep(ctx, settle); err != nil { // the token is stored
		return nil, err
	}
	before, err := l.metric(ctx, metric)
	if err != nil {
		return nil, err
	}
	if err := l.fault(ctx, `{"path":"api","kind":"429","retry_after":"2","count":6}`); err != nil {
		return nil, err
	}
	// One call is repeated after all of them.
	if _, err := took(ctx, onSocketClient(l.socket), "http://tvpassd"+gatewayPath); err != nil {
		return nil, err
	}
	after, err := l.metric(ctx, metric)
	wear.value = after - before
	return []row{wear}, err
}

// metric reads a metric without labels.
func (l *lab) metric(ctx context.Context, name string) (value float64, err error) {
	text, err := ask(ctx, onSocketClient(l.socket), http.MethodGet, "http://tvpassd/v1/metrics", "")
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
