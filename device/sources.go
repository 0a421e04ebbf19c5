package device

import (
	"strings"

	"golang.org/x/sys/unix"
)

// finding is what a source found at one place: a text, cleaned, or the reason
// why there is none. Without either, there is nothing at that place.
type finding struct{ text, where, why string }

// source is one or several places that a value may stand in. offer hands over
// what it finds, the best first, until take accepts one, and returns what take
// returned last.
type source interface {
	offer(p *probe, take func(finding) bool) bool
}

// file is a file that holds one value.
type file string

func (name file) offer(p *probe, take func(finding) bool) bool {
	return take(finding{text: p.text(string(name)), where: string(name)})
}

// field is the value of KEY in a file of KEY=VALUE lines.
type field struct {
	dialect   dialect
	file, key string
}

func (f field) offer(p *probe, take func(finding) bool) bool {
	return take(finding{text: clean([]byte(p.fields(f.dialect, f.file)[f.key])), where: f.file + " " + f.key})
}

// osRelease is a field of os-release, which stands in one of two places.
type osRelease string

func (key osRelease) offer(p *probe, take func(finding) bool) bool {
	return first{
		field{shellFile, "/etc/os-release", string(key)},
		field{shellFile, "/usr/lib/os-release", string(key)},
	}.offer(p, take)
}

// jsonField is a string in a file that holds a JSON object; "a.b" is the member
// b of its member a.
type jsonField struct{ file, key string }

func (f jsonField) offer(p *probe, take func(finding) bool) bool {
	return take(finding{text: clean([]byte(p.json(f.file)[f.key])), where: f.file + " " + f.key})
}

// bootArgument is the value of name= that the boot loader gave the kernel.
type bootArgument string

func (name bootArgument) offer(p *probe, take func(finding) bool) bool {
	found := p.bootArguments(string(name))
	for _, f := range found {
		if take(f) {
			return true
		}
	}
	return len(found) == 0 && take(finding{where: commandLine + " " + string(name)})
}

// kernelRelease is what the kernel itself says, so only on a live device.
type kernelRelease struct{}

func (kernelRelease) offer(p *probe, take func(finding) bool) bool {
	f := finding{where: "uname"}
	var name unix.Utsname
	if p.live && unix.Uname(&name) == nil {
		f.text = clean(name.Release[:])
	}
	return take(f)
}

// first is several places.
type first []source

func (places first) offer(p *probe, take func(finding) bool) bool {
	for _, place := range places {
		if place.offer(p, take) {
			return true
		}
	}
	return false
}

// when is a value that counts only if another place satisfies a condition.
type when struct {
	condition source
	holds     func(text string) bool
	then      source
}

func (w when) offer(p *probe, take func(finding) bool) bool {
	met := w.holds(p.get(w.condition))
	return w.then.offer(p, func(f finding) bool {
		if !met && f.text != "" {
			f.text, f.why = "", "counts on other devices"
		}
		return take(f)
	})
}

// on is a place that counts only on one system.
type on struct{ system, then source }

func (o on) offer(p *probe, take func(finding) bool) bool {
	return when{o.system, isSomething, o.then}.offer(p, take)
}

// only is a value that counts only if it satisfies a condition.
type only struct {
	place source
	holds func(text string) bool
}

func (o only) offer(p *probe, take func(finding) bool) bool {
	return o.place.offer(p, func(f finding) bool {
		if f.text != "" && !o.holds(f.text) {
			f.text, f.why = "", "says otherwise"
		}
		return take(f)
	})
}

// means is a value that follows from a place that holds anything.
type means struct {
	place source
	value string
}

func (m means) offer(p *probe, take func(finding) bool) bool {
	return m.place.offer(p, func(f finding) bool {
		if f.text != "" {
			f.text = m.value
		}
		return take(f)
	})
}

// boardMaker is the maker that a place with "vendor,board" names. The place with
// the board's model gives the spelling, or the maker where the first one names
// only the chip.
type boardMaker struct{ compatible, model source }

func (b boardMaker) offer(p *probe, take func(finding) bool) bool {
	model := p.get(b.model)
	return b.compatible.offer(p, func(f finding) bool {
		f.text = vendorOf(f.text, model)
		return take(f)
	})
}

// vuPlus is the maker of devices with Vu+'s file. Clones have it too, and call
// themselves something else.
type vuPlus struct{}

func (vuPlus) offer(p *probe, take func(finding) bool) bool {
	name := strings.ToLower(p.get(stbModel))
	return file(stbInfo+"vumodel").offer(p, func(f finding) bool {
		switch {
		case f.text == "":
		case name == "" || strings.Contains(name, strings.ToLower(f.text)):
			f.text = "Vu+"
		default:
			f.text, f.why = "", "the device calls itself "+name
		}
		return take(f)
	})
}

// present is a file or folder that exists; its text is the path.
type present string

func (name present) offer(p *probe, take func(finding) bool) bool {
	f := finding{where: string(name)}
	if p.exists(string(name)) {
		f.text = string(name)
	}
	return take(f)
}

// sameAs is the value of a key that the rules have dealt with before.
type sameAs string

func (key sameAs) offer(p *probe, take func(finding) bool) bool {
	value, _ := p.report.Info.Get(string(key))
	text, _ := value.(string)
	return take(finding{text: text, where: p.report.Sources[string(key)]})
}

// constant is a value that needs no place.
type constant struct{ text, where string }

func (c constant) offer(_ *probe, take func(finding) bool) bool {
	return take(finding{text: c.text, where: c.where})
}

// The boot loader's arguments stand on the kernel's command line, or, since
// Android 12, in a file of their own.
const (
	commandLine = "/proc/cmdline"
	bootConfig  = "/proc/bootconfig"
)

// bootArguments returns the values of an argument, and where they stand.
func (t *tree) bootArguments(name string) []finding {
	var found []finding
	add := func(value, file string) {
		if text := clean([]byte(strings.Trim(value, `"`))); text != "" {
			found = append(found, finding{text: text, where: file + " " + name})
		}
	}
	for _, argument := range strings.Fields(t.firstLine(commandLine)) {
		if value, ok := strings.CutPrefix(argument, name+"="); ok {
			add(value, commandLine)
		}
	}
	add(t.fields(propertyFile, bootConfig)[name], bootConfig) // name = "value"
	return found
}
