package config

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"net/netip"
	"net/url"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// optional lets "" stand for nothing.
func optional[T any](parse func(string) (T, error)) func(string) (T, error) {
	return func(s string) (none T, _ error) {
		if s == "" {
			return none, nil
		}
		return parse(s)
	}
}

// kind is the TOML type of a value, for a person.
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

// quote shows what somebody wrote.
func quote(s string) string { return strconv.Quote(short(s)) }

// printable makes one line for a person of any text.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, short(s))
}

// short leaves out what is too much to show, and all of a software statement: they begin alike.
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

// parseEnvironment gives the base URL of an environment.
func parseEnvironment(s string) (string, error) {
	switch s {
	case "release-production":
		return production, nil
	case "release-staging":
		return "https://sp.auth-staging.adobe.com", nil
	case "prequal-production":
		return "https://sp-prequal.auth.adobe.com", nil
	case "prequal-staging":
		return "https://sp-prequal.auth-staging.adobe.com", nil
	}
	return "", fmt.Errorf("is %s: write release-production, release-staging, prequal-production or prequal-staging", quote(s))
}

// parseEndpoint gives a base URL in the one form that credentials are kept under. Its errors don't show it: whoever writes a
// password or a token into it did not mean to publish them.
func parseEndpoint(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	u, err := parseURL(s)
	switch {
	case err != nil:
		return "", err
	case u.User != nil:
		return "", errors.New("must not hold a user or a password: take them out")
	case u.Scheme != "https" && u.Scheme != "http":
		return "", errors.New("must begin with https://")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return "", fmt.Errorf("is http:// to %s, which is no loopback address: write https://", quote(u.Host))
	}
	usual := map[string]string{"https": ":443", "http": ":80"}[u.Scheme]
	u.Host = strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(u.Host), ":"), usual)
	return strings.TrimRight(u.String(), "/"), nil
}

// parseURL parses the URL of a host, and perhaps of a path there.
func parseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" {
		return nil, errors.New("must be a URL such as https://host or http://host:3128")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, fmt.Errorf("has the port %s: there are 1 to 65535", quote(port))
		}
	}
	if strings.ContainsAny(s, "?#") {
		return nil, errors.New("must not hold a query or a fragment: leave out what follows ? or #")
	}
	return u, nil
}

func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// parseProxy parses the URL of a proxy. Its errors don't show it, for it may hold a password.
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
	switch s {
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("is %s: write debug, info, warn or error", quote(s))
}

func parseMode(s string) (fs.FileMode, error) {
	mode, err := strconv.ParseUint(strings.TrimPrefix(s, "0o"), 8, 32)
	if err != nil || mode > 0o777 {
		return 0, fmt.Errorf(`is %s: write an octal number such as "0660", at most "0777"`, quote(s))
	}
	if mode&0o222 == 0 {
		return 0, fmt.Errorf(`is %s: nobody could connect, which takes write permission: write a mode such as "0660"`, quote(s))
	}
	return fs.FileMode(mode), nil
}

// path makes a path absolute: a relative one is relative to the file that names it.
func (d *document) path(s string) (string, error) {
	switch {
	case s == "":
		return "", errors.New("is empty: name a path, or leave the line out")
	case strings.ContainsRune(s, 0):
		return "", errors.New("holds a NUL character: no path does")
	case filepath.IsAbs(s):
		return filepath.Clean(s), nil
	}
	return filepath.Join(filepath.Dir(d.file), s), nil
}

// maxSocketPath is the longest path of a socket that the kernel takes, in bytes.
const maxSocketPath = 107

func (d *document) socketPath(s string) (string, error) {
	path, err := d.path(s)
	if err == nil && len(path) > maxSocketPath {
		err = fmt.Errorf("has %d bytes, and a socket's may have %d: choose a shorter one", len(path), maxSocketPath)
	}
	return path, err
}

