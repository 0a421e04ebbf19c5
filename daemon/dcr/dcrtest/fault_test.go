package dcrtest_test

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tvpassd/tvpassd/daemon/dcr/dcrtest"
)

// wire is a lab behind a real listener, and what a client sees of it.
type wire struct {
	*lab
	url    string
	client *http.Client
}

func newWire(t *testing.T, change ...func(*dcrtest.Config)) *wire {
	t.Helper()
	l := newLab(t, change...)
	server := httptest.NewServer(l)
	t.Cleanup(server.Close)
	client := server.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &wire{lab: l, url: server.URL, client: client}
}

// seen is what a client got; err is the error of the call, or of reading the
// body.
type seen struct {
	status int
	header http.Header
	body   string
	err    error
}

func (w *wire) do(ctx context.Context, t *testing.T, r *http.Request) seen {
	t.Helper()
	out, err := http.NewRequestWithContext(ctx, r.Method, w.url+r.URL.Path, r.Body)
	if err != nil {
		t.Fatal(err)
	}
	out.Header = r.Header.Clone()
	out.Header.Set("Accept-Encoding", "identity") // net/http would undo a coding that it asked for
	resp, err := w.client.Do(out)
	if err != nil {
		return seen{err: err}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return seen{resp.StatusCode, resp.Header, string(body), err}
}

// last returns the latest request that the server remembers.
func (w *wire) last() dcrtest.Request {
	all := w.Requests()
	return all[len(all)-1]
}

// faultCase is what a fault does to a registration.
type faultCase struct {
	fault  dcrtest.Fault
	status int  // that the client sees; 0: an error instead of an answer
	acted  bool // credentials were issued
	check  func(t *testing.T, got seen)
}

// testEach tests each case by its name.
func testEach[T interface{ test(*testing.T) }](t *testing.T, cases map[string]T) {
	t.Helper()
	for name, tc := range cases {
		t.Run(name, tc.test)
	}
}

func (tc faultCase) test(t *testing.T) {
	w := newWire(t)
	tc.fault.Path, tc.fault.Count = "register", 1
	mustFault(t, w.lab, tc.fault)
	got := w.do(t.Context(), t, registration(t))
	if got.status != tc.status {
		t.Fatalf("%d %s %v, want %d", got.status, got.body, got.err, tc.status)
	}
	tc.check(t, got)
	last := w.last()
	if acted := last.ClientID != ""; acted != tc.acted {
		t.Errorf("credentials were issued: %v, want %v", acted, tc.acted)
	}
	if last.Fault != tc.fault.Kind || last.Status != tc.status {
		t.Errorf("remembered as %+v", last)
	}
	if got.header != nil && got.header.Get("Date") != "Mon, 01 Jun 2026 12:00:00 GMT" {
		t.Errorf("Date %q is not of the server's clock", got.header.Get("Date"))
	}
	if got := w.do(t.Context(), t, registration(t)); got.status != http.StatusCreated {
		t.Errorf("after the fault: %d %v, want 201", got.status, got.err)
	}
}

// Answers in place of the good one.
func TestFaultsInstead(t *testing.T) {
	const date = "Mon, 01 Jun 2026 12:00:09 GMT"
	testEach(t, map[string]faultCase{
		"status":     {dcrtest.Fault{Kind: "status"}, 503, false, wantHTML},
		"status 502": {dcrtest.Fault{Kind: "status", Status: 502}, 502, false, wantHTML},
		"captive":    {dcrtest.Fault{Kind: "html"}, 200, false, wantHTML},
		"error": {
			dcrtest.Fault{Kind: "error", Code: "invalid_client"}, 400, false, wantBody(`{"error":"invalid_client"}`),
		},
		"error unknown": {dcrtest.Fault{Kind: "error", Code: "brand_new"}, 400, false, wantBody(`{"error":"brand_new"}`)},
		"redirect": {dcrtest.Fault{Kind: "redirect"}, 302, false, func(t *testing.T, got seen) {
			if got.header.Get("Location") == "" {
				t.Error("no Location")
			}
		}},
		"429": {dcrtest.Fault{Kind: "429"}, 429, false, func(t *testing.T, got seen) {
			wantHTML(t, got)
			if value, ok := got.header["Retry-After"]; ok {
				t.Errorf("Retry-After %q, want none", value)
			}
		}},
		"429 seconds": {dcrtest.Fault{Kind: "429", RetryAfter: "17"}, 429, false, wantRetryAfter("17")},
		"429 date":    {dcrtest.Fault{Kind: "429", RetryAfter: date}, 429, false, wantRetryAfter(date)},
		"429 date ahead": {
			dcrtest.Fault{Kind: "429", RetryAfter: "+90s"}, 429, false, wantRetryAfter("Mon, 01 Jun 2026 12:01:30 GMT"),
		},
		"503 Retry-After": {dcrtest.Fault{Kind: "status", RetryAfter: "5"}, 503, false, wantRetryAfter("5")},
	})
}

// Bodies that are not as they should be.
func TestFaultsOfTheBody(t *testing.T) {
	nullSecret := dcrtest.Fault{Kind: "value", Field: "client_secret", Value: []byte(`null`)}
	testEach(t, map[string]faultCase{
		"truncated": {dcrtest.Fault{Kind: "truncated"}, 201, true, func(t *testing.T, got seen) {
			if !errors.Is(got.err, io.ErrUnexpectedEOF) || got.body == "" {
				t.Errorf("the body %q ended with %v, want half of it and %v", got.body, got.err, io.ErrUnexpectedEOF)
			}
		}},
		"oversized": {dcrtest.Fault{Kind: "oversized"}, 201, true, func(t *testing.T, got seen) {
			if len(got.body) <= 1<<20 || !json.Valid([]byte(got.body)) {
				t.Errorf("the body has %d bytes, JSON: %v; want more than 1 MiB of it",
					len(got.body), json.Valid([]byte(got.body)))
			}
		}},
		"missing": {dcrtest.Fault{Kind: "missing", Field: "client_secret"}, 201, true, func(t *testing.T, got seen) {
			if strings.Contains(got.body, "client_secret") || !strings.Contains(got.body, "client_id") {
				t.Errorf("the body %s, want all but client_secret", got.body)
			}
		}},
		"all missing": {dcrtest.Fault{Kind: "missing"}, 201, true, wantBody(`{}`)},
		"types": {dcrtest.Fault{Kind: "types"}, 201, true, wantBody(`{"client_id":42,"client_id_issued_at":"forty-two",` +
			`"client_secret":42,"grant_types":"forty-two","redirect_uris":"forty-two","scopes":"forty-two"}`)},
		"garbage": {dcrtest.Fault{Kind: "garbage"}, 201, false, func(t *testing.T, got seen) {
			if json.Valid([]byte(got.body)) || !strings.HasPrefix(got.header.Get("Content-Type"), "application/json") {
				t.Errorf("%s %q is not garbage called JSON", got.header.Get("Content-Type"), got.body)
			}
		}},
		"value": {nullSecret, 201, true, func(t *testing.T, got seen) {
			if !strings.Contains(got.body, `"client_secret":null`) || strings.Contains(got.body, `"client_id":null`) {
				t.Errorf("the body %s, want client_secret null", got.body)
			}
		}},
		"long": {dcrtest.Fault{Kind: "long", Field: "client_id", Size: 5000}, 201, true, func(t *testing.T, got seen) {
			if !strings.Contains(got.body, `"client_id":"`+strings.Repeat("x", 5000)+`"`) {
				t.Errorf("the body has %d bytes", len(got.body))
			}
		}},
	})
}

// Codings and labels of the body.
func TestFaultsOfCoding(t *testing.T) {
	testEach(t, map[string]faultCase{
		"gzip":       {dcrtest.Fault{Kind: "gzip"}, 201, true, wantGzip("gzip")},
		"unlabelled": {dcrtest.Fault{Kind: "unlabelled"}, 201, true, wantGzip("")},
		"label":      {dcrtest.Fault{Kind: "label", Code: "br"}, 201, true, wantGood("br")},
		"bom": {dcrtest.Fault{Kind: "bom"}, 201, true, func(t *testing.T, got seen) {
			if !strings.HasPrefix(got.body, "\ufeff{") {
				t.Errorf("the body %q, want a byte order mark", got.body)
			}
		}},
	})
}

// Connections that break off or dawdle.
func TestFaultsOfTheConnection(t *testing.T) {
	testEach(t, map[string]faultCase{
		"reset": {dcrtest.Fault{Kind: "reset"}, 0, false, wantReset},
		"lost":  {dcrtest.Fault{Kind: "lost"}, 0, true, wantReset},
		"delay": {dcrtest.Fault{Kind: "delay", Delay: time.Millisecond}, 201, true, func(*testing.T, seen) {}},
		"drip":  {dcrtest.Fault{Kind: "drip", Delay: time.Microsecond}, 201, true, wantGood("")},
		"close": {dcrtest.Fault{Kind: "close"}, 0, false, func(t *testing.T, got seen) {
			if !errors.Is(got.err, io.EOF) {
				t.Errorf("%v, want %v", got.err, io.EOF)
			}
		}},
	})
}

func wantHTML(t *testing.T, got seen) {
	t.Helper()
	if !strings.HasPrefix(got.header.Get("Content-Type"), "text/html") {
		t.Errorf("Content-Type %q, want HTML", got.header.Get("Content-Type"))
	}
}

func wantGood(coding string) func(*testing.T, seen) {
	return func(t *testing.T, got seen) {
		t.Helper()
		if !json.Valid([]byte(got.body)) || got.header.Get("Content-Encoding") != coding {
			t.Errorf("%q in coding %q", got.body, got.header.Get("Content-Encoding"))
		}
	}
}

func wantGzip(coding string) func(*testing.T, seen) {
	return func(t *testing.T, got seen) {
		t.Helper()
		r, err := gzip.NewReader(strings.NewReader(got.body))
		if err != nil {
			t.Fatalf("%q: %v", got.body, err)
		}
		body, err := io.ReadAll(r)
		if err != nil || !json.Valid(body) || got.header.Get("Content-Encoding") != coding {
			t.Errorf("%q in coding %q, %v", body, got.header.Get("Content-Encoding"), err)
		}
	}
}

func wantReset(t *testing.T, got seen) {
	t.Helper()
	if !errors.Is(got.err, syscall.ECONNRESET) {
		t.Errorf("%v, want %v", got.err, syscall.ECONNRESET)
	}
}

func wantBody(want string) func(*testing.T, seen) {
	return func(t *testing.T, got seen) {
		t.Helper()
		if diff := cmp.Diff(want, strings.TrimSpace(got.body)); diff != "" {
			t.Error("body: ", diff)
		}
	}
}

func wantRetryAfter(want string) func(*testing.T, seen) {
	return func(t *testing.T, got seen) {
		t.Helper()
		if value := got.header.Get("Retry-After"); value != want {
			t.Errorf("Retry-After %q, want %q", value, want)
		}
	}
}

func mustFault(t *testing.T, l *lab, f dcrtest.Fault) {
	t.Helper()
	if err := l.SetFault(f); err != nil {
		t.Fatal(err)
	}
}

// A client that waits for an answer gets none. When it gives up, the request
// ends on the server too: otherwise Close would hang.
func TestFaultHang(t *testing.T) {
	for _, f := range []dcrtest.Fault{{Kind: "hang"}, {Kind: "delay", Delay: time.Minute}} {
		w := newWire(t)
		mustFault(t, w.lab, f)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan seen, 1)
		go func() { done <- w.do(ctx, t, registration(t)) }()
		for len(w.Requests()) == 0 { // until the server has it
			select {
			case got := <-done:
				t.Fatalf("%s: answered %d %v", f.Kind, got.status, got.err)
			case <-time.After(time.Millisecond):
			}
		}
		cancel()
		if got := <-done; !errors.Is(got.err, context.Canceled) {
			t.Errorf("%s: %d %v, want no answer", f.Kind, got.status, got.err)
		}
	}
}

