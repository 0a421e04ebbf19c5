package dcr

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// childEnv makes the test binary register at this endpoint, in an environment
// of its own, instead of running tests.
const childEnv = "TVPASSD_DCR_CHILD"

func TestMain(m *testing.M) {
	endpoint := os.Getenv(childEnv)
	if endpoint == "" {
		os.Exit(m.Run())
	}
	if err := callFrom(endpoint, os.Args[1]); err != nil {
		fmt.Fprint(os.Stderr, err)
		os.Exit(1)
	}
}

func callFrom(endpoint, caFile string) error {
	c, err := New(Config{Endpoint: endpoint, CAFile: caFile, Timeout: labTimeout, Now: labNow, DeviceInfo: labDevice})
	if err != nil {
		return err
	}
	_, err = c.Register(context.Background(), labRegistration)
	return err
}

// call registers from another process, whose environment has no proxy variables
// but those in env. Its error is what that process printed.
func call(t *testing.T, endpoint, caFile string, env ...string) error {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, caFile)
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); !strings.HasSuffix(strings.ToUpper(name), "_PROXY") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	// The race detector makes a process sleep before it ends.
	cmd.Env = append(append(cmd.Env, childEnv+"="+endpoint, "GORACE=atexit_sleep_ms=0"), env...)
	said, err := cmd.CombinedOutput()
	if _, failed := errors.AsType[*exec.ExitError](err); failed {
		return errors.New(string(said))
	}
	if err != nil {
		t.Fatal(err)
	}
	return nil
}

func TestSystemRoots(t *testing.T) {
	s := serve(t, newSim())
	if err := call(t, s.URL, "", "SSL_CERT_FILE="+s.caFile); err != nil {
		t.Error(err)
	}
	if err := call(t, s.URL, "", "SSL_CERT_FILE=/nonexistent"); err == nil ||
		!strings.Contains(err.Error(), "an authority that this device does not know") {
		t.Errorf("without: %v", err)
	}
}

// What this program embeds is what the module has, with the same limits of trust.
func TestTheEmbeddedRootsAreTheModules(t *testing.T) {
	got, err := embeddedRoots()
	if err != nil {
		t.Fatal(err)
	}
	const mend = "run `go generate ./daemon/dcr`"
	i := 0
	for want := range bundle.Roots() {
		signed, err := x509.ParseCertificate(want.Certificate)
		if err != nil {
			t.Fatal(err)
		}
		if i == len(got) || !bytes.Equal(keyOf(got[i].der), signed.RawTBSCertificate) {
			t.Fatalf("root %d is another one: %s", i, mend)
		}
		root := got[i]
		if i++; want.Constraint == nil || root.distrustAfter.IsZero() {
			if want.Constraint != nil || !root.distrustAfter.IsZero() {
				t.Errorf("%s: only one of both is trusted without limit: %s", signed.Subject, mend)
			}
			continue
		}
		for _, issued := range []time.Time{root.distrustAfter, root.distrustAfter.Add(time.Second)} {
			chain := []*x509.Certificate{signed, {NotBefore: issued}}
			err, like := root.constraint(chain), want.Constraint(chain)
			if (err == nil) != (like == nil) || (err == nil) == issued.After(root.distrustAfter) {
				t.Errorf("%s: issued on %v: %v, but the module says %v: %s", signed.Subject, issued, err, like, mend)
			}
		}
	}
	if i != len(got) || i < 100 {
		t.Errorf("%d roots are embedded, the module has %d: %s", len(got), i, mend)
	}
}

// Every embedded root is trusted, beside the one in ca_file, on a system that has
// none of them.
func TestEmbeddedRoots(t *testing.T) {
	t.Setenv("SSL_CERT_FILE", "/nonexistent")
	t.Setenv("SSL_CERT_DIR", "/nonexistent")
	_, caFile := labTLS(t)
	pool, err := rootSources{caFile: caFile}.pool()
	if err != nil {
		t.Fatal(err)
	}
	roots, err := embeddedRoots()
	if err != nil {
		t.Fatal(err)
	}
	for _, root := range roots {
		cert, err := x509.ParseCertificate(root.der)
		if err != nil {
			t.Fatal(err)
		}
		_, err = cert.Verify(
			x509.VerifyOptions{
				Roots:       pool,
				CurrentTime: cert.NotBefore,
				KeyUsages:   []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
			},
		)
		if err != nil && root.distrustAfter.IsZero() {
			t.Errorf("%s: %v", cert.Subject, err)
		}
	}
}

