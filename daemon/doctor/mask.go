package doctor

import "strings"

const masked = "[masked]"

// secretNames are keys whose values are secrets, wherever they stand: in TOML, JSON, a form, a log line.
var secretNames = [...]string{"software_statement", "client_secret", "client_id", "access_token", "refresh_token", "password", "bearer"}

// Mask hides what is a secret, and what looks like one, rather too much than too little: the known values; the values of
// keys that hold secrets; JWTs, whole or in parts; users and passwords in URLs.
func Mask(text string, known ...string) string {
	for _, secret := range known {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, masked)
		}
	}
	return maskRuns(maskURLs(maskValues(text)))
}

// maskValues hides what stands behind the name of a secret.
func maskValues(text string) string {
	var b strings.Builder
	lower := strings.ToLower(text) // may differ in length from text where that is not ASCII
	if len(lower) != len(text) {
		lower = text
	}
	done := 0
	for at := 0; at < len(text); at++ {
		for _, name := range secretNames {
			if !strings.HasPrefix(lower[at:], name) {
				continue
			}
			from, to := valueBehind(text, at+len(name), name == "bearer")
			// A masked client id says so itself, and tells two apart.
			if from < to && !strings.HasSuffix(text[from:to], "****") && text[from:to] != masked {
				b.WriteString(text[done:from] + masked)
				done = to
				at = to - 1
			}
			break
		}
	}
	return b.String() + text[done:]
}

// valueBehind finds the value of a key that ends at i; an empty one where there is none. It need not be well-formed.
func valueBehind(text string, i int, bare bool) (from, to int) {
	skip := func(i int, chars string) int { return len(text) - len(strings.TrimLeft(text[i:], chars)) }
	i = skip(skip(i, `\"'`), " \t")
	switch {
	case i < len(text) && (text[i] == '=' || text[i] == ':'):
		i++
	case !bare:
		return 0, 0
	}
	i = skip(i, " \t\\")
	for _, quote := range []string{`"""`, `'''`, `"`, `'`} {
		rest, quoted := strings.CutPrefix(text[i:], quote)
		if !quoted {
			continue
		}
		end := quote
		if len(quote) == 1 {
			end += "\\\n" // one that was forgotten ends with the line
			return i + 1, endOf(text, i+1, strings.IndexAny(rest, end))
		}
		return i + len(quote), endOf(text, i+len(quote), strings.Index(rest, end))
	}
	return i, endOf(text, i, strings.IndexAny(text[i:], " \t\r\n\"'\\&,;{}()[]<>"))
}

func endOf(text string, from, length int) int {
	if length < 0 {
		return len(text)
	}
	return from + length
}

// maskURLs hides user and password in URLs.
func maskURLs(text string) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, "://")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		b.WriteString("://")
		word := rest[:endOf(rest, 0, strings.IndexAny(rest, " \t\r\n\"'<>"))]
		if at := strings.LastIndexByte(word, '@'); at >= 0 {
			b.WriteString(masked)
			rest = rest[at:]
		}
		text = rest
	}
}

// maskRuns hides what looks like a JWT or a part of one: it begins as one, or is too long and too mixed for a word. X-Device-Info
// goes with it; what it says stands beside it in plain.
func maskRuns(text string) string {
	var b strings.Builder
	for len(text) > 0 {
		n := len(text) - len(strings.TrimLeft(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.+="))
		switch run := text[:n]; {
		case n == 0:
			n = 1
			b.WriteString(text[:1])
		case looksSecret(run):
			b.WriteString(masked)
		default:
			b.WriteString(run)
		}
		text = text[n:]
	}
	return b.String()
}

// The lengths above which a run of characters is taken for a secret: of one that begins as a JWT does, and of any.
const (
	shortestJWT  = 12
	shortestPart = 24
)

func looksSecret(run string) bool {
	const upper, lower, digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz", "0123456789"
	if i := strings.Index(run, "eyJ"); i >= 0 && len(run)-i >= shortestJWT {
		return true
	}
	for part := range strings.SplitSeq(run, ".") {
		if len(part) >= shortestPart && strings.ContainsAny(part, upper) && strings.ContainsAny(part, lower) && strings.ContainsAny(part, digits) {
			return true
		}
	}
	return false
}
