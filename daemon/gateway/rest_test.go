package gateway_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tvpassd/tvpassd/daemon/dcr"
	"github.com/tvpassd/tvpassd/daemon/gateway"
	"github.com/tvpassd/tvpassd/daemon/throttle"
)

// slow is an upstream that answers after a while.
type slow time.Duration

func (s slow) Send(context.Context, *dcr.Request) (*http.Response, error) {
	time.Sleep(time.Duration(s))
	return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader("{}")), ContentLength: 2}, nil
}

func (slow) RetryAfter(*http.Response) time.Duration { return 0 }

// Connections are kept during calls and for a minute after the last one, so
// that a sign-in that polls has one connection.
func TestConnectionsAreKeptForAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		now := func() time.Duration { return time.Hour + time.Since(start) }
		line := throttle.NewLine(throttle.New("boot", now(), forgetful{}), now,
			func(d time.Duration, f func()) throttle.Timer { return time.AfterFunc(d, f) })
		var since, kept []time.Duration
		g := gateway.New(gateway.Config{
			Tokens: new(tokens), Line: line, Identifier: func() string { return "" }, Now: now,
			Awake: func() func() {
				since = append(since, time.Since(start))
				return func() { kept = append(kept, time.Since(start)) }
			},
			Ended: func(*gateway.Outcome) {},
		})
		const answer = 10 * time.Second
		g.Adopt(&gateway.Settings{Enabled: true, Upstream: slow(answer)})
		for _, pause := range []time.Duration{0, 3 * time.Second, 59 * time.Second, 2 * time.Minute} {
			time.Sleep(pause)
			err := g.Serve(httptest.NewRecorder(), httptest.NewRequest("GET", "/api/v2/x", nil), "one", "x", nil,
				func() error { return nil })
			if err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		first := 3*answer + 62*time.Second + time.Minute // after three calls
		if len(since) != 2 || len(kept) != 2 || kept[0] != first || kept[1] != first+time.Minute+answer+time.Minute {
			t.Errorf("connections were needed from %v and dropped after %v", since, kept)
		}
	})
}
