package device

import "strings"

// The functions in this file make a value of the text that a rule found; "" if
// it is of no use.

func vuModel(model string) string { return "vu" + model }

func dotsToBlanks(text string) string { return strings.ReplaceAll(text, ".", " ") }

func trimSemicolon(text string) string { return strings.TrimRight(text, "; ") }

// boardModel is a board's model without its revision.
func boardModel(model string) string {
	name, _ := splitRevision(model)
	if doubtModel(name) != "" {
		return ""
	}
	return name
}

// androidName is a model or code that is not that of a generic system image.
func androidName(name string) string {
	if isGenericName(name) {
		return ""
	}
	return name
}

// boardRevision is what follows "Rev" in a board's model.
func boardRevision(model string) string {
	_, revision := splitRevision(model)
	return revision
}

// splitRevision takes "Raspberry Pi 4 Model B Rev 1.4" apart; the revision is ""
// if the model has none.
func splitRevision(model string) (name, revision string) {
	at := strings.LastIndex(strings.ToLower(model), " rev ")
	if at < 0 || len(model) != len(strings.ToLower(model)) {
		return model, ""
	}
	revision = model[at+len(" rev "):]
	if digits(revision) == 0 || strings.Trim(revision, "0123456789.") != "" {
		return model, ""
	}
	return model[:at], revision
}

// boardCode is what follows the vendor in "amlogic, gxl".
func boardCode(compatible string) string {
	if isGenericName(compatible) {
		return ""
	}
	if _, code, ok := strings.Cut(compatible, ","); ok {
		return strings.TrimSpace(code)
	}
	return compatible
}

// veroMaker is the maker of the Vero. OSMC also runs on boards of others.
func veroMaker(osmcDevice string) string {
	if !strings.HasPrefix(osmcDevice, "vero") {
		return ""
	}
	return "OSMC"
}

// dmiVersion takes the revision out of a version that only repeats the product's
// name: "Raspberry Pi 3B+ (rev. A020D3)".
func dmiVersion(version string) string {
	if _, revision, ok := strings.Cut(version, "(rev. "); ok && strings.HasSuffix(revision, ")") {
		return strings.TrimSuffix(revision, ")")
	}
	return version
}

// chip is the first word with letters and digits: "BCM7425B2" of "BCM7425B2 STB
// platform".
func chip(text string) string {
	for _, word := range strings.Fields(text) {
		word = strings.Trim(word, "(),;")
		if strings.ContainsAny(word, "0123456789") && strings.Trim(word, "0123456789.-") != "" {
			return word
		}
	}
	return ""
}

// rdkRelease is the release in an RDK image's name: "6.1" of
// "PX051AEI_6.1s3_VBN_sey".
func rdkRelease(imageName string) string {
	for i := 0; i < len(imageName); i++ {
		major := digits(imageName[i:])
		if major == 0 {
			continue
		}
		if rest := imageName[i+major:]; strings.HasPrefix(rest, ".") {
			minor := digits(rest[1:])
			if end := 1 + minor; minor > 0 && end < len(rest) && (rest[end] == 's' || rest[end] == 'p') {
				return imageName[i : i+major+end]
			}
		}
		i += major
	}
	return ""
}

// release is the first word that begins with a digit: "11.0.0" of "Tizen release
// 11.0.0 (Tizen11.0/Unified)".
func release(text string) string {
	for _, word := range strings.Fields(text) {
		if digits(word) > 0 {
			return word
		}
	}
	return ""
}

// linuxVersion is the release in what the kernel says of itself: "Linux version
// 4.9.113 (builder@host) ...".
func linuxVersion(text string) string {
	rest, ok := strings.CutPrefix(text, "Linux version ")
	if !ok {
		return ""
	}
	version, _, _ := strings.Cut(rest, " ")
	return version
}

// rdkVersion is an RDK image's version, unless it is what builds without a
// release have (99.99.0.0, 0.0.0.0), or the receiver's (000.36.0.0).
func rdkVersion(version string) string {
	major, _, _ := strings.Cut(version, ".")
	if strings.HasPrefix(version, "99.99") || strings.Trim(major, "0") == "" {
		return ""
	}
	return version
}

func rdkProfile(profile string) string {
	switch strings.ToUpper(profile) {
	case "TV":
		return "TV"
	case "STB":
		return "SetTopBox"
	}
	return profile // which leads to a warning
}

func rdkDeviceType(deviceType string) string {
	switch strings.ToLower(deviceType) {
	case "ipstb", "qamipstb":
		return "SetTopBox"
	case "iptv":
		return "TV"
	}
	return deviceType
}

func rdkClient(deviceType string) string {
	switch strings.ToLower(deviceType) {
	case "mediaclient", "hybrid":
		return "SetTopBox"
	}
	return ""
}

// hdmiType is the kind of device that an Android TV says it is on HDMI-CEC, by
// number or, since Android 12, by name; of several the first that is a kind.
func hdmiType(types string) string {
	for _, kind := range strings.Split(types, ",") {
		switch strings.ToLower(strings.TrimSpace(kind)) {
		case "0", "tv":
			return "TV"
		case "3", "tuner":
			return "SetTopBox"
		case "4", "playback_device":
			return "MediaPlayer"
		}
	}
	return ""
}

// mediaSystem is the kind of device that a system is made for.
func mediaSystem(id string) string {
	switch strings.ToLower(id) {
	case "libreelec", "coreelec", "osmc":
		return "MediaPlayer"
	}
	return ""
}

// boardChassis is a device tree's chassis-type (Devicetree Specification, "Root
// node").
func boardChassis(chassis string) string {
	switch strings.ToLower(chassis) {
	case "desktop", "laptop", "convertible", "all-in-one":
		return "Desktop"
	case "tablet":
		return "Tablet"
	case "handset":
		return "MobilePhone"
	case "watch":
		return "Wristwatch"
	case "spectacles":
		return "Glasses"
	case "television":
		return "TV"
	case "server", "embedded": // Adobe has no word for it
		return ""
	}
	return chassis
}

// boxName is the kind of device that a board's name says. "TV" alone says
// nothing: a "TV Stick" and a "TV box" are not televisions.
func boxName(name string) string {
	list := words(name)
	for i, word := range list {
		switch word {
		case "box", "tvbox", "stb", "settop", "settopbox":
			return "SetTopBox"
		case "set":
			if i+1 < len(list) && list[i+1] == "top" {
				return "SetTopBox"
			}
		}
	}
	return ""
}

// dmiChassis is an SMBIOS chassis type (DMTF DSP0134, "System Enclosure or Chassis
// Types"). Desktop is all that Adobe has for a PC of any shape.
func dmiChassis(chassis string) string {
	switch chassis {
	case "3", "4", "5", "6", "7", // desktop, low profile, pizza box, mini tower, tower
		"8", "9", "10", "14", "31", "32", // portable, laptop, notebook, sub notebook, convertible, detachable
		"13", "15", "16", "24", "35", "36": // all in one, space-saving, lunch box, sealed case, mini PC, stick PC
		return "Desktop"
	case "30":
		return "Tablet"
	}
	return ""
}
