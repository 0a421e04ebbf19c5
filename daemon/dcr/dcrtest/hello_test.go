package dcrtest_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"
	"time"

	"github.com/tvpassd/tvpassd/daemon/dcr/dcrtest"
)

// A fault may strike a ClientHello that is long enough; the server then sends
// no TLS record.
func TestFaultsOfTheHandshake(t *testing.T) {
	l := newLab(t)
	server := httptest.NewUnstartedServer(l)
	server.Listener = l.Listener(server.Listener)
	server.StartTLS()
	t.Cleanup(server.Close)
	get := func(curves ...tls.CurveID) error {
		config := server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
		config.CurvePreferences = curves
		conn, err := tls.DialWithDialer(
			&net.Dialer{Timeout: time.Second},
			"tcp",
			server.Listener.Addr().String(),
			config,
		)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	if err := get(); err != nil {
		t.Errorf("without a fault: %v", err)
	}
	mustFault(t, l, dcrtest.Fault{Path: "tls", Kind: "reset", Size: 1400})
	if err := get(tls.X25519MLKEM768); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a long one: %v, want %v", err, syscall.ECONNRESET)
	}
	if err := get(tls.X25519); err != nil {
		t.Errorf("a short one: %v", err)
	}
	l.ClearFaults()
	mustFault(t, l, dcrtest.Fault{Path: "tls", Kind: "close", Count: 1})
	mustFault(t, l, dcrtest.Fault{Path: "tls", Kind: "hang", Count: 1})
	if err := get(); !errors.Is(err, io.EOF) {
		t.Errorf("closed: %v, want %v", err, io.EOF)
	}
	if err, ok := errors.AsType[net.Error](get()); !ok || !err.Timeout() {
		t.Errorf("hanging: %v, want a timeout", err)
	}
	mustFault(t, l, dcrtest.Fault{Kind: "reset", Count: 1}) // of requests, which goes below TLS and the listener
	w := &wire{lab: l, url: server.URL, client: server.Client()}
	wantReset(t, w.do(t.Context(), t, registration(t)))
	if got := w.do(t.Context(), t, registration(t)); got.status != http.StatusCreated {
		t.Errorf("after all: %d %v", got.status, got.err)
	}
}

// The faults of a connection work over TLS as well: there a reset has to get
// below it.
func TestFaultsOverTLS(t *testing.T) {
	l := newLab(t)
	server := httptest.NewTLSServer(l)
	t.Cleanup(server.Close)
	w := &wire{lab: l, url: server.URL, client: server.Client()}
	mustFault(t, l, dcrtest.Fault{Kind: "lost", Count: 1})
	mustFault(t, l, dcrtest.Fault{Kind: "truncated", Count: 1})
	wantReset(t, w.do(t.Context(), t, registration(t)))
	if got := w.do(t.Context(), t, registration(t)); !errors.Is(got.err, io.ErrUnexpectedEOF) {
		t.Errorf("truncated: %v, want %v", got.err, io.ErrUnexpectedEOF)
	}
	if got := w.do(t.Context(), t, registration(t)); got.status != http.StatusCreated {
		t.Errorf("then: %d %v, want 201", got.status, got.err)
	}
}
