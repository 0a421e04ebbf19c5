package gateway

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseWait(t *testing.T) {
	for prefer, want := range map[string]time.Duration{
		"":                             10 * time.Second,
		"wait=0":                       0,
		"wait=5":                       5 * time.Second,
		" Wait = 7 ; x=y, wait=9":      7 * time.Second,
		`wait="8"`:                     8 * time.Second,
		"respond-async, wait=60":       time.Minute,
		"wait=61":                      time.Minute,
		"wait=99999999999999999999999": time.Minute,
		"wait=-1, wait=3":              3 * time.Second,
		"wait=1.5":                     10 * time.Second,
		"wait":                         10 * time.Second,
		"wait=":                        10 * time.Second,
		"wait=5s, await=3":             10 * time.Second,
	} {
		if got := parseWait(http.Header{"Prefer": {prefer}}); got != want {
			t.Errorf("%q: %v, want %v", prefer, got, want)
		}
	}
	if got := parseWait(http.Header{"Prefer": {"wait=x", "wait=2", "wait=3"}}); got != 2*time.Second {
		t.Errorf("the first good one of several: %v", got)
	}
}

func TestAcceptable(t *testing.T) {
	for given, want := range map[string]string{
		"gzip": "gzip", "gzip, deflate, br, zstd": "gzip", "GZIP;q=0.5, identity;q=0": "GZIP;q=0.5, identity;q=0",
		"br": "identity", "": "identity", "*": "identity", "xgzip, x-gzip": "identity",
	} {
		if got := acceptable([]string{given}); got != want {
			t.Errorf("%q: %q, want %q", given, got, want)
		}
	}
}

func TestOperationOf(t *testing.T) {
	for path, want := range map[string]string{
		"R/configuration": "configuration", "R/sessions": "sessions", "R/sessions/C": "sessions", "R/sessions/sso/P": "sso",
		"R/profiles": "profiles", "R/profiles/M": "profiles", "R/profiles/code/C": "profiles_code",
		"R/profiles/sso/P":           "sso",
		"R/decisions/preauthorize/M": "preauthorize", "R/decisions/authorize/M": "authorize", "R/logout/M": "logout",
		"x": "other", "R/logout": "other", "R/decisions/other/M": "other", "configuration": "other", "a/b/c/d/e": "other",
	} {
		if got := operationOf(strings.Split(path, "/")); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	for _, op := range operations {
		found := false
		for _, known := range Operations {
			found = found || known == op.name
		}
		if !found {
			t.Errorf("%s is not among Operations", op.name)
		}
	}
}

// The call is built from the player's request, which is not changed.
func TestBuildHeader(t *testing.T) {
	from := http.Header{
		"Authorization": {"mine"}, "Ap-Device-Identifier": {"mine"}, "X-Device-Info": {"mine"}, "Cookie": {"c"},
		"Accept": {"a"}, "Accept-Encoding": {"br"}, "Ap-X": {"x"}, "Ap_x": {"x"}, "Ap-X_y": {"x"}, "Ap-X.y": {"x"},
		"Connection": {"close, ACCEPT-language"}, "Accept-Language": {"de"}, "User-Agent": {""},
	}
	before := from.Clone()
	got, err := buildHeader(from, "tvpassd/1")
	want := http.Header{"Accept": {"a"}, "Accept-Encoding": {"identity"}, "Ap-X": {"x"}, "User-Agent": {"tvpassd/1"}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	if diff := cmp.Diff(before, from); diff != "" {
		t.Errorf("the request was changed\n%s", diff)
	}
}
