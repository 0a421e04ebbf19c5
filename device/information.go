package device

import (
	"encoding/hex"
	"net"
	"slices"
	"strconv"
	"strings"
)

// Two devices that share an identifier are one device at the server, and sign
// each other out. So a serial number counts only if it holds information: what
// varies in it is judged, whatever source it comes from. The lists are for values
// that look random and are on many devices.
var (
	sharedSerials = []string{
		"c3d9b8674f4b94f6", // Rockchip's boot loader, on every board without vendor storage
		"20080411",         // Allwinner's Android images
	}
	sharedUUIDs = []string{
		"03d40274-0435-05dc-8506-010700080009", // AMI
		"33695052-0000-0000-0000-000000000000", // "RPi3", its first UEFI firmware
		"4c4c4544-0000-2010-8020-80c04f202020", // Dell without a service tag
	}
	sharedMACs = []string{
		"001518018131", // Amlogic's boot loader
		"00904c112233", // Broadcom's Wi-Fi without an address of its own
		"00904cc51238", // likewise
		"00e04c534458", // USB adapters with the chips RD9700 and SR9700
		"0c5b8f279a64", // Huawei's LTE sticks
		"582c80139263", // likewise
	}
)

const (
	minRun      = 8 // so many digits don't count up or down by coincidence
	minDistinct = 4 // different digits, beside padding

	whyShared   = "is on many devices"
	whyFew      = "has fewer than 4 different digits"
	whyNoDigit  = "has no digit"
	whyPeriodic = "repeats itself"
	whyShort    = "is too short"
	whyLong     = "is too long"
)

// doubtSerial says why a serial number can't tell devices apart; "" if it can.
func doubtSerial(serial string) string {
	core := strings.Map(func(r rune) rune {
		if '0' <= r && r <= '9' || 'a' <= r && r <= 'z' {
			return r
		}
		return -1
	}, strings.ToLower(serial))
	switch {
	case core == "":
		return whyEmpty
	case slices.Contains(sharedSerials, core):
		return whyShared
	}
	if why := doubtText(serial); why != "" {
		return why
	}
	core = strings.TrimPrefix(core, "0x")
	first := strings.IndexAny(core, "0123456789")
	if first < 0 {
		return whyNoDigit
	}
	tail := core[first:] // behind the letters that a whole series shares
	switch {
	case longestRun(core) >= minRun:
		return whyCounts
	case isHex(core) && len(core) >= minRun:
		if isRun(strings.Trim(tail, "0")) && len(tail) >= 6 {
			return whyCounts
		}
		return doubtDigits(core)
	case isHex(tail): // in a short one, letters in front are not digits
		return doubtDigits(tail)
	case distinct(core) < minDistinct:
		return whyFew
	case isPeriodic(core):
		return whyPeriodic
	}
	return ""
}

// doubtUUID is doubtSerial for a UUID, whose first three fields may stand in
// either byte order.
func doubtUUID(uuid string) string {
	uuid = strings.ToLower(uuid)
	bare := strings.ReplaceAll(uuid, "-", "")
	switch {
	case slices.Contains(sharedUUIDs, uuid):
		return whyShared
	case !isUUID(uuid):
		return doubtSerial(uuid)
	case longestRun(bare) >= minRun:
		return whyCounts
	}
	var swapped strings.Builder
	for _, at := range []int{6, 4, 2, 0, 10, 8, 14, 12} {
		swapped.WriteString(bare[at : at+2])
	}
	swapped.WriteString(bare[16:])
	if why := doubtDigits(bare); why != "" {
		return why
	}
	return doubtDigits(swapped.String())
}

// doubtBytes is doubtSerial for a serial number that is not text.
func doubtBytes(serial []byte) string {
	if len(serial) < 4 {
		return whyShort
	}
	return doubtDigits(hex.EncodeToString(serial))
}

// doubtDigits is doubtSerial for hexadecimal digits.
func doubtDigits(digits string) string {
	core := strings.Trim(digits, "0")
	if !isDecimal(digits) {
		core = strings.Trim(digits, "0f")
	}
	switch {
	case distinct(core) < minDistinct:
		return whyFew
	case !strings.ContainsAny(core, "0123456789"): // "deadbeef"
		return whyNoDigit
	case isRun(squeeze(core)), isProgression(digits, 2), isProgression(digits, 4):
		return whyCounts
	case isPeriodic(digits):
		return whyPeriodic
	}
	return ""
}

