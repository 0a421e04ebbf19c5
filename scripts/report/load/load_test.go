package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const tokenAnswer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\nhello"

// asCommand in the environment makes the test binary the command. Clients block
// their threads behind the scheduler's back, so a server in the same process
// might never get its turn.
const asCommand = "LOAD_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// load runs the command and returns its figures, or what it said when it failed.
func load(t *testing.T, args ...string) ([]result, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), asCommand+"=1", "GORACE=atexit_sleep_ms=0")
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return nil, errors.New(said.String())
	}
	var results []result
	for line := range bytes.Lines(out) {
		var r result
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatal(err)
		}
		results = append(results, r)
	}
	return results, nil
}

// server answers requests on a Unix socket by a script: what to write for a
// request, and whether to hang up then.
type server struct {
	socket      string
	connections atomic.Int64
	requests    atomic.Int64
	pieces      []string
	hangUp      bool
	delay       time.Duration // before an answer
}

func (s *server) start(t *testing.T) {
	t.Helper()
	s.socket = filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", s.socket)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil { // closed: the test is over
				return
			}
			s.connections.Add(1)
			wg.Go(func() { s.serve(conn) })
		}
	})
	t.Cleanup(func() {
		if err := listener.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
	})
}

func (s *server) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }() // the client may have hung up first
	in := bufio.NewReader(conn)
	for {
		if _, err := in.ReadByte(); err != nil {
			return
		}
		if _, err := in.Discard(in.Buffered()); err != nil {
			return
		}
		s.requests.Add(1)
		time.Sleep(s.delay)
		for _, piece := range s.pieces {
			if _, err := io.WriteString(conn, piece); err != nil {
				return
			}
		}
		if s.hangUp {
			return
		}
	}
}

func TestModes(t *testing.T) {
	echo := strings.Repeat("x", echoSize)
	for _, tt := range []struct {
		mode        string
		hangUp      bool
		pieces      []string
		connections int64
		requests    int64 // by two clients with three requests each; a kept connection is warmed with one more
	}{
		{"http", false, []string{tokenAnswer}, 2, 8},
		{"http-each", false, []string{tokenAnswer[:20], tokenAnswer[20:]}, 6, 6},
		{"echo", false, []string{echo[:1000], echo[1000:]}, 2, 8},
		{"echo-each", true, []string{echo}, 6, 6},
		{"oidc-each", true, []string{`{"status":"success"}`}, 6, 6},
	} {
		t.Run(tt.mode, func(t *testing.T) {
			s := server{pieces: tt.pieces, hangUp: tt.hangUp}
			s.start(t)
			got, err := load(t, "-clients", "2", "-requests", "3", "it:"+tt.mode+":"+s.socket+":/v1/token")
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != 1 || got[0].Requests != 6 || got[0].Bytes != len(strings.Join(tt.pieces, "")) {
				t.Errorf("got %+v", got)
			}
			counts := []int64{s.connections.Load(), s.requests.Load()}
			if diff := cmp.Diff([]int64{tt.connections, tt.requests}, counts); diff != "" {
				t.Errorf("connections and requests: %s", diff)
			}
		})
	}
}

// Any answer other than 200 ends the measurement: its figure would look better
// than it is.
func TestBadAnswers(t *testing.T) {
	for _, tt := range []struct {
		name, mode, answer, want string
	}{
		{"refused", "http", "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", "503"},
		{"no length", "http", "HTTP/1.1 200 OK\r\n\r\nhello", "Content-Length"},
		{"bad length", "http", "HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\nhello", "five"},
		{"cut short", "http", tokenAnswer[:len(tokenAnswer)-1], "hung up"},
		{"short echo", "echo", "x", "hung up"},
		{"silent agent", "oidc-each", "", "hung up"},
		{"endless", "oidc-each", strings.Repeat("x", 65<<10), "more than"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := server{pieces: []string{tt.answer}, hangUp: true}
			s.start(t)
			_, err := load(t, "-requests", "1", "it:"+tt.mode+":"+s.socket)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error about %q", err, tt.want)
			}
		})
	}
}

// The slower target has the higher ratio, and every round asks both.
func TestRatios(t *testing.T) {
	fast := server{pieces: []string{tokenAnswer}}
	slow := server{pieces: []string{tokenAnswer}, delay: 5 * time.Millisecond}
	fast.start(t)
	slow.start(t)
	got, err := load(t, "-rounds", "3", "-requests", "20", "fast:http:"+fast.socket, "slow:http:"+slow.socket)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0].Ratio != 1 || got[1].Ratio <= 1 || got[1].Name != "slow" || got[1].Requests != 60 {
		t.Errorf("got %+v", got)
	}
}

func TestDurationEndsATurn(t *testing.T) {
	s := server{pieces: []string{tokenAnswer}}
	s.start(t)
	got, err := load(t, "-for", "10ms", "it:http:"+s.socket)
	if err != nil || len(got) != 1 || got[0].Requests == 0 {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestParseTargetRefuses(t *testing.T) {
	for _, bad := range []string{"it", "it:http", "it:ftp:/s", "it:oidc:/s", "it:http:/s:/p:1"} {
		if _, err := parseTarget(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestQuantile(t *testing.T) {
	values := []float64{1, 2, 3, 4, 5}
	got := []float64{quantile(values, 0), quantile(values, 0.5), quantile(values, 0.99), median([]float64{3, 1, 2})}
	if diff := cmp.Diff([]float64{1, 3, 5, 2}, got); diff != "" {
		t.Error(diff)
	}
}