func parseAppID(s string) (string, error) {
	const first, rest = "abcdefghijklmnopqrstuvwxyz0123456789", "._-"
	if s == "" || len(s) > 64 || strings.Trim(s, first+rest) != "" || strings.ContainsAny(s[:1], rest) {
		return "", fmt.Errorf("is %s: write at most 64 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit", quote(s))
	}
	return s, nil
}

// parseRedirectURI checks for an absolute URI (RFC 3986, 4.3). It may be of any scheme, and is sent as it was written.
func parseRedirectURI(s string) (string, error) {
	u, err := url.Parse(s)
	odd := func(r rune) bool { return r <= ' ' || r >= utf8.RuneSelf || r == '#' }
	if err != nil || u.Scheme == "" || u.Opaque+u.Host+u.Path == "" || strings.ContainsFunc(s, odd) {
		return "", fmt.Errorf("is %s: write an absolute URI such as adobepass://com.programmer", quote(s))
	}
	return s, nil
}

// parseName checks for a text that can stand in a header as it is.
func parseName(s string) (string, error) {
	if s == "" || len(s) > 255 || s != strings.TrimSpace(s) || !utf8.ValidString(s) ||
		strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return "", fmt.Errorf("is %s: write 1 to 255 bytes that can be printed, or leave the line out", quote(s))
	}
	return s, nil
}

// users and groups give the numbers behind a list of names or numbers.
func (n names) users(value any) ([]uint32, error)  { return ids(value, n.user) }
func (n names) groups(value any) ([]uint32, error) { return ids(value, n.group) }

func ids(value any, lookup func(string) (uint32, error)) ([]uint32, error) {
	elements, ok := value.([]any)
	if !ok {
		return nil, fmt.Errorf(`must be a list such as ["player"], not %s`, kind(value))
	}
	ids := make([]uint32, 0, len(elements))
	for _, element := range elements {
		name, ok := nameOrNumber(element)
		if !ok {
			return nil, fmt.Errorf(`must hold names or numbers, such as ["player"], not %s`, kind(element))
		}
		id, err := parseID(name, lookup)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// parseID gives the number of a user or group. A number need not be anybody's.
func parseID(s string, lookup func(string) (uint32, error)) (uint32, error) {
	if strings.Trim(s, "-0123456789") != "" || s == "" {
		return lookup(s)
	}
	id, err := strconv.ParseUint(s, 10, 32)
	if err != nil || id == math.MaxUint32 { // which the kernel takes for "none"
		return 0, fmt.Errorf("names the number %s: there are 0 to %d", quote(s), uint32(math.MaxUint32-1))
	}
	return uint32(id), nil
}

func nameOrNumber(value any) (string, bool) {
	if n, ok := value.(int64); ok {
		return strconv.FormatInt(n, 10), true
	}
	name, ok := value.(string)
	return name, ok
}

// optionalGroup gives the number of a group, nil for "".
func (n names) optionalGroup(value any) (*uint32, error) {
	name, ok := nameOrNumber(value)
	switch {
	case !ok:
		return nil, fmt.Errorf(`must be a name or a number such as "tvpass", not %s`, kind(value))
	case name == "":
		return nil, nil
	}
	id, err := parseID(name, n.group)
	if err != nil {
		return nil, fmt.Errorf(`%w, or write ""`, err)
	}
	return &id, nil
}

func lookupUser(name string) (uint32, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return 0, notFound("user", name, err, errors.As(err, new(user.UnknownUserError)))
	}
	return lookedUp(u.Uid)
}

func lookupGroup(name string) (uint32, error) {
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, notFound("group", name, err, errors.As(err, new(user.UnknownGroupError)))
	}
	return lookedUp(g.Gid)
}

func lookedUp(id string) (uint32, error) {
	n, err := strconv.ParseUint(id, 10, 32)
	return uint32(n), err
}

func notFound(what, name string, err error, unknown bool) error {
	if unknown {
		return fmt.Errorf("names the %s %s, which does not exist: create it or correct the name", what, quote(name))
	}
	return fmt.Errorf("names the %s %s, which can't be looked up: %w", what, quote(name), err)
}
