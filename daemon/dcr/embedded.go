package dcr

import (
	"compress/gzip"
	"crypto/x509"
	_ "embed"
	"encoding/asn1"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"time"
)

// embedded holds Mozilla's roots. The program that writes the file describes it.
//
//go:generate go run github.com/tvpassd/tvpassd/scripts/roots roots.gz
//go:embed roots.gz
var embedded string

// embeddedRoot is a root certificate of the bundle inside this program.
type embeddedRoot struct {
	cert          *x509.Certificate
	distrustAfter time.Time // it vouches for nothing that was issued later; zero if it is trusted without limit
}

// embeddedRoots returns the embedded roots that are wanted, and parses only
// those.
func embeddedRoots(wanted func(der []byte) bool) ([]embeddedRoot, error) {
	file, err := gzip.NewReader(strings.NewReader(embedded))
	if err != nil {
		return nil, err
	}
	rest, err := io.ReadAll(file)
	if err != nil {
		return nil, err
	}
	var roots []embeddedRoot
	for len(rest) > 8 {
		var root embeddedRoot
		if after := binary.BigEndian.Uint64(rest); after != 0 {
			root.distrustAfter = time.Unix(int64(after), 0)
		}
		var der asn1.RawValue
		if rest, err = asn1.Unmarshal(rest[8:], &der); err != nil {
			return nil, err
		}
		if !wanted(der.FullBytes) {
			continue
		}
		if root.cert, err = x509.ParseCertificate(der.FullBytes); err != nil {
			return nil, err
		}
		roots = append(roots, root)
	}
	return roots, nil
}

// constraint refuses a chain with a certificate that was issued after the root
// was distrusted.
func (r embeddedRoot) constraint(chain []*x509.Certificate) error {
	for _, cert := range chain {
		if cert.NotBefore.After(r.distrustAfter) {
			return fmt.Errorf("issued after %s, when its root was distrusted", r.distrustAfter.UTC().Format(time.DateOnly))
		}
	}
	return nil
}

func (g *gathering) addEmbedded() error {
	roots, err := embeddedRoots(g.first)
	if err != nil {
		return fmt.Errorf("the embedded root certificates: %w", err)
	}
	for _, root := range roots {
		if root.distrustAfter.IsZero() {
			g.pool.AddCert(root.cert)
		} else {
			g.pool.AddCertWithConstraint(root.cert, root.constraint)
		}
	}
	return nil
}
