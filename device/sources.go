package device

import (
	"bytes"
	"strings"

	"golang.org/x/sys/unix"
)

// source is one place that a value may stand in. find returns the text, cleaned, and where it was; "" if it isn't there.
type source interface {
	find(p *probe) (text, where string)
}

// propertyFiles are Android's, in the order in which it loads them: of several ro.* of a name the first counts.
var propertyFiles = []string{
	"/default.prop", "/system/etc/prop.default", "/system/build.prop",
	"/system_ext/etc/build.prop", "/system/system_ext/etc/build.prop", "/system/system_ext/build.prop",
	"/vendor/default.prop", "/vendor/build.prop",
	"/odm/etc/build.prop", "/vendor/odm/etc/build.prop", "/odm/build.prop",
	"/product/etc/build.prop", "/product/build.prop", "/system/product/etc/build.prop", "/system/product/build.prop",
}

// partitions are those of an Android image, as they stand in the names of ro.product properties.
var partitions = []string{"", "odm.", "vendor.", "product.", "system."}

// file is a file that holds one value.
type file string

func (name file) find(p *probe) (string, string) { return p.text(string(name)), string(name) }

// field is the value of KEY in a file of KEY=VALUE lines.
type field struct {
	dialect   dialect
	file, key string
}

func (f field) find(p *probe) (string, string) {
	return clean([]byte(p.fields(f.dialect, f.file)[f.key])), f.file + " " + f.key
}

// osRelease is a field of os-release, which stands in one of two places.
type osRelease string

func (key osRelease) find(p *probe) (string, string) {
	return first{field{shellFile, "/etc/os-release", string(key)}, field{shellFile, "/usr/lib/os-release", string(key)}}.find(p)
}

// jsonField is a string in a file that holds a JSON object.
type jsonField struct{ file, key string }

func (f jsonField) find(p *probe) (string, string) {
	return clean([]byte(p.json(f.file)[f.key])), f.file + " " + f.key
}

// property is an Android system property that is set at build time.
type property string

func (key property) find(p *probe) (string, string) {
	for _, name := range propertyFiles {
		if text, where := (field{propertyFile, name, string(key)}).find(p); text != "" {
			return text, where
		}
	}
	return "", ""
}

// product is an Android ro.product property. Since Android 10 images need not hold ro.product.model itself: the system
// makes it at start of those of its partitions.
type product string

func (key product) find(p *probe) (string, string) {
	for _, partition := range partitions {
		if text, where := property("ro.product." + partition + string(key)).find(p); text != "" {
			return text, where
		}
	}
	return "", ""
}

// bootArgument is the value of name= on the kernel's command line.
type bootArgument string

func (name bootArgument) find(p *probe) (string, string) {
	return p.bootArgument(string(name)), "/proc/cmdline " + string(name)
}

// kernelRelease is what the kernel itself says, so only on a live system.
type kernelRelease struct{}

func (kernelRelease) find(p *probe) (string, string) {
	var name unix.Utsname
	if !p.live || unix.Uname(&name) != nil {
		return "", ""
	}
	return clean(name.Release[:]), "uname"
}

// first is the first of several places that holds something.
type first []source

func (places first) find(p *probe) (string, string) {
	for _, place := range places {
		if text, where := place.find(p); text != "" {
			return text, where
		}
	}
	return "", ""
}

// when is a value that counts only where another place satisfies a condition.
type when struct {
	condition source
	holds     func(text string) bool
	then      source
}

func (w when) find(p *probe) (string, string) {
	if text, _ := w.condition.find(p); !w.holds(text) {
		return "", ""
	}
	return w.then.find(p)
}

// only is a value that counts only if it satisfies a condition.
type only struct {
	place source
	holds func(text string) bool
}

func (o only) find(p *probe) (string, string) {
	text, where := o.place.find(p)
	if !o.holds(text) {
		return "", ""
	}
	return text, where
}

// means is a value that there is wherever a place holds anything.
type means struct {
	place source
	value string
}

func (m means) find(p *probe) (string, string) {
	text, where := m.place.find(p)
	if text == "" {
		return "", ""
	}
	return m.value, where
}

// boardMaker is the maker that a file with "vendor,board" names; the file with the board's model gives the spelling.
type boardMaker struct{ compatible, model string }

func (b boardMaker) find(p *probe) (string, string) {
	return vendorOf(p.text(b.compatible), p.text(b.model)), b.compatible
}

// present is where a file or folder exists; its text is the path.
type present string

func (name present) find(p *probe) (string, string) {
	if !p.exists(string(name)) {
		return "", ""
	}
	return string(name), string(name)
}

// sameAs is the value of a key that the rules have dealt with before.
type sameAs string

func (key sameAs) find(p *probe) (string, string) {
	value, _ := p.info.Get(string(key))
	text, _ := value.(string)
	return text, p.sources[string(key)]
}

// constant is a value that needs no place.
type constant struct{ text, where string }

func (c constant) find(*probe) (string, string) { return c.text, c.where }

// text is a whole file's value; "" if there is none.
func (t *tree) text(name string) string {
	data, err := t.read(name)
	if err != nil {
		return ""
	}
	return clean(data)
}

// firstLine is a file's first line, however long, without the white space around it.
func (t *tree) firstLine(name string) string {
	data, err := t.read(name)
	if err != nil {
		return ""
	}
	line, _, _ := bytes.Cut(data, []byte("\n"))
	return string(bytes.TrimSpace(line))
}

// fields parses a file of KEY=VALUE lines; nil if there is none.
func (t *tree) fields(d dialect, name string) map[string]string {
	return t.parsed(name, func(data []byte) map[string]string { return d.parse(data) })
}

// json parses a file that holds a JSON object; nil if there is none.
func (t *tree) json(name string) map[string]string { return t.parsed(name, jsonTexts) }

func (t *tree) parsed(name string, parse func([]byte) map[string]string) map[string]string {
	if values, ok := t.values[name]; ok {
		return values
	}
	var values map[string]string
	if data, err := t.read(name); err == nil {
		values = parse(data)
	}
	t.values[name] = values
	return values
}

func (t *tree) bootArgument(name string) string {
	for argument := range strings.FieldsSeq(t.firstLine("/proc/cmdline")) {
		if value, ok := strings.CutPrefix(argument, name+"="); ok {
			return clean([]byte(strings.Trim(value, `"`)))
		}
	}
	return ""
}
