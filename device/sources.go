package device

import (
	"bytes"
	"strings"

	"golang.org/x/sys/unix"
)

// source is one place that a value may stand in. It returns the text, cleaned, and where it was; "" if it isn't there.
type source func(p *probe) (text, where string)

// propertyFiles are Android's, in the order in which it loads them: of several ro.* of a name the first counts.
var propertyFiles = []string{
	"/default.prop", "/system/etc/prop.default", "/system/build.prop",
	"/system_ext/etc/build.prop", "/system/system_ext/etc/build.prop", "/system/system_ext/build.prop",
	"/vendor/default.prop", "/vendor/build.prop",
	"/odm/etc/build.prop", "/vendor/odm/etc/build.prop", "/odm/build.prop",
	"/product/etc/build.prop", "/product/build.prop", "/system/product/etc/build.prop", "/system/product/build.prop",
}

// file is a file that holds one value.
func file(name string) source {
	return func(p *probe) (string, string) { return p.text(name), name }
}

// deviceTree is a string property of the device tree's root node; of a list of strings it is the first.
func deviceTree(name string) source { return file("/proc/device-tree/" + name) }

// dmi is a value that the firmware gives in its SMBIOS tables.
func dmi(name string) source { return file("/sys/class/dmi/id/" + name) }

// field is the value of KEY in a file of KEY=VALUE lines.
func field(d dialect, name, key string) source {
	return func(p *probe) (string, string) { return clean([]byte(p.fields(d, name)[key])), name + " " + key }
}

// osRelease is a field of os-release, which stands in one of two places.
func osRelease(key string) source {
	return first(field(shellFile, "/etc/os-release", key), field(shellFile, "/usr/lib/os-release", key))
}

// jsonField is a string in a file that holds a JSON object.
func jsonField(name, key string) source {
	return func(p *probe) (string, string) { return clean([]byte(p.json(name)[key])), name + " " + key }
}

// property is an Android system property that is set at build time.
func property(key string) source {
	places := make([]source, len(propertyFiles))
	for i, name := range propertyFiles {
		places[i] = field(propertyFile, name, key)
	}
	return first(places...)
}

// product is an Android ro.product property. Since Android 10 images need not hold ro.product.model itself: the system
// makes it at start of those of its partitions.
func product(key string) source {
	return first(property("ro.product."+key), property("ro.product.odm."+key), property("ro.product.vendor."+key),
		property("ro.product.product."+key), property("ro.product.system."+key))
}

// bootArgument is the value of name= on the kernel's command line.
func bootArgument(name string) source {
	return func(p *probe) (string, string) { return p.bootArgument(name), "/proc/cmdline " + name }
}

// kernelRelease asks the kernel itself, so only on a live system.
func kernelRelease(p *probe) (string, string) {
	var name unix.Utsname
	if !p.live || unix.Uname(&name) != nil {
		return "", ""
	}
	return clean(name.Release[:]), "uname"
}

// first is the first of several places that holds something.
func first(places ...source) source {
	return func(p *probe) (string, string) {
		for _, place := range places {
			if text, where := place(p); text != "" {
				return text, where
			}
		}
		return "", ""
	}
}

// when is a value that counts only where another place satisfies a condition.
func when(condition source, holds func(string) bool, then source) source {
	return func(p *probe) (string, string) {
		if text, _ := condition(p); !holds(text) {
			return "", ""
		}
		return then(p)
	}
}

// present is where a file or folder exists; its text is the path.
func present(name string) source {
	return func(p *probe) (string, string) {
		if !p.exists(name) {
			return "", ""
		}
		return name, name
	}
}

// sameAs is the value of a key that the rules have dealt with before.
func sameAs(key string) source {
	return func(p *probe) (string, string) {
		value, _ := p.info.Get(key)
		text, _ := value.(string)
		return text, p.sources[key]
	}
}

// constant is a value that needs no place.
func constant(text, where string) source {
	return func(*probe) (string, string) { return text, where }
}

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
