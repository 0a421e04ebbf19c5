package dcrtest_test

import (
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tvpassd/tvpassd/daemon/dcr/dcrtest"
)

func TestDeviceInfo(t *testing.T) {
	raw := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	change := func(key string, value any) string { return device(t, map[string]any{key: value}) }
	const required = `{"model":"m","version":"1","osName":"webOS","osVersion":"2","connectionType":"WiFi"}`
	for name, tc := range map[string]struct{ header, why string }{ // no why: it is good
		"everything":             {device(t, nil), ""},
		"required keys only":     {raw(required), ""},
		"a key nobody knows":     {change("shoeSize", 46), ""},
		"empty optional text":    {change("vendor", ""), ""},
		"an insecure network":    {change("connectionSecure", false), ""},
		"no padding":             {strings.TrimRight(raw(`{"model":"m1"}`), "="), "padded"},
		"URL alphabet":           {base64.URLEncoding.EncodeToString([]byte(`{"model":"???>>>~~~"}`)), "base64"},
		"URL-encoded":            {strings.ReplaceAll(raw(`{"model":"m1"}`), "=", "%3D"), "base64"},
		"plain JSON":             {`{"model":"m"}`, "base64"},
		"no object":              {raw(`"model"`), "not a JSON object"},
		"a repeated key":         {raw(`{"model":"m","model":"n"}`), "repeats"},
		"no UTF-8":               {raw("{\"model\":\"\xff\"}"), "UTF-8"},
		"no model":               {change("model", nil), "model is missing"},
		"no version":             {change("version", nil), "version is missing"},
		"no osName":              {change("osName", nil), "osName is missing"},
		"no osVersion":           {change("osVersion", nil), "osVersion is missing"},
		"no connectionType":      {change("connectionType", nil), "connectionType is missing"},
		"empty model":            {change("model", " "), "model is missing, empty"},
		"osVersion as a number":  {change("osVersion", 6.1), "osVersion"},
		"unknown hardware type":  {change("primaryHardwareType", "STB"), "primaryHardwareType"},
		"unknown osName":         {change("osName", "linux"), "osName"},
		"unknown osFamily":       {change("osFamily", "GNU"), "osFamily"},
		"unknown osVendor":       {change("osVendor", "Canonical"), "osVendor"},
		"width as text":          {change("displayWidth", "1920"), "displayWidth"},
		"half a pixel":           {change("displayHeight", 1080.5), "displayHeight"},
		"no width":               {change("displayWidth", 0), "displayWidth"},
		"negative density":       {change("displayPpi", -1), "displayPpi"},
		"size as text":           {change("diagonalScreenSize", "55"), "diagonalScreenSize"},
		"port out of range":      {change("connectionPort", 65536), "connectionPort"},
		"secure as text":         {change("connectionSecure", "true"), "connectionSecure"},
		"manufacturer an object": {change("manufacturer", map[string]any{}), "manufacturer"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			id, secret := l.register(t)
			access := l.token(t, id, secret)
			reg, api := registration(t), apiRequest(t, access)
			reg.Header.Set("X-Device-Info", tc.header)
			api.Header.Set("X-Device-Info", tc.header)
			if tc.why != "" {
				wantRefusal(t, l, reg, "invalid_request", tc.why)
				wantEnhanced(t, l, api, 400, "invalid_header_device_info", "none", tc.why)
				return
			}
			if w := l.send(reg); w.Code != http.StatusCreated {
				t.Errorf("register: %d; log: %s", w.Code, l.log)
			}
			if w := l.send(api); w.Code != http.StatusOK {
				t.Errorf("/api/v2/: %d; log: %s", w.Code, l.log)
			}
		})
	}
}

