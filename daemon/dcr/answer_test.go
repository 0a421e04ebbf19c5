package dcr

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tvpassd/tvpassd/daemon/dcr/dcrtest"
)

// answers runs a server that gives the same answer to every request.
func answers(t *testing.T, status int, body string, header ...string) *server {
	return serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", labTime.Format(http.TimeFormat))
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	}))
}

func TestCredentials(t *testing.T) {
	full := Credentials{
		ClientID: "i", ClientSecret: "s", IssuedAt: time.Unix(1234567890, 0).UTC(), RedirectURIs: []string{"a:b"},
		GrantTypes: []string{"g", "h"}, Scopes: []string{"x"}, Date: labTime,
	}
	least := Credentials{ClientID: "i", ClientSecret: "s", Date: labTime}
	issued := least
	issued.IssuedAt = full.IssuedAt
	name := strings.Repeat(" ~", 2<<10)
	longest := Credentials{ClientID: name, ClientSecret: name, Date: labTime}
	for _, test := range []struct {
		name   string
		status int
		body   string
		want   *Credentials // nil: a server error
	}{
		{"everything", 201, `{"client_id":"i","client_secret":"s","client_id_issued_at":1234567890,` +
			`"redirect_uris":["a:b"],"grant_types":["g","h"],"scopes":["x"]}`, &full},
		{"the least", 200, `{"client_id":"i","client_secret":"s"}`, &least},
		{"other 2xx, other white space, other fields", 202,
			" {\n\"client_secret\": \"s\", \"more\": {\"a\": [1]}, \"client_id\": \"i\" }\n", &least},
		{"of another type where nobody needs it", 201,
			`{"client_id":"i","client_secret":"s","client_id_issued_at":"now",` +
				`"redirect_uris":"a:b","grant_types":[1],"scopes":{}}`, &least},
		{"issued in milliseconds", 201, `{"client_id":"i","client_secret":"s","client_id_issued_at":1234567890000}`,
			&issued},
		{"issued in digits", 201, `{"client_id":"i","client_secret":"s","client_id_issued_at":"1234567890"}`, &issued},
		{"issued in microseconds", 201, `{"client_id":"i","client_secret":"s","client_id_issued_at":1234567890000000}`,
			&least},
		{"a BOM", 201, "\ufeff" + `{"client_id":"i","client_secret":"s"}`, &least},
		{"the longest", 201, `{"client_id":"` + name + `","client_secret":"` + name + `"}`, &longest},
		{"a client_id too long", 201, `{"client_id":"` + name + `x","client_secret":"s"}`, nil},
		{"a client_secret too long", 201, `{"client_id":"i","client_secret":"` + name + `x"}`, nil},
		{"a client_id of two lines", 201, `{"client_id":"i\nj","client_secret":"s"}`, nil},
		{"a client_id with an escape sequence", 201, `{"client_id":"i\u001b[2J","client_secret":"s"}`, nil},
		{"a client_secret beyond ASCII", 201, `{"client_id":"i","client_secret":"ä"}`, nil},
		{"scopes without end", 201, `{"client_id":"i","client_secret":"s","scopes":["` + name + `"]}`, &least},
		{"no client_id", 201, `{"client_secret":"s"}`, nil},
		{"no client_secret", 201, `{"client_id":"i"}`, nil},
		{"an empty client_secret", 201, `{"client_id":"i","client_secret":""}`, nil},
		{"another case", 201, `{"Client_ID":"i","client_secret":"s"}`, nil},
		{"a number", 201, `{"client_id":1,"client_secret":"s"}`, nil},
		{"null", 201, `{"client_id":"i","client_secret":null}`, nil},
		{"an error in a success", 200, `{"error":"invalid_request"}`, nil},
	} {
		got, err := answers(t, test.status, test.body).client(t).Register(t.Context(), labRegistration)
		if test.want == nil {
			if e := failure(t, err); e.Kind != ServerError || e.Status != test.status || !e.Date.Equal(labTime) {
				t.Errorf("%s: %+v", test.name, e)
			}
		} else if diff := cmp.Diff(*test.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v%s", test.name, err, diff)
		}
	}
}