// A late answer is as late as it was set to be.
func TestFaultDelay(t *testing.T) {
	w := newWire(t)
	mustFault(t, w.lab, dcrtest.Fault{Kind: "status", Delay: 50 * time.Millisecond})
	start := time.Now()
	got := w.do(t.Context(), t, registration(t))
	if took := time.Since(start); got.status != 503 || took < 50*time.Millisecond {
		t.Errorf("%d after %v, want 503 after 50ms", got.status, took)
	}
}

// A client that follows the redirect lands on a page of HTML, and shows in the
// log of requests.
func TestFaultRedirectFollowed(t *testing.T) {
	w := newWire(t)
	w.client.CheckRedirect = nil
	mustFault(t, w.lab, dcrtest.Fault{Kind: "redirect"})
	got := w.do(t.Context(), t, registration(t))
	if got.status != 200 || !strings.Contains(got.body, "<p>") {
		t.Errorf("%d %q, want the portal's page", got.status, got.body)
	}
	if last := w.last(); last.Path != "/captive-portal" || last.Method != http.MethodGet {
		t.Errorf("remembered as %+v", last)
	}
}

// Faults strike in the order in which they were set, as often as they say, and
// only where they say.
func TestFaultOrder(t *testing.T) {
	l := newLab(t)
	id, secret := l.register(t)
	mustFault(t, l, dcrtest.Fault{Path: "token", Kind: "status", Count: 2})
	mustFault(t, l, dcrtest.Fault{Path: "token", Kind: "error", Code: "invalid_client", Count: 1})
	mustFault(t, l, dcrtest.Fault{Path: "api", Kind: "error", Code: "invalid_access_token_service_provider"})
	codes := func(n int, r func() *http.Request) (got []int) {
		for range n {
			got = append(got, l.send(r()).Code)
		}
		return got
	}
	ask := func() *http.Request { return tokenRequest(t, id, secret) }
	if diff := cmp.Diff([]int{503, 503, 400, 201}, codes(4, ask)); diff != "" {
		t.Error("token: ", diff)
	}
	if diff := cmp.Diff([]int{201}, codes(1, func() *http.Request { return registration(t) })); diff != "" {
		t.Error("register, which has no fault: ", diff)
	}
	access := l.token(t, id, secret)
	got := codes(3, func() *http.Request { return apiRequest(t, access) })
	if diff := cmp.Diff([]int{401, 401, 401}, got); diff != "" {
		t.Error("api, until it is cleared: ", diff)
	}
	l.ClearFaults()
	if diff := cmp.Diff([]int{200}, codes(1, func() *http.Request { return apiRequest(t, access) })); diff != "" {
		t.Error("api, after it was cleared: ", diff)
	}
}

