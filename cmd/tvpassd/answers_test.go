package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// Answers that are a little off are accepted: otherwise the device would
// register again and again.
func TestLenientAnswers(t *testing.T) {
	for name, fault := range map[string]string{
		"gzip":              "kind=gzip",
		"a BOM":             "kind=bom",
		"a label alone":     "kind=label code=br",
		"token_type null":   "path=token kind=value field=token_type value=null",
		"token_type empty":  `path=token kind=value field=token_type value=""`,
		"expires_in quoted": `path=token kind=value field=expires_in value="21600"`,
		"created in s":      "path=token kind=value field=created_at value=1795000000",
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, "-fault", fault)
			l.up()
			l.token()
			l.expectCalls(1, 1)
		})
	}
}

// Answers that can't be used are a server error that names what is wrong, and
// none of them is kept.
func TestUnusableAnswers(t *testing.T) {
	for name, tc := range map[string]struct{ fault, told string }{
		"not labelled": {"path=register kind=unlabelled", "is compressed (gzip), and does not say so"},
		"a token too long": {"path=token kind=long field=access_token size=20000",
			"an access_token that is longer than 16 KiB"},
		"an id too long": {"path=token kind=long field=id size=5000", "an id that is longer than 4 KiB"},
		"a secret too long": {"path=register kind=long field=client_secret size=5000",
			"a client_id or client_secret that is longer than 4 KiB"},
		"an escape in an id": {`path=register kind=value field=client_id value="\u001b[2J"`,
			"characters that RFC 6749 forbids"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, "-fault", tc.fault)
			l.up()
			l.daemon.until(
				"the error in status",
				func() bool { return strings.Contains(l.run("status", "--json").stdout, tc.told) },
			)
			if r := l.curl("/v1/apps/ref30/token?wait=0s"); r.code != 503 ||
				field(t, r.stdout, "code") != "server_error" ||
				strings.Contains(r.stdout, "xxxx") {
				t.Errorf("%d %s", r.code, r.stdout)
			}
		})
	}
}

// A network that cuts the TLS handshake is reported as that; a middlebox that
// resets only long handshakes lets the daemon through.
func TestHandshakes(t *testing.T) {
	l := newLab(t, "-fault", "path=tls kind=reset")
	l.up()
	l.daemon.until("the error in status", func() bool {
		return strings.Contains(
			l.run("status", "--json").stdout,
			"the TLS handshake breaks off (connection reset by peer)",
		)
	})
	l.order("DELETE", "/fault", "")
	l.order("POST", "/fault", `{"path":"tls","kind":"reset","size":1000}`)
	l.token()
}

// A registration that takes its time keeps its connection for the token call.
func TestASlowRegistration(t *testing.T) {
	l := newLab(t, "-fault", "path=register kind=delay delay=4s count=1")
	l.up()
	l.token()
	_, answer := l.sim("GET", "/requests", "")
	var requests []struct {
		RemoteAddr string `json:"remote_addr"`
	}
	l.must(json.Unmarshal([]byte(answer), &requests))
	if len(requests) != 2 || requests[0].RemoteAddr != requests[1].RemoteAddr {
		t.Errorf("the requests came from %v, want one connection", requests)
	}
}

// Each line of a header costs the daemon much more than its bytes.
func TestAHeaderOfManyLines(t *testing.T) {
	l := newLab(t)
	l.up()
	for lines, want := range map[int]int{100: 200, 200: 431} {
		var flags []string
		for i := range lines {
			flags = append(flags, "-H", fmt.Sprintf("X%d: y", i))
		}
		r := l.curl("/v1/status", flags...)
		r.expect(t, want)
		if want == 431 {
			r.expect(t, want, `"code":"too_large"`, "more than 128 lines")
		}
	}
	l.daemon.stop()
}
