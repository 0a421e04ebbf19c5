package device

import (
	"slices"
	"strings"
	"unicode"
)

// Makers leave something in place of a value that they did not fill in: the
// field's name, a placeholder, a filler. For words the rule is that nothing else
// stands there; the lists are for what looks like a value and is not. They were
// counted over 162,864 DMI dumps (linuxhw/DMI).
var (
	// fieldWords name a field or say that it is empty. A text made of nothing
	// else says nothing: "To Be Filled By O.E.M.", "no_serial", "All Series".
	fieldWords = []string{
		"all", "applicable", "asset", "available", "bad", "base", "baseboard", "be", "bios", "board", "by",
		"chassis", "configured", "customer", "default", "defined", "device", "empty", "enclosure", "family", "fill",
		"filled", "filler", "id", "identifier", "index", "info", "information", "invalid", "mainboard",
		"manufacture", "manufacturer", "mfg", "missing", "model", "motherboard", "name", "nil", "no", "none", "not",
		"null", "num", "number", "o", "odm", "oem", "other", "part", "placeholder", "present", "product",
		"programmed", "reserved", "rev", "revision", "serial", "serialno", "series", "set", "settable", "sku", "sn",
		"specified", "string", "system", "tag", "tba", "tbd", "the", "this", "to", "type", "undefined", "unknow",
		"unknown", "unkown", "unset", "unspecified", "uuid", "value", "vendor", "version",
	}
	junkTexts = []string{ // in lower case, letters and digits alone
		"aptiocrb", "asusnotebooksku", "asustabletsku", "na", "nettopsku", "pegafamily", "pn", "sn", "type1family",
		"type1productconfigid", "type1sku0",
	}
	genericNames = []string{"generic", "linuxdummyvirt", "mainline", "genericdtbasedsystem"}
)

const (
	whyEmpty  = "is empty"
	whyFiller = "is a filler"
	whyField  = "names the field instead of a value"
	whyJunk   = "is a known placeholder"
	whyCounts = "counts up or down"
	whyMaker  = "is a maker's name alone"
)

// doubtText says why a text can't be a model, version or maker; "" if it can.
// Short values are real: version "2", "A" and "11" exist.
func doubtText(text string) string {
	list := words(text)
	switch {
	case len(list) == 0:
		return whyFiller
	case slices.Contains(junkTexts, strings.Join(list, "")), isTypeLabel(text),
		strings.ReplaceAll(lastWord(text), ".", "") == "oem":
		return whyJunk
	case !slices.ContainsFunc(list, func(w string) bool { return !isFiller(w) }):
		return whyFiller
	case !slices.ContainsFunc(list, func(w string) bool { return !isFiller(w) && !isFieldWord(w) }):
		return whyField
	case slices.ContainsFunc(list, func(w string) bool { return longestRun(w) >= minRun }):
		return whyCounts
	}
	return ""
}

// doubtModel is doubtText for a board's name, which may be that of the chip's
// maker.
func doubtModel(text string) string {
	switch {
	case isGenericName(text):
		return whyJunk
	case isVendor(text):
		return whyMaker
	}
	return doubtText(text)
}

// isGenericName reports whether a name is that of an image or kernel that is made
// for any device.
func isGenericName(name string) bool {
	return slices.Contains(genericNames, strings.Join(words(name), "")) || strings.HasPrefix(name, "generic_")
}

// isFieldWord reports whether a word in lower case is a field word, or several
// that were written as one: "serialnumber", "noserial".
func isFieldWord(word string) bool {
	const maxWord = 40 // several in one; nothing longer is worth the search
	if slices.Contains(fieldWords, word) {
		return true
	}
	if len(word) > maxWord {
		return false
	}
	for _, w := range fieldWords {
		if rest, ok := strings.CutPrefix(word, w); ok && (len(w) > 2 || w == "no") && isFieldWord(rest) {
			return true
		}
	}
	return false
}

// isFiller reports whether a word in lower case is made of what fills a field:
// "0", "xx", "ffff", "0x". A single letter f may be a revision.
func isFiller(word string) bool {
	return strings.Trim(word, "0x") == "" || len(word) > 1 && strings.Trim(word, "f") == ""
}

// isTypeLabel reports whether a text names a DMI field: "Type2 - Board Version".
func isTypeLabel(text string) bool {
	rest, ok := strings.CutPrefix(strings.ToLower(text), "type")
	return ok && len(rest) > 2 && (rest[0] == '1' || rest[0] == '2') &&
		strings.HasPrefix(strings.TrimPrefix(rest[1:], " "), "- ")
}

// lastWord returns what follows the last blank, in lower case.
func lastWord(text string) string {
	return strings.ToLower(text[strings.LastIndexByte(text, ' ')+1:])
}

// words splits a text into its runs of letters and digits, in lower case.
func words(text string) []string {
	return strings.FieldsFunc(strings.ToLower(text),
		func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
}