func TestTokens(t *testing.T) {
	token := func(life time.Duration) *Token { return &Token{AccessToken: "a.b-c", ExpiresIn: life, Date: labTime} }
	named := token(6 * time.Hour)
	named.ID, named.CreatedAt = "n", time.UnixMilli(1930132800000).UTC()
	created := token(time.Second)
	created.CreatedAt = time.Unix(1930132800, 0).UTC()
	longest := token(time.Second)
	longest.AccessToken, longest.ID = strings.Repeat("~", 16<<10), strings.Repeat(" ", 4<<10)
	for _, test := range []struct {
		name, body string
		want       *Token // nil: a server error
	}{
		{"everything", `{"id":"n","access_token":"a.b-c","created_at":1930132800000,"expires_in":21600,` +
			`"token_type":"bearer"}`, named},
		{"the least", `{"access_token":"a.b-c","expires_in":1}`, token(time.Second)},
		{"token_type in another case", `{"access_token":"a.b-c","expires_in":1,"token_type":"Bearer"}`, token(time.Second)},
		{"an id that is a number", `{"access_token":"a.b-c","expires_in":1,"id":7}`, token(time.Second)},
		{"a life in decimals", `{"access_token":"a.b-c","expires_in":1.5e0}`, token(1500 * time.Millisecond)},
		{"a life without end", `{"access_token":"a.b-c","expires_in":1e300}`, token(366 * 24 * time.Hour)},
		{"no access_token", `{"expires_in":1}`, nil},
		{"an empty access_token", `{"access_token":"","expires_in":1}`, nil},
		{"an access_token that is a list", `{"access_token":["a.b-c"],"expires_in":1}`, nil},
		{"an access_token of two lines", `{"access_token":"a\r\nb: c","expires_in":1}`, nil},
		{"an access_token beyond ASCII", `{"access_token":"ä","expires_in":1}`, nil},
		{"no expires_in", `{"access_token":"a.b-c"}`, nil},
		{"expires_in zero", `{"access_token":"a.b-c","expires_in":0}`, nil},
		{"expires_in below zero", `{"access_token":"a.b-c","expires_in":-5}`, nil},
		{"expires_in below a nanosecond", `{"access_token":"a.b-c","expires_in":1e-30}`, nil},
		{"expires_in beyond all numbers", `{"access_token":"a.b-c","expires_in":1e999}`, nil},
		{"expires_in in digits", `{"access_token":"a.b-c","expires_in":"3600"}`, token(time.Hour)},
		{"expires_in in words", `{"access_token":"a.b-c","expires_in":"an hour"}`, nil},
		{"expires_in null", `{"access_token":"a.b-c","expires_in":null}`, nil},
		{"expires_in a text of null", `{"access_token":"a.b-c","expires_in":"null"}`, nil},
		{"created in seconds", `{"access_token":"a.b-c","expires_in":1,"created_at":1930132800}`, created},
		{"created in digits", `{"access_token":"a.b-c","expires_in":1,"created_at":"1930132800000"}`, created},
		{"created before the epoch", `{"access_token":"a.b-c","expires_in":1,"created_at":-1}`, token(time.Second)},
		{"created in words", `{"access_token":"a.b-c","expires_in":1,"created_at":"now"}`, token(time.Second)},
		{"token_type null", `{"access_token":"a.b-c","expires_in":1,"token_type":null}`, token(time.Second)},
		{"token_type empty", `{"access_token":"a.b-c","expires_in":1,"token_type":""}`, token(time.Second)},
		{"a BOM", "\ufeff" + `{"access_token":"a.b-c","expires_in":1}`, token(time.Second)},
		{"the longest", `{"access_token":"` + longest.AccessToken + `","id":"` + longest.ID + `","expires_in":1}`, longest},
		{"an access_token too long", `{"access_token":"x` + longest.AccessToken + `","expires_in":1}`, nil},
		{"an id too long", `{"access_token":"a.b-c","id":"x` + longest.ID + `","expires_in":1}`, nil},
		{"an id of two lines", `{"access_token":"a.b-c","id":"a\nb","expires_in":1}`, nil},
		{"an access_token with a space", `{"access_token":"a b","expires_in":1}`, nil},
		{"another token_type", `{"access_token":"a.b-c","expires_in":1,"token_type":"mac"}`, nil},
		{"a token_type that is a number", `{"access_token":"a.b-c","expires_in":1,"token_type":1}`, nil},
	} {
		got, err := answers(t, 200, test.body).client(t).Token(t.Context(), labTokenRequest)
		if test.want == nil {
			if e := failure(t, err); e.Kind != ServerError || e.Status != 200 || !e.Date.Equal(labTime) {
				t.Errorf("%s: %+v", test.name, e)
			}
		} else if diff := cmp.Diff(*test.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v%s", test.name, err, diff)
		}
	}
}