// A root that the system has, too, is kept once, as the shorter embedded copy. One
// that the embedded bundle limits is trusted as the system trusts it.
func TestTheSystemsRootsAreNotDoubled(t *testing.T) {
	t.Setenv("SSL_CERT_DIR", "/nonexistent")
	t.Setenv("SSL_CERT_FILE", "/nonexistent")
	want, err := rootSources{}.pool()
	if err != nil {
		t.Fatal(err)
	}
	var all bytes.Buffer
	for root := range bundle.Roots() {
		if err := pem.Encode(&all, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}); err != nil {
			t.Fatal(err)
		}
		if root.Constraint != nil {
			cert, err := x509.ParseCertificate(root.Certificate)
			if err != nil {
				t.Fatal(err)
			}
			want.AddCert(cert)
		}
	}
	file := filepath.Join(t.TempDir(), "all.pem")
	if err := os.WriteFile(file, all.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSL_CERT_FILE", file)
	if pool, err := (rootSources{}).pool(); err != nil || !pool.Equal(want) {
		t.Errorf("other roots are trusted: %v", err)
	}
}

// A root that the system has in a form that is not taken is trusted all the same,
// for its embedded copy.
func TestRootsThatTheSystemSpoils(t *testing.T) {
	t.Setenv("SSL_CERT_DIR", "/nonexistent")
	t.Setenv("SSL_CERT_FILE", "/nonexistent")
	want, err := rootSources{}.pool()
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*pem.Block){
		"of OpenSSL's own kind": func(b *pem.Block) { b.Type = "TRUSTED CERTIFICATE" },
		"with a header":         func(b *pem.Block) { b.Headers = map[string]string{"Name": "x"} },
		"broken": func(b *pem.Block) {
			o, _ := outlineOf(b.Bytes)
			o.Algorithm = asn1.NullRawValue
			if b.Bytes, err = asn1.Marshal(o); err != nil {
				t.Fatal(err)
			}
		},
	} {
		var all bytes.Buffer
		for root := range bundle.Roots() {
			block := &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}
			spoil(block)
			if err := pem.Encode(&all, block); err != nil {
				t.Fatal(err)
			}
		}
		file := filepath.Join(t.TempDir(), "all.pem")
		if err := os.WriteFile(file, all.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv("SSL_CERT_FILE", file)
		if pool, err := (rootSources{}).pool(); err != nil || !pool.Equal(want) {
			t.Errorf("%s: the embedded roots are not all trusted: %v", name, err)
		}
	}
}

// A root without its signature vouches as it did with it, also for a server that
// sends the signed one along; and for nothing that another key has signed.
func TestAnUnsignedRootVouches(t *testing.T) {
	sign := func(name string, parent *x509.Certificate, with *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		cert := &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: labNow(),
			NotAfter: labNow().Add(time.Hour), IsCA: name != "leaf", BasicConstraintsValid: true,
		}
		if parent == nil {
			parent, with = cert, key
		}
		der, err := x509.CreateCertificate(rand.Reader, cert, parent, &key.PublicKey, with)
		if err != nil {
			t.Fatal(err)
		}
		if cert, err = x509.ParseCertificate(der); err != nil {
			t.Fatal(err)
		}
		return cert, key
	}
	root, key := sign("root", nil, nil)
	middle, middleKey := sign("middle", root, key)
	leaf, _ := sign("leaf", middle, middleKey)
	forger, forged := sign("root", nil, nil)
	fake, _ := sign("leaf", forger, forged)

	o, _ := outlineOf(root.Raw)
	o.Signature = asn1.BitString{}
	der, err := asn1.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	unsigned, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	opts := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: labNow()}
	opts.Roots.AddCert(unsigned)
	opts.Intermediates.AddCert(middle)
	for range 2 {
		if _, err := leaf.Verify(opts); err != nil {
			t.Error(err)
		}
		if _, err := fake.Verify(opts); err == nil {
			t.Error("another key's signature passes")
		}
		opts.Intermediates.AddCert(root)
		opts.Intermediates.AddCert(forger)
	}
}

