package daemon

import (
	"bufio"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/tvpassd/tvpassd/storage"
)

// BenchmarkToken is a cached token by way of the real socket, on a kept
// connection.
func BenchmarkToken(b *testing.B) {
	cfg := onBench(b, "eyJhbGciOiJub25lIn0.e30.c2ln")
	keepToken(b, cfg)
	d, err := New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error)
	go func() { ended <- d.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	}()
	conn, err := net.Dial("unix", d.socket.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	answers := bufio.NewReader(conn)
	b.ReportAllocs()
	for b.Loop() {
		const request = "GET /v1/apps/ref30/token HTTP/1.1\r\nHost: tvpassd\r\nAccept: */*\r\n\r\n"
		if _, err := io.WriteString(conn, request); err != nil {
			b.Fatal(err)
		}
		status, length := "", 0
		for {
			line, err := answers.ReadString('\n')
			if err != nil {
				b.Fatal(err)
			}
			if status == "" {
				status = strings.TrimSpace(line)
			}
			if n, ok := strings.CutPrefix(line, "Content-Length: "); ok {
				for _, c := range strings.TrimSpace(n) {
					length = 10*length + int(c-'0')
				}
			}
			if line == "\r\n" {
				break
			}
		}
		if _, err := answers.Discard(length); err != nil || status != "HTTP/1.1 200 OK" || length < 1000 {
			b.Fatalf("%s, %d bytes, %v", status, length, err)
		}
	}
}

// keepToken stores credentials and a token that lives for an hour.
func keepToken(b testing.TB, cfg Config) {
	b.Helper()
	d, err := New(cfg) // makes the state directory, as the configuration has it
	if err != nil {
		b.Fatal(err)
	}
	now := cfg.Clock.Now()
	stamp := storage.Stamp{BootID: cfg.Clock.BootID(), Boot: now.Boot, Wall: now.Wall}
	err = d.store.SaveApp("http://127.0.0.1:1", "ref30", storage.App{
		Credentials: &storage.Credentials{ClientID: "client", ClientSecret: "secret", RegisteredAt: now.Wall},
		History:     storage.History{Registrations: 1},
		Token: &storage.Token{
			AccessToken: strings.Repeat("t", 1000), ID: "id", Life: time.Hour, Sent: stamp, ServerSent: now.Wall,
			RefreshAfter: 40 * time.Minute,
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	d.shut(b)
}