// Both calls fail in the same way with an answer that is not a success.
func TestRefusals(t *testing.T) {
	for _, test := range []struct {
		name   string
		status int
		body   string
		want   Error // but for Detail and Date
	}{
		{"a code", 400, `{"error":"invalid_client"}`, Error{Kind: Rejected, ServerCode: "invalid_client"}},
		{"a code with words of the redirect_uri", 400, `{"error":"invalid_redirect_uri"}`,
			Error{Kind: Rejected, ServerCode: "invalid_redirect_uri"}},
		{"a code from another server", 401, `{"error":"Other.Code-7","error_description":"` + labSecret + `"}`,
			Error{Kind: Rejected, ServerCode: "Other.Code-7"}},
		{"a code with a status that is not the client's fault", 500, `{"error":"invalid_client"}`, Error{Kind: ServerError}},
		{"a code that echoes the secret", 400, `{"error":"` + labSecret + `"}`, Error{Kind: ServerError}},
		{"a code that echoes the secret among words", 400, `{"error":"bad.` + labSecret + `.secret"}`,
			Error{Kind: ServerError}},
		{"a code that echoes half of the secret", 400, `{"error":"bad.` + labSecret[:9] + `"}`, Error{Kind: ServerError}},
		{"a code that echoes the client_id", 400, `{"error":"` + labID + `"}`, Error{Kind: ServerError}},
		{"a code with more than a code in it", 400, `{"error":"no such client ` + labID + `"}`, Error{Kind: ServerError}},
		{"a code that is too long", 400, `{"error":"` + strings.Repeat("x", 65) + `"}`, Error{Kind: ServerError}},
		{"a code for a terminal", 400, `{"error":"\u001b[2J"}`, Error{Kind: ServerError}},
		{"a code that is an object", 400, `{"error":{"code":"invalid_client"}}`, Error{Kind: ServerError}},
		{"no code", 400, `{}`, Error{Kind: ServerError}},
		{"no JSON", 404, "<html>" + labSecret + "</html>", Error{Kind: ServerError}},
		{"nothing", 403, "", Error{Kind: ServerError}},
		{"throttled", 429, "<html>", Error{Kind: Throttled}},
		{"throttled with a code", 429, `{"error":"invalid_client"}`, Error{Kind: Throttled}},
		{"503", 503, "busy", Error{Kind: ServerError}},
		{"a redirect", 302, `{"access_token":"a","expires_in":1,"client_id":"i","client_secret":"s"}`,
			Error{Kind: ServerError}},
		{"a redirect that wants the body again", 307, "", Error{Kind: ServerError}},
		{"not modified", 304, "", Error{Kind: ServerError}},
		{"a captive portal", 200, "<!DOCTYPE html><title>Welcome</title>", Error{Kind: ServerError}},
		{"no content", 204, "", Error{Kind: ServerError}},
		{"a list", 200, `[]`, Error{Kind: ServerError}},
		{"null", 200, `null`, Error{Kind: ServerError}},
		{"half of a JSON object", 200, `{"access_token":"a","expires_in":1`, Error{Kind: ServerError}},
		{"two JSON objects", 200, `{}{}`, Error{Kind: ServerError}},
	} {
		s := answers(t, test.status, test.body, "Location", "/elsewhere")
		c := s.client(t)
		_, registerErr := c.Register(t.Context(), RegisterRequest{
			SoftwareStatement: labSecret + "." + labID, RedirectURI: "com.example:/oauth/redirect_uri",
		})
		_, tokenErr := c.Token(t.Context(), labTokenRequest)
		for _, err := range []error{registerErr, tokenErr} {
			e := failure(t, err)
			if e.Kind != test.want.Kind || e.ServerCode != test.want.ServerCode || e.Status != test.status ||
				!e.Date.Equal(labTime) {
				t.Errorf("%s: %+v, %+v", test.name, e.Kind, e)
			}
		}
		if got := len(s.asked()); got != 2 {
			t.Errorf("%s: %d requests came, want 2", test.name, got)
		}
	}
}

