package oauth2

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"golang.org/x/oauth2"

	"github.com/tvpassd/tvpassd/ipc/client"
)

// daemon answers every request with a new token, and returns its socket.
func daemon(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n++
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token":"token %d of %s","token_type":"bearer","expires_at":"2036-01-01T00:00:00Z"}`,
			n, r.URL.Path)
	})}
	t.Cleanup(func() { server.Close() })
	go func() { _ = server.Serve(l) }() // it ends with the test
	return path
}

// Each request has the token that is good when it is sent.
func TestSource(t *testing.T) {
	source := &Source{client.TokenSource{Client: &client.Client{Socket: daemon(t)}, App: "ref30"}}
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Seen", r.Header.Get("Authorization"))
	}))
	t.Cleanup(backend.Close)
	player := http.Client{Transport: &oauth2.Transport{Source: source}}
	for i := 1; i < 3; i++ {
		resp, err := player.Get(backend.URL)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		want := fmt.Sprintf("Bearer token %d of /v1/apps/ref30/token", i)
		if got := resp.Header.Get("Seen"); got != want {
			t.Errorf("request %d has %q, want %q", i, got, want)
		}
	}
}
