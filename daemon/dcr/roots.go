package dcr

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// rootSources are where trusted roots come from: the system, the bundle inside
// this program (devices in the field carry expired ones), and the file that the
// configuration names.
type rootSources struct {
	caFile string
	read   ReadFile
}

// ReadFile reads a file that may be another user's; nil stands for [os.ReadFile].
type ReadFile func(name string) ([]byte, error)

// check returns an error if the configured file can't be used.
func (s rootSources) check() error {
	return s.addFile(x509.NewCertPool())
}

// pool reads all of them. That takes some 20 million instructions on ARM, so it
// is left to the first handshake.
func (s rootSources) pool() (*x509.CertPool, error) {
	pool := systemPool()
	if err := addEmbedded(pool); err != nil {
		return nil, err
	}
	return pool, s.addFile(pool)
}

func systemPool() *x509.CertPool {
	pool, err := x509.SystemCertPool()
	if err != nil { // a device without a readable one has the bundle
		pool = x509.NewCertPool()
	}
	return pool
}

// Roots are the trusted roots of one place.
type Roots struct {
	Place string // for people
	Pool  *x509.CertPool
}

// RootsByPlace returns the roots that a Client trusts, by where they come from.
func RootsByPlace(caFile string, read ReadFile) ([]Roots, error) {
	embedded, file := x509.NewCertPool(), x509.NewCertPool()
	err := errors.Join(addEmbedded(embedded), rootSources{caFile, read}.addFile(file))
	return []Roots{{"the system", systemPool()}, {"the embedded bundle", embedded}, {"[http] ca_file", file}}, err
}

func (s rootSources) addFile(pool *x509.CertPool) error {
	if s.caFile == "" {
		return nil
	}
	read := s.read
	if read == nil {
		read = os.ReadFile
	}
	pem, err := read(s.caFile)
	if err != nil {
		return fmt.Errorf("read ca_file: %w", err)
	}
	if !pool.AppendCertsFromPEM(pem) {
		return fmt.Errorf("ca_file %s holds no PEM certificate", s.caFile)
	}
	return nil
}
