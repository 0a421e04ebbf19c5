package device

import (
	"slices"
	"strings"
)

// What vendors leave in place of a real value. The words were counted over 162,864 DMI dumps (linuxhw/DMI), the serial
// numbers, UUIDs and MAC addresses come from reports of devices that share them.
var (
	junkWords = []string{
		"to be filled by oem", "to be filled", "default string", "$(default_string)", "not specified", "not applicable",
		"not available", "not defined", "not settable", "none", "null", "n/a", "na", "unknown", "unknown product",
		"undefined", "invalid", "empty", "system manufacturer", "system product name", "system version",
		"system serial number", "system sku#", "system sku", "system skunumber", "system sku number unknown", "sku",
		"default sku", "asus-notebooksku", "asus-tabletsku", "nettopsku", "base board product name", "base board version",
		"base board serial number", "base board manufacturer", "chassis serial number", "type1family",
		"type1productconfigid", "type1sku0", "pega family", "x.x", "x.xx", "rev x.0x", "rev x.xx", "other", "aptio crb",
	}
	junkSerials = []string{
		"c3d9b8674f4b94f6", // Rockchip's boot loader, on every board without vendor storage
		"0123456789", "0123456789abcdef", "123456789", "12345678", "0x0",
	}
	junkUUIDs = []string{
		"03000200-0400-0500-0006-000700080009", "00020003-0004-0005-0006-000700080009", // AMI's default, both byte orders
		"00010203-0405-0607-0809-0a0b0c0d0e0f", "deadbeef-dead-beef-dead-beefdeadbeef",
		"03d40274-0435-05dc-8506-010700080009", "33695052-0000-0000-0000-000000000000", // "RPi3"
	}
	junkMACs = []string{
		"001518018131", // Amlogic's boot loader
		"001122334455",
	}
	junkModels = []string{"generic", "linux,dummy-virt"}
)

// isJunk says whether a text stands in the place of a value that nobody filled in.
func isJunk(text string) bool {
	text = strings.ToLower(strings.TrimSpace(text))
	return oneCharacter(text) || slices.Contains(junkWords, text) ||
		strings.Trim(text, " .-_*") == "" ||
		isTypeLabel(text) || isCounting(text) || slices.Contains(words(text), "1234567890") ||
		strings.ReplaceAll(lastWord(text), ".", "") == "oem"
}

// isJunkSerial says whether a serial number is one that several devices carry.
func isJunkSerial(serial string) bool {
	return isJunk(serial) || slices.Contains(junkSerials, strings.ToLower(strings.TrimSpace(serial)))
}

// isJunkUUID says whether a DMI product UUID is one that several devices carry.
func isJunkUUID(uuid string) bool {
	uuid = strings.ToLower(uuid)
	bare := strings.ReplaceAll(uuid, "-", "")
	return isJunkSerial(uuid) || oneCharacter(bare) || slices.Contains(junkUUIDs, uuid) ||
		bare == strings.Repeat("fe", 16)
}

// isJunkModel says whether a device-tree model names no device: a placeholder, or the SoC's vendor alone ("Amlogic").
func isJunkModel(model string) bool {
	return isJunk(model) || slices.Contains(junkModels, strings.ToLower(model)) || isVendor(model)
}

// oneCharacter: "", "0", "xxxx", "ffffffff".
func oneCharacter(text string) bool {
	return text == "" || strings.Trim(text, firstRune(text)) == ""
}

func firstRune(text string) string {
	for _, r := range text {
		return string(r)
	}
	return ""
}

// isTypeLabel: "Type2 - Board Version", the name of a DMI field instead of its value.
func isTypeLabel(text string) bool {
	rest, ok := strings.CutPrefix(text, "type")
	return ok && len(rest) > 2 && (rest[0] == '1' || rest[0] == '2') && strings.HasPrefix(strings.TrimPrefix(rest[1:], " "), "- ")
}

// isCounting: "123456789", "0123456789012".
func isCounting(text string) bool {
	rest, ok := strings.CutPrefix(strings.TrimPrefix(text, "0"), "123456789")
	return ok && digits(rest) == len(rest)
}

func lastWord(text string) string {
	return text[strings.LastIndexByte(text, ' ')+1:]
}