// doubtMAC says why a MAC address is not the one burnt into this adapter alone;
// "" if it may be. burntIn is false for an address that software made up.
func doubtMAC(mac net.HardwareAddr, assignType string) (why string, burntIn bool) {
	const multicast, local = 1, 2
	text := hex.EncodeToString(mac)
	switch {
	case len(mac) != 6:
		return "is not an Ethernet address", false
	case assignType != "0":
		return "was set by software (addr_assign_type " + assignType + ")", false
	case mac[0]&multicast != 0:
		return "is a multicast address", false
	case mac[0]&local != 0:
		return "is locally administered", false
	case slices.Contains(sharedMACs, text):
		return whyShared, true
	case isFillerHalf(mac[:3]), isFillerHalf(mac[3:]):
		return "has a half without information", true
	case isCountedHalf(mac[:3]), isCountedHalf(mac[3:]) && beginsCount(mac[3:]),
		isProgression(text, 2), longestRun(text) >= minRun:
		return whyCounts, true
	}
	return "", true
}

func isFillerHalf(half []byte) bool {
	return half[0] == half[1] && half[1] == half[2] && (half[0] == 0 || half[0] == 0xFF)
}

// isCountedHalf reports whether three bytes count up or down: 00:01:02,
// 33:22:11.
func isCountedHalf(half []byte) bool {
	step := half[1] - half[0]
	if half[2]-half[1] != step {
		return false
	}
	return step == 1 || step == 0x11 || -step == 1 || -step == 0x11
}

// beginsCount reports whether a count starts or ends where people start to
// count when they make up an address. Elsewhere it is one like any other: a maker
// gives out all of them, 0a:0b:0c too.
func beginsCount(half []byte) bool {
	first := min(half[0], half[2])
	return first == 1 || first == 0x11 || first == 0xAA || half[1]-half[0] == 1 && first == 0
}

// isHex reports whether a text is hexadecimal digits.
func isHex(text string) bool { return text != "" && strings.Trim(text, "0123456789abcdefABCDEF") == "" }

// isUUID reports whether a text is a UUID as DMI has it.
func isUUID(text string) bool {
	fields := strings.Split(text, "-")
	if len(fields) != 5 {
		return false
	}
	for i, length := range []int{8, 4, 4, 4, 12} {
		if len(fields[i]) != length || !isHex(fields[i]) {
			return false
		}
	}
	return true
}

func isDecimal(text string) bool { return text != "" && digits(text) == len(text) }

// distinct counts the different characters of an ASCII text.
func distinct(text string) int {
	var seen [256]bool
	n := 0
	for i := range len(text) {
		if !seen[text[i]] {
			seen[text[i]] = true
			n++
		}
	}
	return n
}

// follows reports whether b comes after a where people count with digits: 9 is
// followed by 0 or a, f by 0, and in "1234567890ABCDEF" 0 is followed by a.
func follows(a, b byte) bool {
	switch {
	case a == '9':
		return b == '0' || b == 'a'
	case a == 'f':
		return b == '0'
	case a == '0':
		return b == '1' || b == 'a'
	}
	return b == a+1
}

// longestRun returns the length of the longest run of lower-case hexadecimal
// digits that counts up or down.
func longestRun(text string) int {
	best, up, down := 0, 1, 1
	for i := 1; i < len(text); i++ {
		a, b := text[i-1], text[i]
		hexadecimal := isHex(text[i-1 : i+1])
		if up++; !hexadecimal || !follows(a, b) {
			up = 1
		}
		if down++; !hexadecimal || !follows(b, a) {
			down = 1
		}
		best = max(best, up, down)
	}
	return best
}

// isRun reports whether digits count up or down from the first to the last, by
// one or, if there are many, by any step.
func isRun(digits string) bool {
	return len(digits) > 2 && longestRun(digits) == len(digits) || isProgression(digits, 1)
}

// isProgression reports whether groups of hexadecimal digits differ by the same
// step, and are too many for a coincidence: 00010203..., 0002-0003-0004-...
func isProgression(digits string, group int) bool {
	const minGroups = 4
	count := len(digits) / group
	if len(digits)%group != 0 || count < minGroups || count*group < minRun {
		return false
	}
	modulus := 1 << (4 * group)
	at := func(i int) int {
		n, _ := strconv.ParseUint(digits[i*group:][:group], 16, 64)
		return int(n)
	}
	step := (at(1) - at(0) + modulus) % modulus
	for i := 2; i < count; i++ {
		if (at(i)-at(i-1)+modulus)%modulus != step {
			return false
		}
	}
	return true
}

// squeeze leaves one of each row of equal digits, if few rows make up the whole:
// "112233" is "123".
func squeeze(text string) string {
	var squeezed strings.Builder
	for i := range len(text) {
		if i == 0 || text[i] != text[i-1] {
			squeezed.WriteByte(text[i])
		}
	}
	if 2*squeezed.Len() > len(text) {
		return text
	}
	return squeezed.String()
}

// isPeriodic reports whether a long text is a shorter one again and again.
func isPeriodic(text string) bool {
	for period := 1; period <= len(text)/2; period++ {
		if len(text) >= minRun && len(text)%period == 0 && text[period:] == text[:len(text)-period] {
			return true
		}
	}
	return false
}
