package server

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tvpassd/tvpassd/ipc"
)

// A real token is a JWT of this size.
func benchBackend() *benchToken {
	tok := labToken("one")
	tok.AccessToken = strings.Repeat("eyJhbGciOiJSUzI1NiJ9.", 48)
	b := &benchToken{newBackend(), tok}
	return b
}

type benchToken struct {
	*fakeBackend
	tok ipc.Token
}

func (b *benchToken) Token(context.Context, string, ipc.Query) (ipc.Token, error) { return b.tok, nil }

// A player's call for a token that is at hand, over a connection that it keeps.
func BenchmarkCachedToken(b *testing.B) {
	l := startLab(b, func(cfg *Config) { cfg.Tokens = benchBackend() })
	c := l.dial(alice)
	if err := c.SetDeadline(time.Time{}); err != nil {
		b.Fatal(err)
	}
	r := bufio.NewReader(c)
	request := []byte("GET /v1/apps/one/token HTTP/1.1\r\nHost: x\r\n\r\n")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(request); err != nil {
			b.Fatal(err)
		}
		resp, err := http.ReadResponse(r, nil)
		if err != nil || resp.StatusCode != http.StatusOK {
			b.Fatal(resp, err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			b.Fatal(err)
		}
	}
}

// The same without the socket and net/http.
func BenchmarkCachedTokenHandler(b *testing.B) {
	backend := benchBackend()
	cfg := configFor(backend.fakeBackend)
	cfg.Tokens = backend
	s := New(cfg)
	r := httptest.NewRequest("GET", "/v1/apps/one/token", nil)
	r = r.WithContext(context.WithValue(r.Context(), peerKey{}, &conn{peer: person(alice)}))
	w := &nobody{http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		s.serve(w, r, nil)
	}
}

// nobody throws answers away.
type nobody struct{ h http.Header }

func (n *nobody) Header() http.Header         { return n.h }
func (n *nobody) Write(b []byte) (int, error) { return len(b), nil }
func (n *nobody) WriteHeader(int)             {}
