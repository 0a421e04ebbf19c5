package dcr

import (
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
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

// CheckRoots returns an error if no root in a ca_file can be used.
func CheckRoots(caFile string, read ReadFile) error {
	return rootSources{caFile, read}.addFile(x509.NewCertPool())
}

// check returns an error if the configured file can't be read, or has nothing
// with the outline of a certificate. What is inside is left to the first
// handshake, and to [CheckRoots]: to compute with the keys would take a tenth of
// the instructions of a start.
func (s rootSources) check() error {
	content, err := s.readFile()
	if err != nil || s.caFile == "" {
		return err
	}
	for {
		block, rest := pem.Decode(content)
		switch {
		case block == nil:
			return s.noCertificate()
		case block.Type == "CERTIFICATE":
			if _, ok := outlineOf(block.Bytes); ok {
				return nil
			}
		}
		content = rest
	}
}

// outline is that of a certificate (RFC 5280, section 4.1).
type outline struct {
	TBS, Algorithm asn1.RawValue
	Signature      asn1.BitString
}

// outlineOf returns the outline of a certificate, or false if der is something
// else.
func outlineOf(der []byte) (outline, bool) {
	var o outline
	rest, err := asn1.Unmarshal(der, &o)
	return o, err == nil && len(rest) == 0
}

// pool reads all of them. That takes some 20 million instructions on ARM, so it
// is left to the first handshake.
func (s rootSources) pool() (*x509.CertPool, error) {
	g := newGathering()
	if err := g.addEmbedded(); err != nil {
		return nil, err
	}
	g.addSystem()
	return g.pool, s.addFile(g.pool)
}

// gathering is a pool of roots while it is filled. Most roots are in several
// places: each is parsed only once. What is kept of them is allocated in a row,
// because garbage in between would take as much memory again.
type gathering struct {
	pool *x509.CertPool
	seen map[string]bool // by keyOf; those that are trusted without limit
}

func newGathering() *gathering { return &gathering{x509.NewCertPool(), map[string]bool{}} }

// keyOf returns what tells a root from others: what is signed of it.
func keyOf(der []byte) []byte {
	root, _ := outlineOf(der) // that of anything else is empty
	return root.TBS.FullBytes
}

// appendNew appends to text the roots in a file of the system's that come for the
// first time. What crypto/x509 does not take, such as a TRUSTED CERTIFICATE of
// OpenSSL's, does not count: another copy may be sound.
func (g *gathering) appendNew(text, data []byte) []byte {
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			return text
		}
		key := keyOf(block.Bytes)
		if block.Type == "CERTIFICATE" && len(block.Headers) == 0 && !g.seen[string(key)] {
			g.seen[string(key)] = true
			text = append(append(text, '\n'), data[:len(data)-len(rest)]...) // a file may end without one
		}
		data = rest
	}
}

// Roots are the trusted roots of one place.
type Roots struct {
	Place string // for people
	Pool  *x509.CertPool
}

// RootsByPlace returns the roots that a Client trusts, by where they come from.
func RootsByPlace(caFile string, read ReadFile) ([]Roots, error) {
	system, embedded, file := newGathering(), newGathering(), x509.NewCertPool()
	system.addSystem()
	err := errors.Join(embedded.addEmbedded(), rootSources{caFile, read}.addFile(file))
	return []Roots{{"the system", system.pool}, {"the embedded bundle", embedded.pool}, {"[http] ca_file", file}}, err
}

func (s rootSources) addFile(pool *x509.CertPool) error {
	content, err := s.readFile()
	if err == nil && s.caFile != "" && !pool.AppendCertsFromPEM(content) {
		return s.noCertificate()
	}
	return err
}

// readFile reads the configured file, if there is one.
func (s rootSources) readFile() ([]byte, error) {
	if s.caFile == "" {
		return nil, nil
	}
	read := s.read
	if read == nil {
		read = os.ReadFile
	}
	content, err := read(s.caFile)
	if err != nil {
		return nil, fmt.Errorf("read ca_file: %w", err)
	}
	return content, nil
}

func (s rootSources) noCertificate() error {
	return fmt.Errorf("ca_file %s holds no PEM certificate", s.caFile)
}
