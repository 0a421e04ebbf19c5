package device

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"
)

// keys are those of "Header - X-Device-Info", in that page's order. They are sent
// in this order too.
var keys = [...]string{
	"primaryHardwareType", "model", "version", "manufacturer", "vendor",
	"osName", "osFamily", "osVendor", "osVersion",
	"browserName", "browserVendor", "browserVersion", "userAgent",
	"displayWidth", "displayHeight", "displayPpi", "diagonalScreenSize",
	"connectionIp", "connectionPort", "connectionType", "connectionSecure",
	"applicationId",
}

// required are the keys without which the platform counts as unknown ("Header -
// X-Device-Info").
var required = []string{"model", "version", "osName", "osVersion", "connectionType"}

// restricted are the values that "Header - X-Device-Info" allows for the keys that
// it restricts. Anything else is a wrong header.
var restricted = []struct {
	key    string
	values []string
}{
	{"primaryHardwareType", []string{
		"Camera", "DataCollectionTerminal", "Desktop", "EmbeddedNetworkModule", "eReader", "GamesConsole",
		"GeolocationTracker", "Glasses", "MediaPlayer", "MobilePhone", "PaymentTerminal", "PluginModem", "SetTopBox", "TV",
		"Tablet", "WirelessHotspot", "Wristwatch", "Unknown",
	}},
	{"osName", []string{
		"Android", "Chrome OS", "Linux", "Mac OS", "OS X", "OpenBSD", "Roku OS", "Windows", "iOS", "tvOS", "webOS",
	}},
	{"osFamily", []string{
		"Android", "BSD", "Linux", "PlayStation OS", "Roku OS", "Symbian", "Tizen", "Windows", "iOS", "tvOS", "macOS",
		"webOS",
	}},
	{"osVendor", []string{
		"Amazon", "Apple", "Google", "LG", "Microsoft", "Mozilla", "Nintendo", "Nokia", "Roku", "Samsung", "Sony",
		"Tizen Project",
	}},
}

// allowed returns the values that a key may have; nil if it may have any.
func allowed(key string) []string {
	for _, r := range restricted {
		if r.key == key {
			return r.values
		}
	}
	return nil
}

// maxNumber bounds the whole numbers: a typing mistake must not reach the server.
const maxNumber = 65535

// Keys lists every X-Device-Info key in documented order ("Header -
// X-Device-Info").
func Keys() []string { return slices.Clone(keys[:]) }

// CheckOverride checks a configured value (string, int64, float64 or bool, as
// TOML has them) and returns it in the form that is sent. Its errors are for a
// person, and leave it to the caller to say where the value stands.
func CheckOverride(key string, value any) (any, error) {
	switch key {
	case "displayWidth", "displayHeight", "displayPpi", "connectionPort":
		n, ok := value.(int64)
		if !ok {
			return nil, wrongType(key, "a whole number", value)
		}
		if n < 1 || n > maxNumber {
			return nil, fmt.Errorf("%s is %d: it must be between 1 and %d", key, n, maxNumber)
		}
		return n, nil
	case "diagonalScreenSize":
		return checkDiagonal(value)
	case "connectionSecure":
		if _, ok := value.(bool); !ok {
			return nil, wrongType(key, "true or false", value)
		}
		return value, nil
	}
	if !slices.Contains(keys[:], key) {
		return nil, unknownKey(key)
	}
	text, ok := value.(string)
	if !ok {
		return nil, wrongType(key, "a string", value)
	}
	return checkText(key, text)
}

func checkDiagonal(value any) (any, error) {
	var inches float64
	switch n := value.(type) {
	case int64:
		inches = float64(n)
	case float64:
		inches = n
	default:
		return nil, wrongType("diagonalScreenSize", "a number of inches", value)
	}
	if math.IsNaN(inches) || inches <= 0 || inches > maxNumber {
		return nil, fmt.Errorf("diagonalScreenSize is %v: it must be a number of inches above 0", value)
	}
	return inches, nil
}

func checkText(key, text string) (any, error) {
	if !utf8.ValidString(text) {
		return nil, fmt.Errorf("%s is not valid UTF-8", key)
	}
	cleaned := clean([]byte(text))
	switch {
	case strings.ContainsRune(text, 0):
		return nil, fmt.Errorf("%s holds a NUL character", key)
	case len(text) > maxText:
		return nil, fmt.Errorf("%s is %d bytes long: at most %d are allowed", key, len(text), maxText)
	case cleaned == "":
		return nil, fmt.Errorf("%s is empty: leave the line out instead", key)
	}
	if values := allowed(key); values != nil && !slices.Contains(values, cleaned) {
		return nil, fmt.Errorf("%s is %q: allowed are %s", key, cleaned, strings.Join(values, ", "))
	}
	if key == "connectionIp" {
		addr, err := netip.ParseAddr(cleaned)
		if err != nil || addr.Zone() != "" {
			return nil, fmt.Errorf("connectionIp is %q: it must be an IP address such as 8.8.8.8, without port or zone",
				cleaned)
		}
		return addr.Unmap().String(), nil
	}
	return cleaned, nil
}

func wrongType(key, want string, value any) error {
	return fmt.Errorf("%s must be %s, not %v", key, want, typeName(value))
}

func typeName(value any) string {
	switch v := value.(type) {
	case string:
		return fmt.Sprintf("the string %q", v)
	case int64, float64:
		return fmt.Sprintf("the number %v", v)
	case bool:
		return fmt.Sprint(v)
	}
	return "a list, a table or a date"
}

func unknownKey(key string) error {
	if best := Nearest(key, keys[:]); best != "" {
		return fmt.Errorf("unknown X-Device-Info key %q: did you mean %s?", key, best)
	}
	return fmt.Errorf("unknown X-Device-Info key %q: the keys are %s", key, strings.Join(keys[:], ", "))
}

// Nearest returns the word that was probably meant by one that was mistyped; ""
// if none is close.
func Nearest(written string, words []string) string {
	best, distance := "", 4 // with more mistakes it is a guess
	for _, word := range words {
		if d := editDistance(strings.ToLower(word), strings.ToLower(written)); d < distance && 2*d < len(word) {
			best, distance = word, d
		}
	}
	return best
}

// editDistance counts the bytes to insert, delete or replace (Levenshtein). A
// text much longer than a key is only known to be far.
func editDistance(a, b string) int {
	if len(b) > 2*len(a)+4 {
		return len(b)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