func TestAPIRefusals(t *testing.T) {
	fingerprint := func(s string) string { return "fingerprint " + base64.StdEncoding.EncodeToString([]byte(s)) }
	hash := strings.Repeat("0f", 32)
	type change func(l *lab, r *http.Request)
	without := func(name string) change { return func(_ *lab, r *http.Request) { r.Header.Del(name) } }
	with := func(name, value string) change { return func(_ *lab, r *http.Request) { r.Header.Set(name, value) } }
	server := func(does func(l *lab)) change { return func(l *lab, _ *http.Request) { does(l) } }
	const header = "AP-Device-Identifier"
	const badToken, badIdentifier = "invalid_access_token_client_application", "invalid_header_device_identifier"
	for name, tc := range map[string]struct {
		change     change
		status     int
		code, why  string
		wantAction string
	}{
		"no token":      {without("Authorization"), 401, badToken, "no Authorization", "application-registration"},
		"basic":         {with("Authorization", "Basic eA=="), 401, badToken, "Bearer", "application-registration"},
		"unknown token": {with("Authorization", "Bearer x"), 401, badToken, "unknown", "application-registration"},
		"expired": {
			server(func(l *lab) { l.wait(6 * time.Hour) }), 401, badToken, "expired", "application-registration",
		},
		"server ahead": {
			server(func(l *lab) { l.SetClock(6 * time.Hour) }), 401, badToken, "expired", "application-registration",
		},
		"revoked":       {server(func(l *lab) { l.RevokeTokens() }), 401, badToken, "unknown", "application-registration"},
		"no identifier": {without(header), 400, badIdentifier, "0 AP-Device", "none"},
		"no prefix":     {with(header, fingerprint(hash)[12:]), 400, badIdentifier, "fingerprint", "none"},
		"plain hash":    {with(header, "fingerprint -"+hash[1:]), 400, badIdentifier, "base64", "none"},
		"short hash":    {with(header, fingerprint(hash[2:])), 400, badIdentifier, "64", "none"},
		"no hash":       {with(header, fingerprint(strings.Repeat("x", 64))), 400, badIdentifier, "64", "none"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			id, secret := l.register(t)
			r := apiRequest(t, l.token(t, id, secret))
			tc.change(l, r)
			wantEnhanced(t, l, r, tc.status, tc.code, tc.wantAction, tc.why)
		})
	}
	if value, _ := base64.StdEncoding.DecodeString(identifier[12:]); len(value) != hex.EncodedLen(32) {
		t.Error("the good identifier of these tests is not 64 digits")
	}
}

// A token is valid to its last millisecond, and so is a revoked client's.
func TestTokenLife(t *testing.T) {
	l := newLab(t, func(c *dcrtest.Config) { c.TokenLife = time.Minute })
	id, secret := l.register(t)
	access := l.token(t, id, secret)
	l.Revoke(id)
	l.wait(time.Minute - time.Millisecond)
	if w := l.send(apiRequest(t, access)); w.Code != 200 {
		t.Errorf("%d in the last millisecond", w.Code)
	}
	l.wait(time.Millisecond)
	if w := l.send(apiRequest(t, access)); w.Code != 401 {
		t.Errorf("%d at expiry", w.Code)
	}
}

// wantEnhanced expects an enhanced error code, and the reason in the log.
func wantEnhanced(t *testing.T, l *lab, r *http.Request, status int, code, action, why string) {
	t.Helper()
	l.log.Reset()
	w := l.send(r)
	got := object(t, w)
	for _, key := range []string{"message", "helpUrl", "trace"} {
		if text, _ := got[key].(string); text == "" {
			t.Errorf("%s is %v", key, got[key])
		}
		delete(got, key)
	}
	want := map[string]any{"action": action, "status": float64(status), "code": code}
	if diff := cmp.Diff(want, got); w.Code != status || diff != "" {
		t.Errorf("%d %s; log: %s", w.Code, diff, l.log)
	}
	if !strings.Contains(l.log.String(), why) {
		t.Errorf("the log does not say %q: %s", why, l.log)
	}
}
