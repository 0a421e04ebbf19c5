package dcr

import (
	"bytes"
	"compress/gzip"
	"crypto/x509"
	_ "embed"
	"encoding/asn1"
	"encoding/base64"
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
	der           []byte
	distrustAfter time.Time // it vouches for nothing that was issued later; zero if it is trusted without limit
}

// embeddedRoots returns the embedded roots, which share their memory. It parses
// none.
func embeddedRoots() ([]embeddedRoot, error) {
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
		root.der = der.FullBytes
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

// addEmbedded adds the embedded roots. Those without a limit come as PEM, because
// a pool keeps less of that than of parsed certificates: 1 kB of 4.
func (g *gathering) addEmbedded() error {
	const begin, end = "-----BEGIN CERTIFICATE-----\n", "\n-----END CERTIFICATE-----\n"
	roots, err := embeddedRoots()
	var text bytes.Buffer // of one root after the other
	text.Grow(8 << 10)
	for _, root := range roots {
		if root.distrustAfter.IsZero() {
			text.Reset()
			text.WriteString(begin)
			text.Write(base64.StdEncoding.AppendEncode(text.AvailableBuffer(), root.der))
			text.WriteString(end)
			g.pool.AppendCertsFromPEM(text.Bytes())
			continue
		}
		root.der = bytes.Clone(root.der) // and not all that was read
		var cert *x509.Certificate
		if cert, err = x509.ParseCertificate(root.der); err != nil {
			break
		}
		g.pool.AddCertWithConstraint(cert, root.constraint)
	}
	if err != nil {
		return fmt.Errorf("the embedded root certificates: %w", err)
	}
	for _, root := range roots {
		if root.distrustAfter.IsZero() {
			g.seen[string(keyOf(root.der))] = true
		}
	}
	return nil
}