// The protected APIs have errors of their own form, those of today and those to
// come.
func TestFaultErrorOfAPI(t *testing.T) {
	for _, tc := range []struct {
		code   string
		status int
		action string
	}{
		{"invalid_access_token_service_provider", 401, "application-registration"},
		{"network_received_error", 403, "retry"},
		{"brand_new", 403, "none"},
	} {
		l := newLab(t)
		mustFault(t, l, dcrtest.Fault{Kind: "error", Code: tc.code})
		wantEnhanced(t, l, apiRequest(t, "x"), tc.status, tc.code, tc.action, "fault")
	}
}

// A request that a fault strikes empties the throttle's bucket, and one that
// the throttle refuses uses up no fault.
func TestFaultBehindThrottle(t *testing.T) {
	l := newLab(t, throttled)
	mustFault(t, l, dcrtest.Fault{Kind: "status", Count: 12})
	var got []int
	for range 12 {
		got = append(got, l.send(validate()).Code)
	}
	l.wait(time.Second)
	got = append(got, l.send(validate()).Code)
	want := []int{503, 503, 503, 503, 503, 503, 503, 503, 503, 503, 503, 429, 503}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := l.Counts().Throttled; got != 1 {
		t.Errorf("%d counted as throttled, want 1", got)
	}
}