// Each fault of the simulator has its kind, and the request is sent once.
func TestFaults(t *testing.T) {
	for _, test := range []struct {
		fault dcrtest.Fault
		want  Kind
	}{
		{dcrtest.Fault{Kind: dcrtest.FaultStatus}, ServerError},
		{dcrtest.Fault{Kind: dcrtest.FaultStatus, Status: 500}, ServerError},
		{dcrtest.Fault{Kind: dcrtest.FaultHTML}, ServerError},
		{dcrtest.Fault{Kind: dcrtest.FaultRedirect}, ServerError},
		{dcrtest.Fault{Kind: dcrtest.FaultTruncated}, ServerError},
		{dcrtest.Fault{Kind: dcrtest.FaultOversized}, ServerError},
		{dcrtest.Fault{Kind: dcrtest.FaultGarbage}, ServerError},
		{dcrtest.Fault{Kind: dcrtest.FaultMissing}, ServerError},
		{dcrtest.Fault{Kind: dcrtest.FaultTypes}, ServerError},
		{dcrtest.Fault{Kind: dcrtest.FaultMissing, Field: "client_secret"}, ServerError},
		{dcrtest.Fault{Kind: dcrtest.FaultError, Code: "unapproved_software_statement"}, Rejected},
		{dcrtest.Fault{Kind: dcrtest.Fault429}, Throttled},
		{dcrtest.Fault{Kind: dcrtest.FaultReset}, Offline},
		{dcrtest.Fault{Kind: dcrtest.FaultLost}, Offline},
	} {
		up := newSim()
		if err := up.SetFault(test.fault); err != nil {
			t.Fatal(err)
		}
		_, err := serve(t, up).client(t).Register(t.Context(), labRegistration)
		if e := failure(t, err); e.Kind != test.want || e.ServerCode != test.fault.Code {
			t.Errorf("%s: %v", test.fault.Kind, e)
		}
		if got := len(up.Requests()); got != 1 {
			t.Errorf("%s: %d requests came, want 1", test.fault.Kind, got)
		}
	}
}

func TestLongestAnswer(t *testing.T) {
	body := func(length int) string {
		const head, tail = `{"client_id":"i","client_secret":"s","more":"`, `"}`
		return head + strings.Repeat("x", length-len(head)-len(tail)) + tail
	}
	if _, err := answers(t, 201, body(1<<20)).client(t).Register(t.Context(), labRegistration); err != nil {
		t.Errorf("1 MiB: %v", err)
	}
	withoutEnd := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { endless(w) }))
	for _, test := range []struct {
		server *server
		want   string
	}{
		{answers(t, 201, body(1<<20+1)), "longer than 1 MiB"},
		{withoutEnd, "longer than 1 MiB"},
		{answers(t, 201, body(100), "X-More", strings.Repeat("x", 65<<10)), "cut short, or is not HTTP"},
	} {
		_, err := test.server.client(t).Register(t.Context(), labRegistration)
		if e := failure(t, err); e.Kind != ServerError || !strings.Contains(e.Detail, test.want) {
			t.Errorf("got %v, want %s", e, test.want)
		}
	}
}

// endless writes until the client goes.
func endless(w io.Writer) {
	for {
		if _, err := io.WriteString(w, "{ "); err != nil {
			return
		}
	}
}

func TestRetryAfter(t *testing.T) {
	const date = "Date"
	for _, test := range []struct {
		name   string
		header []string
		want   time.Duration
	}{
		{"none", nil, 0},
		{"seconds", []string{"Retry-After", "120"}, 2 * time.Minute},
		{"zero", []string{"Retry-After", "0"}, 0},
		{"below zero", []string{"Retry-After", "-5"}, 0},
		{"a fraction", []string{"Retry-After", "30.5"}, 31 * time.Second},
		{"a small fraction", []string{"Retry-After", ".001"}, time.Second},
		{"a fraction of zero", []string{"Retry-After", "30.00"}, 30 * time.Second},
		{"two fractions", []string{"Retry-After", "3.0.5"}, 0},
		{"an exponent", []string{"Retry-After", "1e3"}, 0},
		{"a fraction beyond all numbers", []string{"Retry-After", "99999999999999999999.5"}, (1 << 31) * time.Second},
		{"beyond all numbers", []string{"Retry-After", "99999999999999999999"}, (1<<31 - 1) * time.Second},
		{"words", []string{"Retry-After", "soon"}, 0},
		{"a date by the server's clock", []string{"Retry-After", "Thu, 01 Jan 1970 01:00:00 GMT", date,
			"Thu, 01 Jan 1970 00:59:00 GMT"}, time.Minute},
		{"a date that has passed", []string{"Retry-After", "Thu, 01 Jan 1970 00:00:00 GMT"}, 0},
		{"a date of a server that tells no time",
			[]string{"Retry-After", labTime.Add(time.Hour).Format(http.TimeFormat), date, ""}, time.Hour},
	} {
		for _, status := range []int{429, 503} {
			_, err := answers(t, status, "", test.header...).client(t).Token(t.Context(), labTokenRequest)
			if e := failure(t, err); e.RetryAfter != test.want {
				t.Errorf("%s: got %v, want %v", test.name, e.RetryAfter, test.want)
			}
		}
	}
}

