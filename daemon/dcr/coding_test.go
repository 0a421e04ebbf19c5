package dcr

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode"
)

// squeezed is a body in gzip.
func squeezed(t *testing.T, body string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, body); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// An answer may be compressed although nobody asked for that. An unknown coding
// is named in the error.
func TestCoding(t *testing.T) {
	const good = `{"client_id":"i","client_secret":"s"}`
	zipped := squeezed(t, good)
	for _, test := range []struct {
		name, coding, body, want string // want is part of the error; "" for success
	}{
		{"gzip", "gzip", zipped, ""},
		{"gzip of another name", " X-GZip", zipped, ""},
		{"gzip with a BOM", "gzip", squeezed(t, "\ufeff"+good), ""},
		{"the label alone", "gzip", good, ""},
		{"another label alone", "br", good, ""},
		{"identity", "identity", good, ""},
		{"no label", "", zipped, "is compressed (gzip), and does not say so"},
		{"no label for zlib", "", "\x78\x9c...", "is compressed (zlib), and does not say so"},
		{"no label for zstd", "", "\x28\xb5\x2f\xfd...", "is compressed (zstd), and does not say so"},
		{"brotli", "br", "\x0b\x02\x80...", "is compressed (br), which was not asked for"},
		{"deflate", "deflate", "\x78\x9c...", "is compressed (deflate), which was not asked for"},
		{"two of them", "gzip, br", zipped, "is compressed (in an unknown way), which was not asked for"},
		{"half of gzip", "gzip", zipped[:len(zipped)/2], "is cut short"},
		{"a bomb", "gzip", squeezed(t, good+strings.Repeat(" ", 2<<20)), "longer than 1 MiB"},
	} {
		_, err := answers(
			t,
			201,
			test.body,
			"Content-Encoding",
			test.coding,
		).client(t).
			Register(t.Context(), labRegistration)
		if test.want == "" {
			if err != nil {
				t.Errorf("%s: %v", test.name, err)
			}
		} else if e := failure(t, err); e.Kind != ServerError || !strings.Contains(e.Detail, test.want) {
			t.Errorf("%s: %v", test.name, e)
		}
	}
	_, err := answers(
		t,
		400,
		squeezed(t, `{"error":"invalid_client"}`),
		"Content-Encoding",
		"gzip",
	).client(t).
		Token(t.Context(), labTokenRequest)
	if e := failure(t, err); e.ServerCode != "invalid_client" {
		t.Error(e)
	}
}

// No answer leads to a value that does not fit its use, or to an error that
// repeats what was sent.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []struct {
		status int
		coding string
		body   string
	}{
		{201, "", `{"client_id":"i","client_secret":"s","client_id_issued_at":1234567890,"redirect_uris":["a:b"]}`},
		{200, "", `{"id":"n","access_token":"a.b-c","created_at":1930132800000,"expires_in":"21600","token_type":null}`},
		{400, "", `{"error":"` + labSecret + `"}`},
		{429, "gzip", "\x1f\x8b\x08\x00"},
		{503, "br", "\ufeff<html>"},
	} {
		f.Add(seed.status, seed.coding, "30.5", seed.body)
	}
	c := &Client{endpoint: &url.URL{Host: "sp.example"}, now: labNow}
	f.Fuzz(func(t *testing.T, status int, coding, retryAfter, body string) {
		resp := &http.Response{
			StatusCode: status, Header: http.Header{"Content-Encoding": {coding}, "Retry-After": {retryAfter}},
			Body: io.NopCloser(strings.NewReader(body)),
		}
		ans, err := c.read(t.Context(), resp, []string{labSecret}, true)
		if err != nil {
			e := failure(t, err)
			if e.RetryAfter < 0 || e.Kind == Rejected && e.ServerCode == "" ||
				strings.ContainsFunc(e.Detail, unicode.IsControl) {
				t.Errorf("%+v", e)
			}
			return
		}
		if cred, err := ans.credentials(); err == nil &&
			(!fits(cred.ClientID, 4<<10) || !fits(cred.ClientSecret, 4<<10)) {
			t.Errorf("%+v", cred)
		}
		tok, err := ans.token()
		if err != nil {
			failure(t, err)
		} else if !fits(tok.AccessToken, 16<<10) || strings.Contains(tok.AccessToken, " ") || len(tok.ID) > 4<<10 ||
			tok.ExpiresIn <= 0 || tok.ExpiresIn > 366*24*time.Hour {
			t.Errorf("%+v", tok)
		}
	})
}

func fits(s string, most int) bool {
	return s != "" && len(s) <= most &&
		strings.Trim(
			s,
			" !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~",
		) == ""
}
