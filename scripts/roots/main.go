// Command roots writes daemon/dcr/roots.gz: Mozilla's root certificates, as
// golang.org/x/crypto/x509roots/fallback/bundle has them. In the device binary
// that package would take 92 kB more. A test of daemon/dcr compares the two, so
// after an update of the module this has to run again:
//
//	go generate ./daemon/dcr
//
// For each root the file holds the last second in which certificates below it may
// have been issued, in 8 bytes (0 if it is trusted without limit), and the root
// itself in DER, with an empty signature. A root is trusted because it is in the
// list, as its name and key: nobody checks what it says of itself (RFC 5280,
// section 6.1.1), and the signatures can't be compressed.
package main

import (
	"bytes"
	"compress/gzip"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"sort"
	"time"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: roots FILE")
		os.Exit(64)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "roots:", err)
		os.Exit(1)
	}
}

func write(name string) error {
	var file bytes.Buffer
	out, err := gzip.NewWriterLevel(&file, gzip.BestCompression)
	if err != nil {
		return err
	}
	for root := range bundle.Roots() {
		der, err := unsigned(root.Certificate)
		if err != nil {
			return err
		}
		entry := binary.BigEndian.AppendUint64(nil, distrustAfter(root.Constraint))
		if _, err := out.Write(append(entry, der...)); err != nil {
			return err
		}
	}
	if err := out.Close(); err != nil {
		return err
	}
	return os.WriteFile(name, file.Bytes(), 0o644)
}

// unsigned returns a certificate with an empty signature.
func unsigned(der []byte) ([]byte, error) {
	var cert struct {
		TBS, Algorithm asn1.RawValue
		Signature      asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &cert); err != nil {
		return nil, err
	}
	cert.Signature = asn1.BitString{}
	return asn1.Marshal(cert)
}

// distrustAfter returns the last second in which a certificate below a root may
// have been issued, or 0 if there is none. The bundle has only a function that
// says so.
func distrustAfter(constraint func([]*x509.Certificate) error) uint64 {
	if constraint == nil {
		return 0
	}
	return uint64(sort.Search(math.MaxInt32, func(second int) bool {
		next := time.Unix(int64(second)+1, 0)
		return constraint([]*x509.Certificate{{NotBefore: next}}) != nil
	}))
}
