package device

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxText bounds every text that goes into the header, in bytes.
const maxText = 255

// clean makes a text for the header out of a file's content: up to the first
// NUL, valid UTF-8 without control characters, each run of white space one
// blank, at most 255 bytes.
func clean(raw []byte) string {
	raw, _, _ = bytes.Cut(raw, []byte{0})
	raw = raw[:min(len(raw), 16*maxText)] // what stands further back can't count
	text := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && !unicode.IsSpace(r) || r == '\uFEFF' {
			return -1
		}
		return r
	}, strings.ToValidUTF8(string(raw), ""))
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > maxText {
		end := maxText
		for !utf8.RuneStart(text[end]) {
			end--
		}
		text = strings.TrimSpace(text[:end])
	}
	return text
}

// dialect is how a kind of file writes its KEY=VALUE lines.
type dialect struct {
	separators string // any of these ends the key
	shell      bool   // the file is meant to be sourced by a shell: quotes count, and the last of several equal keys
}

var (
	shellFile    = dialect{separators: "=", shell: true}  // os-release, device.properties, openwrt_release, enigma.info
	propertyFile = dialect{separators: "="}               // build.prop: no quotes, and the first ro.* of a name is final
	versionFile  = dialect{separators: "=:", shell: true} // RDK's version.txt mixes "imagename:x" with shell lines
	cpuinfoFile  = dialect{separators: ":"}
)

// parse reads KEY=VALUE lines. It leaves out a line that makes no sense, one
// whose value only a shell could work out, and the last line of a file that was
// cut at 64 KiB.
func (d dialect) parse(data []byte) map[string]string {
	values := map[string]string{}
	text := strings.TrimPrefix(string(wholeLines(data)), "\uFEFF")
	for _, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		at := strings.IndexAny(line, d.separators)
		if at < 1 || line[0] == '#' {
			continue
		}
		key, value := strings.TrimSpace(line[:at]), strings.TrimSpace(line[at+1:])
		if d.shell {
			key = strings.TrimSpace(strings.TrimPrefix(key, "export "))
			unquoted, ok := unquote(value)
			if !ok {
				continue
			}
			value = unquoted
		} else if _, known := values[key]; known {
			continue
		}
		values[key] = value
	}
	return values
}

// unquote takes a shell's quotes and backslashes away. It is false if a quote is
// left open or a shell would substitute something ($name, `command`). An unquoted
// value may hold blanks: vendors write it so, and mean it.
func unquote(value string) (string, bool) {
	if value == "" {
		return "", true
	}
	quote := value[0]
	switch quote {
	case '\'':
		text, _, closed := strings.Cut(value[1:], "'")
		return text, closed
	case '"':
		value = value[1:]
	default:
		quote = 0
	}
	var text strings.Builder
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case quote != 0 && c == quote:
			return text.String(), true
		case c == '\\' && i+1 < len(value):
			i++
			if quote != 0 && !strings.ContainsRune("\"$`\\", rune(value[i])) {
				text.WriteByte('\\')
			}
			text.WriteByte(value[i])
		case c == '$' || c == '`':
			return "", false
		default:
			text.WriteByte(c)
		}
	}
	return text.String(), quote == 0
}

// jsonTexts returns the strings of a JSON object; those of an object within it
// as "outer.inner". What follows the object does not matter: a set was seen with
// a second closing brace in its device_info.json.
func jsonTexts(data []byte) map[string]string {
	var object map[string]any
	err := json.Unmarshal(data, &object)
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok { // once more without it
		err = json.Unmarshal(data[:max(syntax.Offset-1, 0)], &object)
	}
	if err != nil {
		return nil
	}
	texts := map[string]string{}
	for key, value := range object {
		switch value := value.(type) {
		case string:
			texts[key] = value
		case map[string]any:
			for inner, value := range value {
				if text, ok := value.(string); ok {
					texts[key+"."+inner] = text
				}
			}
		}
	}
	return texts
}

// naturalOrder compares names as people number things: HDMI-A-2 before
// HDMI-A-10.
func naturalOrder(a, b string) int {
	for a != "" && b != "" {
		na, nb := digits(a), digits(b)
		if na == 0 || nb == 0 {
			if c := cmp.Compare(a[0], b[0]); c != 0 {
				return c
			}
			a, b = a[1:], b[1:]
			continue
		}
		x, y := strings.TrimLeft(a[:na], "0"), strings.TrimLeft(b[:nb], "0")
		if c := cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y), cmp.Compare(na, nb)); c != 0 {
			return c
		}
		a, b = a[na:], b[nb:]
	}
	return cmp.Compare(len(a), len(b))
}

// digits counts the digits that a text begins with.
func digits(text string) int {
	return len(text) - len(strings.TrimLeft(text, "0123456789"))
}
