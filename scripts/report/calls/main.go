// Command calls compares a player's call through the gateway with a direct one
// on a kept TLS connection. One process serves both, another makes the calls, in
// turns; the daemon is a third one.
//
//	calls -serve URL -addr-out FILE -ca-out FILE
//	calls -direct URL -socket SOCKET [-rounds N]
//
// The server thinks for 50 microseconds about each call of the API, and hands
// everything else to the simulator at URL. The process that calls prints a line
// of JSON.
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/tvpassd/tvpassd/ipc/client"
)

const (
	app = "ref30"
	api = "/api/v2/REF30/profiles"

	thinks = 50 * time.Microsecond
	// The gateway lets a burst of 9 calls of players leave, and one a second.
	burst  = 9
	refill = 10 * time.Second
)

func main() {
	serve := flag.String("serve", "", "serve, in front of the simulator at `URL`")
	addr := flag.String("addr-out", "", "write the server's address to `FILE`")
	ca := flag.String("ca-out", "", "write the server's certificate to `FILE`")
	direct := flag.String("direct", "", "compare with calls to `URL`")
	socket := flag.String("socket", "", "the daemon's socket")
	rounds := flag.Int("rounds", 8, "rounds of 8 calls each")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	var err error
	if *serve != "" {
		err = server(ctx, *serve, *addr, *ca)
	} else {
		err = compare(ctx, *direct, *socket, *rounds)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "calls:", err)
		os.Exit(1)
	}
}

// server serves until ctx is done.
func server(ctx context.Context, simulator, addr, ca string) error {
	to, err := url.Parse(simulator)
	if err != nil {
		return err
	}
	rest := httputil.NewSingleHostReverseProxy(to)
	rest.Transport = &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // its own simulator
	answer := []byte(`{"profiles":{"Cablevision":{"attributes":{"upstreamUserID":"` + strings.Repeat("x", 900) + `"}}}}`)
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/api/") {
			rest.ServeHTTP(w, r)
			return
		}
		for began := time.Now(); time.Since(began) < thinks; {
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(answer) // to a client that has left
	}))
	defer s.Close()
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(ca, certificate, 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(addr, []byte(s.URL), 0o600); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// result has the figures, in microseconds and as ratios within a round.
type result struct {
	Direct, Gateway         float64
	Ratio, RatioQ1, RatioQ3 float64
	Calls                   int
}

// compare makes calls in turns. A round's first two warm the caches.
func compare(ctx context.Context, endpoint, socket string, rounds int) error {
	here := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	there := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	headers, err := (&client.Client{Socket: socket}).Headers(ctx, app, nil) // that a player's own call needs
	if err != nil {
		return err
	}
	own := http.Header{}
	for name, value := range headers.Headers {
		own.Set(name, value)
	}
	var all [2][]float64
	var ratios []float64
	for range rounds {
		select {
		case <-time.After(refill):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		var took [2][]float64
		for i := range burst {
			a, err := timed(ctx, there, endpoint+api, own)
			if err != nil {
				return err
			}
			b, err := timed(ctx, here, "http://tvpassd/v1/apps/"+app+api, http.Header{"Prefer": {"wait=0"}})
			if err != nil {
				return err
			}
			if i > 0 {
				took[0], took[1] = append(took[0], a), append(took[1], b)
			}
		}
		ratios = append(ratios, median(took[1])/median(took[0]))
		all[0], all[1] = append(all[0], took[0]...), append(all[1], took[1]...)
	}
	slices.Sort(ratios)
	return json.NewEncoder(os.Stdout).Encode(result{
		Direct: median(all[0]), Gateway: median(all[1]), Calls: len(all[1]),
		Ratio: median(ratios), RatioQ1: ratios[len(ratios)/4], RatioQ3: ratios[len(ratios)*3/4],
	})
}

// timed makes a GET and returns how long it took, in microseconds, to the last
// byte of its answer.
func timed(ctx context.Context, player *http.Client, url string, header http.Header) (float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	request.Header = header.Clone()
	began := time.Now()
	answer, err := player.Do(request)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, answer.Body)
	took := time.Since(began)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, answer.Status)
	}
	return took.Seconds() * 1e6, errors.Join(err, answer.Body.Close())
}

func median(all []float64) float64 {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}
