package main

import (
	"net"
	"net/http"
	"sync"
	"testing"
)

// serve answers on a Unix socket until the test ends, one request after the
// other.
func serve(t *testing.T, socket string, answer http.HandlerFunc) {
	t.Helper()
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var (
		mu sync.Mutex // held while answering
		wg sync.WaitGroup
	)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		answer(w, r)
	})}
	wg.Go(func() { _ = server.Serve(listener) }) // ends by Close
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
	})
}
