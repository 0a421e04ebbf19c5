package dcrtest_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tvpassd/tvpassd/daemon/dcr/dcrtest"
)

func TestNewCA(t *testing.T) {
	now := time.Now()
	caPEM, cert, err := dcrtest.NewCA(now, "sp.example", "192.0.2.7")
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(caPEM) {
		t.Fatalf("no certificate in %s", caPEM)
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]bool{
		"localhost": true, "127.0.0.1": true, "::1": true, "sp.example": true, "192.0.2.7": true, "elsewhere.example": false,
	} {
		_, err := leaf.Verify(x509.VerifyOptions{DNSName: host, Roots: roots, CurrentTime: now})
		if got := err == nil; got != want {
			t.Errorf("good for %s: %v (%v), want %v", host, got, err, want)
		}
	}
	for at, want := range map[time.Time]bool{
		now.AddDate(0, 11, 0): true, now.AddDate(2, 0, 0): false, time.Unix(0, 0): false,
	} {
		_, err := leaf.Verify(x509.VerifyOptions{DNSName: "localhost", Roots: roots, CurrentTime: at})
		if got := err == nil; got != want {
			t.Errorf("good at %v: %v (%v), want %v", at, got, err, want)
		}
	}

	server := httptest.NewUnstartedServer(newLab(t))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	server.StartTLS()
	t.Cleanup(server.Close)
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	resp, err := client.Get(server.URL + "/o/client/scopes")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	client.CloseIdleConnections()

	otherPEM, _, err := dcrtest.NewCA(now)
	if err != nil {
		t.Fatal(err)
	}
	other := x509.NewCertPool()
	other.AppendCertsFromPEM(otherPEM)
	if _, err := leaf.Verify(x509.VerifyOptions{DNSName: "localhost", Roots: other, CurrentTime: now}); err == nil {
		t.Error("the certificate is good for another CA too")
	}
}

func TestStatement(t *testing.T) {
	a, b := dcrtest.Statement("a"), dcrtest.Statement("b")
	if a == b || a != dcrtest.Statement("a") {
		t.Error("a statement is not that of its name alone")
	}
	parts := strings.Split(a, ".")
	if len(parts) != 3 {
		t.Fatalf("%d parts: %s", len(parts), a)
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(raw, &claims); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"iss", "sub", "iat", "software_id"} {
		if claims[name] == nil {
			t.Errorf("no %s in %s", name, raw)
		}
	}
	if claims["software_name"] != "a" || !strings.Contains(claims["iss"].(string), "not Adobe") {
		t.Errorf("the claims do not tell whose they are: %s", raw)
	}
}
