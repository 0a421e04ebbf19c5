package dcrtest

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"
)

// The keys of "Header - X-Device-Info" that must be there, those that are
// numbers, and the sets that are restricted. Everything else that the page
// names is text, except connectionSecure. Keys that it does not name are
// allowed.
var (
	requiredKeys = []string{"model", "version", "osName", "osVersion", "connectionType"}
	wholeKeys    = []string{"displayWidth", "displayHeight", "connectionPort"}
	numberKeys   = []string{"displayPpi", "diagonalScreenSize"}
	textKeys     = []string{
		"primaryHardwareType", "model", "version", "manufacturer", "vendor", "osName", "osFamily", "osVendor", "osVersion",
		"browserName", "browserVendor", "browserVersion", "userAgent", "connectionIp", "connectionType", "applicationId",
	}
	restricted = map[string][]string{
		"primaryHardwareType": {
			"Camera", "DataCollectionTerminal", "Desktop", "EmbeddedNetworkModule", "eReader", "GamesConsole",
			"GeolocationTracker", "Glasses", "MediaPlayer", "MobilePhone", "PaymentTerminal", "PluginModem", "SetTopBox",
			"TV", "Tablet", "WirelessHotspot", "Wristwatch", "Unknown",
		},
		"osName": {
			"Android", "Chrome OS", "Linux", "Mac OS", "OS X", "OpenBSD", "Roku OS", "Windows", "iOS", "tvOS", "webOS",
		},
		"osFamily": {
			"Android", "BSD", "Linux", "PlayStation OS", "Roku OS", "Symbian", "Tizen", "Windows", "iOS", "tvOS", "macOS",
			"webOS",
		},
		"osVendor": {
			"Amazon", "Apple", "Google", "LG", "Microsoft", "Mozilla", "Nintendo", "Nokia", "Roku", "Samsung", "Sony",
			"Tizen Project",
		},
	}
)

// deviceInfo reads the X-Device-Info header. With an error it returns what can
// be read.
func deviceInfo(h http.Header) (map[string]any, error) {
	values := h.Values("X-Device-Info")
	if len(values) != 1 {
		return nil, fmt.Errorf("there are %d X-Device-Info headers, not 1", len(values))
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(values[0])
	if err != nil {
		return nil, errors.New("the X-Device-Info header is not padded standard base64")
	}
	info, err := decodeObject(raw)
	if err != nil {
		return nil, fmt.Errorf("the X-Device-Info header %w", err)
	}
	for _, key := range requiredKeys {
		if text, _ := info[key].(string); strings.TrimSpace(text) == "" {
			return info, fmt.Errorf("the X-Device-Info header's %s is missing, empty or not a string", key)
		}
	}
	for key, value := range info {
		if why := wrongValue(key, value); why != "" {
			return info, fmt.Errorf("the X-Device-Info header's %s %s", key, why)
		}
	}
	return info, nil
}

// wrongValue returns what is wrong with the value of a key, "" if nothing is.
func wrongValue(key string, value any) string {
	number, isNumber := value.(float64)
	text, isText := value.(string)
	switch {
	case key == "connectionSecure":
		if _, ok := value.(bool); !ok {
			return "is not true or false"
		}
	case slices.Contains(wholeKeys, key):
		if !isNumber || number < 1 || number != math.Trunc(number) {
			return "is not a positive whole number"
		}
		if key == "connectionPort" && number > 65535 {
			return "is not a port"
		}
	case slices.Contains(numberKeys, key):
		if !isNumber || number <= 0 {
			return "is not a positive number"
		}
	case slices.Contains(textKeys, key):
		if !isText {
			return "is not a string"
		}
		if allowed := restricted[key]; allowed != nil && !slices.Contains(allowed, text) {
			return fmt.Sprintf("is %q, which is not among the allowed values", text)
		}
	}
	return ""
}

// checkIdentifier judges the AP-Device-Identifier header: "fingerprint" and the
// base64 of a SHA-256 in hexadecimal ("Header - AP-Device-Identifier").
func checkIdentifier(h http.Header) error {
	values := h.Values("AP-Device-Identifier")
	if len(values) != 1 {
		return fmt.Errorf("there are %d AP-Device-Identifier headers, not 1", len(values))
	}
	encoded, ok := strings.CutPrefix(values[0], "fingerprint ")
	if !ok {
		return errors.New(`the AP-Device-Identifier header does not begin with "fingerprint "`)
	}
	value, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return errors.New("the AP-Device-Identifier header is not padded standard base64")
	}
	if hash, err := hex.DecodeString(string(value)); err != nil || len(hash) != 32 {
		return errors.New("the AP-Device-Identifier header does not hold 64 hexadecimal digits")
	}
	return nil
}

// decodeObject reads one JSON object. A repeated key is an error: readers
// differ in which of the two they take. Errors complete a sentence, and never
// quote the object.
func decodeObject(raw []byte) (map[string]any, error) {
	errNoObject := errors.New("is not a JSON object")
	if !utf8.Valid(raw) {
		return nil, errors.New("is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return nil, errNoObject
	}
	object := map[string]any{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, errNoObject
		}
		var value any
		if err := d.Decode(&value); err != nil {
			return nil, errNoObject
		}
		name, _ := key.(string) // the decoder accepts nothing else
		if _, ok := object[name]; ok {
			return nil, errors.New("repeats a key")
		}
		object[name] = value
	}
	if _, err := d.Token(); err != nil {
		return nil, errNoObject
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("has something behind its JSON object")
	}
	return object, nil
}
