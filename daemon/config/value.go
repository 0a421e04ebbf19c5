package config

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// The functions of this file parse and show single values. They open nothing and
// know nothing of files. The text of a parse error follows the name of a key.

// optional returns a parser that takes "" for the zero value.
func optional[T any](parse func(string) (T, error)) func(string) (T, error) {
	return func(s string) (none T, _ error) {
		if s == "" {
			return none, nil
		}
		return parse(s)
	}
}

// kind names the TOML type of a value.
func kind(value any) string {
	switch v := value.(type) {
	case string:
		return "a string"
	case int64, float64:
		return fmt.Sprintf("the number %v", v)
	case bool:
		return fmt.Sprint(v)
	case []any:
		return "a list"
	case *table:
		return "a table"
	}
	return "a date"
}

// quote returns s in quotes, shortened as by short.
func quote(s string) string { return strconv.Quote(short(s)) }

// printable returns s as one printable line, shortened as by short.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, short(s))
}

// short cuts off long texts, and software statements where they begin: they all
// begin alike.
func short(s string) string {
	const most = 100
	if at := strings.Index(s, "eyJ"); at >= 0 {
		s = s[:at] + "eyJ…"
	}
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

const production = "https://sp.auth.adobe.com"

// parseEnvironment returns the base URL of an environment.
func parseEnvironment(s string) (string, error) {
	environments := map[string]string{
		"release-production": production,
		"release-staging":    "https://sp.auth-staging.adobe.com",
		"prequal-production": "https://sp-prequal.auth.adobe.com",
		"prequal-staging":    "https://sp-prequal.auth-staging.adobe.com",
	}
	if base, ok := environments[s]; ok {
		return base, nil
	}
	return "", fmt.Errorf("is %s: write release-production, release-staging, prequal-production or prequal-staging",
		quote(s))
}

// parseEndpoint returns a base URL in the one form that credentials are kept
// under. Its errors do not show the URL, which may hold a password or a token by
// mistake.
func parseEndpoint(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	u, err := parseURL(s)
	switch {
	case err != nil:
		return "", err
	case u.User != nil:
		return "", errors.New("must not contain a user or a password: remove them")
	case u.Scheme != "https" && u.Scheme != "http":
		return "", errors.New("must begin with https://")
	case u.Scheme == "http" && !Loopback(u.Hostname()):
		return "", fmt.Errorf("is http:// to %s, which is not a loopback address: write https://", quote(u.Host))
	}
	usual := ":443"
	if u.Scheme == "http" {
		usual = ":80"
	}
	u.Host = strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(u.Host), ":"), usual)
	return strings.TrimRight(u.String(), "/"), nil
}

// parseURL parses a URL that names a host and perhaps a path.
func parseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" {
		return nil, errors.New("must be a URL such as https://host or http://host:3128")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, fmt.Errorf("has the port %s: write 1 to 65535", quote(port))
		}
	}
	if strings.ContainsAny(s, "?#") {
		return nil, errors.New("must not contain a query or a fragment: remove everything from ? or # on")
	}
	return u, nil
}

// Loopback reports whether a host is this device itself.
func Loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && addr.Unmap().IsLoopback()
}

// parseProxy parses the URL of a proxy. Its errors do not show the URL, because
// it may hold a password.
func parseProxy(s string) (*url.URL, error) {
	u, err := parseURL(s)
	if err != nil {
		return nil, err
	}
	switch u.Scheme {
	case "http", "https", "socks5", "socks5h":
	default:
		return nil, errors.New("must begin with http://, https:// or socks5://")
	}
	if u.Path != "" && u.Path != "/" {
		return nil, errors.New("must end with the port: a proxy has no path")
	}
	return u, nil
}

func parseBool(value any) (bool, error) {
	b, ok := value.(bool)
	if !ok {
		return false, fmt.Errorf("must be true or false, not %s", kind(value))
	}
	return b, nil
}

func parseTimeout(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("is %s: write a duration such as 15s or 1m30s", quote(s))
	}
	if d < time.Second || d > 5*time.Minute {
		return 0, fmt.Errorf("is %v: write 1s to 5m", d)
	}
	return d, nil
}

func parseLevel(s string) (slog.Level, error) {
	levels := map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
	}
	if level, ok := levels[s]; ok {
		return level, nil
	}
	return 0, fmt.Errorf("is %s: write debug, info, warn or error", quote(s))
}

func parseMode(s string) (fs.FileMode, error) {
	mode, err := strconv.ParseUint(strings.TrimPrefix(s, "0o"), 8, 32)
	if err != nil || mode > 0o777 {
		return 0, fmt.Errorf(`is %s: write an octal number such as "0660", at most "0777"`, quote(s))
	}
	if mode&0o222 == 0 {
		return 0, fmt.Errorf("is %s, which gives nobody the write permission that connecting takes: "+
			`write a mode such as "0660"`, quote(s))
	}
	return fs.FileMode(mode), nil
}

// pathFrom returns a parser of paths. It takes a relative path as relative to dir
// and returns it absolute.
func pathFrom(dir string) func(string) (string, error) {
	return func(s string) (string, error) {
		switch {
		case s == "":
			return "", errors.New("is empty: write a path or delete the line")
		case strings.ContainsRune(s, 0):
			return "", errors.New("contains a NUL character: remove it")
		case filepath.IsAbs(s):
			return filepath.Clean(s), nil
		}
		return filepath.Join(dir, s), nil
	}
}

// maxSocketPath is the longest socket path that the kernel takes, in bytes.
const maxSocketPath = 107

// socketPathFrom is pathFrom for the path of a socket.
func socketPathFrom(dir string) func(string) (string, error) {
	return func(s string) (string, error) {
		path, err := pathFrom(dir)(s)
		if err == nil && len(path) > maxSocketPath {
			err = fmt.Errorf("is %d bytes long: the path of a socket has at most %d", len(path), maxSocketPath)
		}
		return path, err
	}
}

func parseAppID(s string) (string, error) {
	const first, rest = "abcdefghijklmnopqrstuvwxyz0123456789", "._-"
	if s == "" || len(s) > 64 || strings.Trim(s, first+rest) != "" || strings.ContainsAny(s[:1], rest) {
		return "", fmt.Errorf("is %s: write at most 64 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit",
			quote(s))
	}
	return s, nil
}

// parseRedirectURI returns s if it is an absolute URI (RFC 3986, 4.3) of any
// scheme.
func parseRedirectURI(s string) (string, error) {
	u, err := url.Parse(s)
	odd := func(r rune) bool { return r <= ' ' || r >= utf8.RuneSelf || r == '#' }
	if err != nil || u.Scheme == "" || u.Opaque+u.Host+u.Path == "" || strings.ContainsFunc(s, odd) {
		return "", fmt.Errorf("is %s: write an absolute URI such as adobepass://com.programmer", quote(s))
	}
	return s, nil
}

// parseName returns s if it can be sent in a header unchanged.
func parseName(s string) (string, error) {
	if s == "" || len(s) > 255 || s != strings.TrimSpace(s) || !utf8.ValidString(s) ||
		strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return "", fmt.Errorf("is %s: write 1 to 255 printable bytes or delete the line", quote(s))
	}
	return s, nil
}