// Answers that an http.Server would not give.
func TestOddAnswers(t *testing.T) {
	const good = "HTTP/1.1 201 Created\r\nContent-Length: 37\r\n\r\n" + `{"client_id":"i","client_secret":"s"}`
	for _, test := range []struct {
		name, answer string
		want         any // the Kind, or nil for success
	}{
		{"100 Continue", "HTTP/1.1 100 Continue\r\n\r\n" + good, nil},
		{"early hints", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" + good, nil},
		{"HTTP/1.0", "HTTP/1.0 201 Created\r\n\r\n" + `{"client_id":"i","client_secret":"s"}`, nil},
		{"early hints without end", strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 9000), ServerError},
		{"100 Continue and no more", "HTTP/1.1 100 Continue\r\n\r\n", ServerError},
		{"a switch of protocols", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
			ServerError},
		{"another protocol", "SSH-2.0-OpenSSH\r\n", ServerError},
		{"half of a status line", "HTTP/1.1 201 Cr", ServerError},
		{"half of a header", "HTTP/1.1 201 Created\r\nContent-Le", ServerError},
		{"half of a body", "HTTP/1.1 201 Created\r\nContent-Length: 37\r\n\r\n{\"client", ServerError},
		{"half of a chunk", "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n25\r\n{\"client", ServerError},
		{"half of HTTP/1.0", "HTTP/1.0 201 Created\r\n\r\n{\"client", ServerError},
		{"nothing", "", Offline},
	} {
		config, caFile := labTLS(t)
		address := raw(t, config, func(conn net.Conn) {
			readRequest(t, conn)
			_, _ = io.WriteString(conn, test.answer) // the client may have left
		})
		c := newClient(t, "https://"+address, func(c *Config) { c.CAFile = caFile })
		_, err := c.Register(t.Context(), labRegistration)
		if test.want == nil {
			if err != nil {
				t.Errorf("%s: %v", test.name, err)
			}
		} else if e := failure(t, err); e.Kind != test.want {
			t.Errorf("%s: %v, want %v", test.name, e, test.want)
		}
	}
}

// readRequest reads a whole request, so that closing the connection does not
// reset it.
func readRequest(t *testing.T, conn net.Conn) {
	var got []byte
	buf := make([]byte, 4096)
	for !strings.HasSuffix(string(got), "}") && !strings.HasSuffix(string(got), "client_credentials") {
		n, err := conn.Read(buf)
		if err != nil {
			t.Errorf("read the request: %v after %q", err, got)
			return
		}
		got = append(got, buf[:n]...)
	}
}

// A server may answer before it has read a long request.
func TestEarlyAnswer(t *testing.T) {
	config, caFile := labTLS(t)
	address := raw(t, config, func(conn net.Conn) {
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			t.Error(err)
		}
		if _, err := io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\nContent-Length: 27\r\nConnection: close\r\n\r\n"+
			`{"error":"invalid_request"}`); err != nil {
			t.Error(err)
		}
		_, _ = io.Copy(io.Discard, conn) // until the client goes
	})
	c := newClient(t, "https://"+address, func(c *Config) { c.CAFile = caFile })
	_, err := c.Register(t.Context(), RegisterRequest{SoftwareStatement: strings.Repeat(labStatement, 100)})
	if e := failure(t, err); e.ServerCode != "invalid_request" {
		t.Error(e)
	}
}
