package dcrtest

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"time"
)

// NewCA makes a throw-away certificate authority and a certificate of it for
// localhost, 127.0.0.1, ::1 and hosts (names or addresses). Both are valid from
// a day before now until a year after. A client must trust caPEM. The
// authority's key is forgotten.
func NewCA(now time.Time, hosts ...string) (caPEM []byte, cert tls.Certificate, err error) {
	ca := certificate(now, 1, "passsim throw-away CA")
	ca.IsCA, ca.BasicConstraintsValid = true, true
	ca.KeyUsage = x509.KeyUsageCertSign
	caDER, caKey, err := certify(ca, ca, nil)
	if err != nil {
		return nil, tls.Certificate{}, fmt.Errorf("make the CA: %w", err)
	}
	leaf := certificate(now, 2, "passsim")
	leaf.KeyUsage = x509.KeyUsageDigitalSignature
	leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, host := range append([]string{"localhost", "127.0.0.1", "::1"}, hosts...) {
		if ip := net.ParseIP(host); ip != nil {
			leaf.IPAddresses = append(leaf.IPAddresses, ip)
		} else {
			leaf.DNSNames = append(leaf.DNSNames, host)
		}
	}
	der, key, err := certify(leaf, ca, caKey)
	if err != nil {
		return nil, tls.Certificate{}, fmt.Errorf("make the server's certificate: %w", err)
	}
	caPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER})
	return caPEM, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

func certificate(now time.Time, serial int64, name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-24 * time.Hour),
		NotAfter:     now.AddDate(1, 0, 0),
	}
}

// certify makes a key and its certificate, signed by the parent's key; nil stands
// for the new key itself.
func certify(template, parent *x509.Certificate, by *ecdsa.PrivateKey) ([]byte, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), cmp.Or(by, key))
	return der, key, err
}
