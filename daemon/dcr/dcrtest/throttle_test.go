package dcrtest_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tvpassd/tvpassd/daemon/dcr/dcrtest"
)

// validate returns a request that is throttled and changes nothing.
func validate() *http.Request { return httptest.NewRequest(http.MethodGet, "/o/client/validate", nil) }

// The scenario of "Throttling mechanism".
func TestThrottleScenario(t *testing.T) {
	l := newLab(t, throttled)
	var at time.Duration
	for _, call := range []struct {
		ms   int
		want int
	}{
		{0, 200}, {300, 200}, {600, 200}, {900, 200}, {1200, 200}, {1300, 200}, {1400, 200}, {1500, 200}, {1600, 200},
		{1700, 200}, {1800, 200}, {2100, 200}, {2200, 200},
		{2400, 429}, {2600, 429}, {2800, 429},
		{3100, 200},
	} {
		now := time.Duration(call.ms) * time.Millisecond
		l.wait(now - at)
		at = now
		if got := l.send(validate()).Code; got != call.want {
			t.Errorf("at %v: %d, want %d", now, got, call.want)
		}
	}
	if got := l.Counts().Throttled; got != 3 {
		t.Errorf("%d requests counted as throttled, want 3", got)
	}
}

func TestThrottleIsSharedByEveryEndpoint(t *testing.T) {
	l := newLab(t, throttled)
	paths := []string{
		"/o/client/register",
		"/o/client/token",
		"/o/client/scopes",
		"/o/client/validate",
		"/api/v2/a/b",
	}
	var got, want []bool
	for i := range 15 {
		w := l.send(httptest.NewRequest(http.MethodGet, paths[i%len(paths)], nil))
		got, want = append(got, w.Code == 429), append(want, i >= 11)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("throttled: ", diff)
	}
	if w := l.send(httptest.NewRequest(http.MethodGet, "/elsewhere", nil)); w.Code != 404 {
		t.Errorf("a path outside the throttle: %d, want 404", w.Code)
	}
}

func TestThrottleBelongsToAnAddress(t *testing.T) {
	l := newLab(t, throttled)
	from := func(addr string) int {
		r := validate()
		r.RemoteAddr = addr
		return l.send(r).Code
	}
	for i := range 11 {
		from(fmt.Sprintf("192.0.2.1:%d", 1000+i))
	}
	if got := from("192.0.2.1:5000"); got != 429 {
		t.Errorf("another port of the same address: %d, want 429", got)
	}
	if got := from("[2001:db8::1]:5000"); got != 200 {
		t.Errorf("another address: %d, want 200", got)
	}
}

// After a quiet time of any length 11 requests are let through at once, and
// then exactly one a second.
func TestThrottleRefill(t *testing.T) {
	l := newLab(t, throttled)
	passed := func(n int) (passed int) {
		for range n {
			if l.send(validate()).Code == 200 {
				passed++
			}
		}
		return passed
	}
	passed(20)
	l.wait(24 * time.Hour)
	if got := passed(20); got != 11 {
		t.Errorf("%d passed after a day, want 11", got)
	}
	for range 5 {
		l.wait(time.Second)
		if got := passed(3); got != 1 {
			t.Errorf("%d passed after a second, want 1", got)
		}
	}
	l.wait(-time.Hour)
	if got := passed(3); got != 0 {
		t.Errorf("%d passed after the clock was set back, want 0", got)
	}
	l.wait(time.Second)
	if got := passed(3); got != 1 {
		t.Errorf("%d passed a second after the clock was set back, want 1", got)
	}
}

func TestThrottledAnswer(t *testing.T) {
	l := newLab(t, throttled, func(c *dcrtest.Config) { c.ClockOffset = time.Hour })
	for range 11 {
		l.send(validate())
	}
	w := l.send(validate())
	if got := w.Header().Get("Content-Type"); got != "text/html" {
		t.Errorf("Content-Type %q, want text/html", got)
	}
	if !strings.Contains(w.Body.String(), "openresty") {
		t.Errorf("the body is not openresty's page: %q", w.Body)
	}
	if cookies := w.Header().Values("Set-Cookie"); len(cookies) == 0 || !strings.HasPrefix(cookies[0], "AWSALB=") {
		t.Errorf("Set-Cookie %q, want AWSALB", cookies)
	}
	if got, ok := w.Header()["Retry-After"]; ok {
		t.Errorf("Retry-After %q, want none", got)
	}
	if got := w.Header().Get("Date"); got != "Mon, 01 Jun 2026 13:00:00 GMT" {
		t.Errorf("Date %q does not follow the server's clock", got)
	}
}

func TestThrottleOff(t *testing.T) {
	l := newLab(t)
	for range 50 {
		if got := l.send(validate()).Code; got != 200 {
			t.Fatalf("%d with the throttle off", got)
		}
	}
	for range 2 { // each time with full buckets
		l.SetThrottle(true)
		for i := range 12 {
			if got, want := l.send(validate()).Code == 429, i == 11; got != want {
				t.Errorf("request %d after the throttle was turned on: throttled %v, want %v", i+1, got, want)
			}
		}
	}
}
