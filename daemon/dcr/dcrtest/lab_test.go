package dcrtest_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tvpassd/tvpassd/daemon/dcr/dcrtest"
)

var labStart = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// lab is a simulator with its log, and a clock that moves only in wait.
type lab struct {
	*dcrtest.Server
	log *bytes.Buffer

	mu  sync.Mutex
	now time.Time
}

// newLab leaves the throttle off unless change turns it on.
func newLab(t *testing.T, change ...func(*dcrtest.Config)) *lab {
	t.Helper()
	l := &lab{now: labStart, log: &bytes.Buffer{}}
	cfg := dcrtest.Config{
		NoThrottle: true,
		Now: func() time.Time {
			l.mu.Lock()
			defer l.mu.Unlock()
			return l.now
		},
		Log: slog.New(slog.NewTextHandler(l.log, nil)),
	}
	for _, c := range change {
		c(&cfg)
	}
	l.Server = dcrtest.New(cfg)
	return l
}

func throttled(c *dcrtest.Config) { c.NoThrottle = false }

func (l *lab) wait(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now = l.now.Add(d)
}

// send passes a request to the server without a network.
func (l *lab) send(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	l.ServeHTTP(w, r)
	return w
}

// goodDevice is a device info with everything in it.
func goodDevice() map[string]any {
	return map[string]any{
		"primaryHardwareType": "SetTopBox", "model": "Box 4K", "version": "rev2", "manufacturer": "Maker",
		"vendor": "Seller",
		"osName": "Linux", "osFamily": "Linux", "osVendor": "Google", "osVersion": "6.1.2",
		"displayWidth": 3840, "displayHeight": 2160, "displayPpi": 81.6, "diagonalScreenSize": 54.6,
		"connectionIp": "203.0.113.9", "connectionPort": 443, "connectionType": "LAN", "connectionSecure": true,
		"applicationId": "REF30",
	}
}

// device returns the header of a good device info with some keys changed; nil
// removes one.
func device(t *testing.T, changes map[string]any) string {
	t.Helper()
	info := goodDevice()
	maps.Copy(info, changes)
	maps.DeleteFunc(info, func(_ string, v any) bool { return v == nil })
	raw, err := json.Marshal(info)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(raw)
}

const identifier = "fingerprint " +
	"ZTNiMGM0NDI5OGZjMWMxNDlhZmJmNGM4OTk2ZmI5MjQyN2FlNDFlNDY0OWI5MzRjYTQ5NTk5MWI3ODUyYjg1NQ=="

// registration returns a good registration request.
func registration(t *testing.T) *http.Request {
	t.Helper()
	return post(
		t,
		"/o/client/register",
		"application/json;charset=utf-8",
		`{"software_statement":"`+dcrtest.Statement("ref30")+`"}`,
	)
}

// tokenRequest returns a good token request.
func tokenRequest(t *testing.T, id, secret string) *http.Request {
	t.Helper()
	form := url.Values{"client_id": {id}, "client_secret": {secret}, "grant_type": {"client_credentials"}}
	return post(t, "/o/client/token", "application/x-www-form-urlencoded", form.Encode())
}

func post(t *testing.T, path, contentType, body string) *http.Request {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("X-Device-Info", device(t, nil))
	r.Header.Set("User-Agent", "tvpassd/test")
	return r
}

// apiRequest returns a good request to a protected API.
func apiRequest(t *testing.T, access string) *http.Request {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/api/v2/REF30/configuration", nil)
	r.Header.Set("Authorization", "Bearer "+access)
	r.Header.Set("AP-Device-Identifier", identifier)
	r.Header.Set("X-Device-Info", device(t, nil))
	return r
}

// object reads an answer's JSON.
func object(t *testing.T, w *httptest.ResponseRecorder) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		t.Fatalf("the answer %d %q: %v", w.Code, w.Body, err)
	}
	return v
}

// register gets credentials.
func (l *lab) register(t *testing.T) (id, secret string) {
	t.Helper()
	w := l.send(registration(t))
	if w.Code != http.StatusCreated {
		t.Fatalf("register: %d %s", w.Code, w.Body)
	}
	v := object(t, w)
	return v["client_id"].(string), v["client_secret"].(string)
}

// token gets an access token.
func (l *lab) token(t *testing.T, id, secret string) string {
	t.Helper()
	w := l.send(tokenRequest(t, id, secret))
	if w.Code != http.StatusCreated {
		t.Fatalf("token: %d %s", w.Code, w.Body)
	}
	return object(t, w)["access_token"].(string)
}
