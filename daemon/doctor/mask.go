package doctor

import (
	"regexp"
	"slices"
	"strings"
)

const (
	masked      = "[masked]"
	schemeEnd   = "://"
	fingerprint = "fingerprint " // the scheme of the header with the device identifier
)

// Masker hides secrets, and what looks like one, in texts that people send to
// others. It errs on the side of hiding too much.
type Masker struct {
	known []string

	user, named, identifier, jwt, run *regexp.Regexp
}

// NewMasker returns a Masker that hides the known secrets as well. Those of fewer
// than four characters are part of many words and are left alone.
func NewMasker(known ...string) *Masker {
	known = slices.DeleteFunc(slices.Clone(known), func(s string) bool { return len(s) < 4 })
	slices.SortFunc(known, func(a, b string) int { return len(b) - len(a) }) // one may be part of another
	return &Masker{
		known: known,
		// User and password of a URL, up to the last @ of the line, as both may hold
		// anything; or of a host without a scheme.
		user: regexp.MustCompile(schemeEnd + `[^\n]*@|[^\s"'=/:]+:[^\s"'=/][^\s"'=]*@`),
		// The name of a secret and the value behind it, in TOML, JSON, a form or a log
		// line: in triple quotes, in quotes that may lack their end, or bare.
		named: regexp.MustCompile(`(?i)` +
			`([a-z0-9_-]*(?:software_statement|secret|client_id|passw(?:or)?d|psk|[_-]token|[_-]key|credentials?|cookie)` +
			`[\\"']*[ \t]*[=:][ \t\\]*` +
			`|\b(?:token|key|pass|pwd|auth|statement)(?:[\\"']*[ \t]*=|[\\"']+[ \t]*:)[ \t\\]*` +
			`|\b(?:bearer|basic)[ \t]+)` +
			`("""(?s:.*?)(?:"""|\z)|'''(?s:.*?)(?:'''|\z)|"[^"\\\n]*|'[^'\\\n]*|[^\s"'\\&,;{}()\[\]<>]+)`),
		// A device identifier, plain or as its header carries it.
		identifier: regexp.MustCompile(`\b[0-9a-f]{64}\b|\b` + fingerprint + `[A-Za-z0-9+/=]+`),
		// What begins as every JWT and every X-Device-Info does, and any other long word
		// of the characters that tokens consist of.
		jwt: regexp.MustCompile(`eyJ[\w.+/=-]{9,}`),
		run: regexp.MustCompile(`[\w.+=-]{24,}`),
	}
}

// Mask hides the known secrets, the values of keys that hold secrets, users and
// passwords in URLs, JWTs and other long random words. Of a device identifier it
// leaves the first characters.
func (m *Masker) Mask(text string) string {
	for _, secret := range m.known {
		text = strings.ReplaceAll(text, secret, masked)
	}
	text = m.user.ReplaceAllStringFunc(text, maskUser)
	text = m.named.ReplaceAllStringFunc(text, m.maskValue)
	text = m.identifier.ReplaceAllStringFunc(text, maskIdentifier)
	text = m.jwt.ReplaceAllLiteralString(text, masked)
	return m.run.ReplaceAllStringFunc(text, maskRun)
}

// maskUser hides user and password of a URL or a host.
func maskUser(found string) string {
	if strings.HasPrefix(found, schemeEnd) {
		return schemeEnd + masked + "@"
	}
	return masked + "@"
}

// maskIdentifier hides a device identifier but for its first characters.
func maskIdentifier(found string) string {
	if strings.HasPrefix(found, fingerprint) {
		return fingerprint + "****"
	}
	return found[:4] + "****"
}

// maskValue hides the value behind the name of a secret.
func (m *Masker) maskValue(found string) string {
	match := m.named.FindStringSubmatch(found)
	name, value := match[1], match[2]
	if strings.HasSuffix(value, "****") { // a client id that is masked already, so that two can be told apart
		return found
	}
	for _, quote := range []string{`"""`, "'''", `"`, `'`} {
		rest, quoted := strings.CutPrefix(value, quote)
		switch {
		case quoted && len(quote) == 3 && strings.HasSuffix(rest, quote):
			return name + quote + masked + quote
		case quoted:
			return name + quote + masked
		}
	}
	return name + masked
}

// maskRun hides a long word if a part of it between dots is too mixed for a word.
func maskRun(word string) string {
	const upper, lower, digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz", "0123456789"
	for _, part := range strings.Split(word, ".") {
		mixed := strings.ContainsAny(part, upper) && strings.ContainsAny(part, lower) && strings.ContainsAny(part, digits)
		if len(part) >= 24 && mixed {
			return masked
		}
	}
	return word
}
