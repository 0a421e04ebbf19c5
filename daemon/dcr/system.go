package dcr

import (
	"os"
	"path/filepath"
	"strings"
)

// systemFiles and systemDirs are where systems keep their trusted roots, as
// crypto/x509 has them: the first file that can be read, and all directories.
var (
	systemFiles = []string{
		"/etc/ssl/certs/ca-certificates.crt",                // Debian, OpenWrt, Buildroot
		"/etc/pki/tls/certs/ca-bundle.crt",                  // Fedora
		"/etc/ssl/ca-bundle.pem",                            // openSUSE
		"/etc/pki/tls/cacert.pem",                           // LibreELEC
		"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // RHEL
		"/etc/ssl/cert.pem",                                 // Alpine
	}
	systemDirs = []string{"/etc/ssl/certs", "/etc/pki/tls/certs"}
)

// addSystem adds the system's roots. It passes over what can't be read, because
// the embedded roots are always there too. [x509.SystemCertPool] would keep
// what it reads for the life of the process: 250 kB that nobody needs between
// calls, and no update of the system's roots would be noticed.
func (g *gathering) addSystem() {
	files, dirs := systemFiles, systemDirs
	if file := os.Getenv("SSL_CERT_FILE"); file != "" {
		files = []string{file}
	}
	if list := os.Getenv("SSL_CERT_DIR"); list != "" {
		dirs = strings.Split(list, ":")
	}
	var text []byte
	for _, file := range files {
		if content, err := os.ReadFile(file); err == nil {
			text = g.appendNew(text, content)
			break
		}
	}
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, entry := range entries {
			path := filepath.Join(dir, entry.Name())
			if link, err := os.Readlink(path); err == nil && !strings.Contains(link, "/") {
				continue // another name of a file beside it
			}
			if content, err := os.ReadFile(path); err == nil {
				text = g.appendNew(text, content)
			}
		}
	}
	g.pool.AppendCertsFromPEM(text)
}
