package dcr

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

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

// Every embedded root is trusted, beside the one in ca_file. Most are the
// system's too, so this checks all.
func TestEmbeddedRoots(t *testing.T) {
	_, caFile := labTLS(t)
	pool, err := rootSources{caFile: caFile}.pool()
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for root := range bundle.Roots() {
		count++
		cert, err := x509.ParseCertificate(root.Certificate)
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
		if err != nil && root.Constraint == nil {
			t.Errorf("%s: %v", cert.Subject, err)
		}
	}
	if count < 100 {
		t.Errorf("only %d embedded roots", count)
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