func TestParseFault(t *testing.T) {
	got, err := dcrtest.ParseFault(
		"path=token kind=status status=502 count=2 retry_after=+5s delay=1s code=c field=f",
	)
	want := dcrtest.Fault{
		Path:       "token",
		Kind:       "status",
		Status:     502,
		Count:      2,
		RetryAfter: "+5s",
		Delay:      time.Second,
		Code:       "c",
		Field:      "f",
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if got, err := dcrtest.ParseFault("kind=status"); err != nil || got.Path != "all" || got.Status != 503 {
		t.Errorf("the defaults: %+v %v", got, err)
	}
}

func TestBadFaults(t *testing.T) {
	for text, why := range map[string]string{
		"":                               "kind",
		"kind=nonsense":                  "nonsense",
		"kind=reset path=nowhere":        "nowhere",
		"kind=reset count=-1":            "negative",
		"kind=reset count=two":           "count=two",
		"kind=reset colour=red":          "not among code, count",
		"kind=status status=99":          "99",
		"kind=status status=x":           "status=x",
		"kind=error":                     "code",
		"kind=delay":                     "delay",
		"kind=delay delay=5":             "delay=5",
		"kind=hang delay=-1s":            "-1s",
		"kind=hang delay=1h":             "5m0s",
		"kind=429 retry_after=+tomorrow": "+tomorrow",
		"kind=value":                     "JSON",
		"kind=value value={":             "JSON",
		"kind=long":                      "size",
		"kind=long size=x":               "size=x",
		"kind=label":                     "code",
		"kind=drip":                      "delay",
		"kind=status path=tls":           "tls",
	} {
		if _, err := dcrtest.ParseFault(text); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %v, want an error about %q", text, err, why)
		}
	}
}
