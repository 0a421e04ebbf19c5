package gateway_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"
)

// BenchmarkCall compares a player's call through the gateway with a direct one on
// a kept TLS connection, in turns. The throttle stays open, and the server
// thinks for 50 microseconds.
func BenchmarkCall(b *testing.B) {
	r := newRig(b)
	r.think = 50 * time.Microsecond
	direct := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: r.roots}}}
	player := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", r.socket)
		},
	}}
	call := func(client *http.Client, url string) time.Duration {
		began := time.Now()
		resp, err := client.Get(url)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
			b.Fatal(resp.Status, err)
		}
		resp.Body.Close()
		return time.Since(began)
	}
	var there, here []time.Duration
	for b.Loop() {
		there = append(there, call(direct, r.endpoint+"/api/v2/R/profiles"))
		here = append(here, call(player, "http://tvpassd/v1/apps/one/api/v2/R/profiles"))
		r.take()
	}
	slices.Sort(there)
	slices.Sort(here)
	b.ReportMetric(float64(here[len(here)/2])/float64(there[len(there)/2]), "p50/direct")
	b.ReportMetric(float64(here[len(here)/2]), "p50-ns")
}