// A start finds a ca_file without anything like a certificate; what is inside one
// is for CheckRoots, and for the first call.
func TestCheckRoots(t *testing.T) {
	_, caFile := labTLS(t)
	good, err := os.ReadFile(caFile)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(good)
	broken, err := asn1.Marshal(struct {
		TBS, Algorithm struct{ Number int }
		Signature      asn1.BitString
	}{})
	if err != nil {
		t.Fatal(err)
	}
	encoded := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	others := encoded("PRIVATE KEY", []byte("x")) + encoded("CERTIFICATE", []byte("x"))
	for name, test := range map[string]struct {
		file           string
		starts, usable bool
	}{
		"good":           {string(good), true, true},
		"behind others":  {others + string(good), true, true},
		"another block":  {encoded("PRIVATE KEY", block.Bytes), false, false},
		"no certificate": {encoded("CERTIFICATE", []byte("not a certificate")), false, false},
		"with more":      {encoded("CERTIFICATE", append(bytes.Clone(block.Bytes), 0)), false, false},
		"broken inside":  {encoded("CERTIFICATE", broken), true, false},
		"empty":          {"", false, false},
	} {
		read := func(string) ([]byte, error) { return []byte(test.file), nil }
		_, err := New(Config{Endpoint: "https://sp.example", CAFile: "x.pem", ReadFile: read})
		if (err == nil) != test.starts {
			t.Errorf("%s: a start says %v", name, err)
		}
		if err := CheckRoots("x.pem", read); (err == nil) != test.usable {
			t.Errorf("%s: the check says %v", name, err)
		}
	}
}

// A ca_file that is gone when a call needs it fails the call, with an error
// that names the file.
func TestRootsVanish(t *testing.T) {
	s := serve(t, newSim())
	c := s.client(t)
	if err := os.Remove(s.caFile); err != nil {
		t.Fatal(err)
	}
	_, err := c.Register(t.Context(), labRegistration)
	if e := failure(t, err); e.Kind != Offline || !strings.Contains(e.Detail, s.caFile) {
		t.Error(e)
	}
}

// The system's roots are those that crypto/x509 finds, and an update of them is
// noticed.
func TestSystemRootsAreReadAgain(t *testing.T) {
	system := func() *x509.CertPool {
		g := newGathering()
		g.addSystem()
		return g.pool
	}
	want, err := x509.SystemCertPool()
	if err != nil || !system().Equal(want) {
		t.Errorf("crypto/x509 finds others: %v", err)
	}
	dir := t.TempDir()
	t.Setenv("SSL_CERT_FILE", filepath.Join(dir, "file.pem"))
	t.Setenv("SSL_CERT_DIR", dir+"/none:"+filepath.Join(dir, "dir"))
	if !system().Equal(x509.NewCertPool()) {
		t.Error("there are roots without a file")
	}
	_, caFile := labTLS(t)
	pem, err := os.ReadFile(caFile)
	if err != nil {
		t.Fatal(err)
	}
	one := x509.NewCertPool()
	one.AppendCertsFromPEM(pem)
	for _, err := range []error{
		os.Mkdir(filepath.Join(dir, "dir"), 0o755),
		os.WriteFile(filepath.Join(dir, "dir/lab.pem"), pem, 0o644),
		os.WriteFile(filepath.Join(dir, "file.pem"), append([]byte("text\n"), append(pem, pem...)...), 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if !system().Equal(one) {
		t.Error("the new root is not noticed")
	}
}

// A file of roots need not end in a newline.
func TestSystemRootsWithoutANewline(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("SSL_CERT_FILE", "/nonexistent")
	t.Setenv("SSL_CERT_DIR", dir)
	want := x509.NewCertPool()
	n := 0
	for root := range bundle.Roots() {
		text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate})
		want.AppendCertsFromPEM(text)
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(n)), bytes.TrimSpace(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if n++; n == 3 {
			break
		}
	}
	g := newGathering()
	g.addSystem()
	if !g.pool.Equal(want) {
		t.Error("other roots are trusted")
	}
}

// A root that is not taken from one file of the system's is taken from another.
func TestASoundCopyOfASpoiledRoot(t *testing.T) {
	_, caFile := labTLS(t)
	sound, err := os.ReadFile(caFile)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(sound)
	dir := t.TempDir()
	file := filepath.Join(dir, "1-spoiled.pem")
	t.Setenv("SSL_CERT_FILE", file)
	t.Setenv("SSL_CERT_DIR", dir)
	want := x509.NewCertPool()
	want.AppendCertsFromPEM(sound)
	if err := os.WriteFile(filepath.Join(dir, "2-sound.pem"), sound, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, spoiled := range []pem.Block{
		{Type: "TRUSTED CERTIFICATE", Bytes: block.Bytes},
		{Type: "CERTIFICATE", Headers: map[string]string{"Name": "x"}, Bytes: block.Bytes},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(&spoiled), 0o600); err != nil {
			t.Fatal(err)
		}
		g := newGathering()
		g.addSystem()
		if !g.pool.Equal(want) {
			t.Errorf("%s %v: the sound copy is not trusted", spoiled.Type, spoiled.Headers)
		}
	}
}
