package device

import (
	"slices"
	"strings"
)

// The files and folders that several rules read.
const (
	deviceProperties = "/etc/device.properties" // RDK
	authService      = "/etc/authService.conf"  // RDK
	versionTxt       = "/version.txt"           // RDK
	partnerID        = "/opt/www/authService/partnerId3.dat"
	nyxDevice        = "/var/run/nyx/device_info.json" // webOS
	nyxOS            = "/var/run/nyx/os_info.json"     // webOS
	deviceTree       = "/proc/device-tree/"            // its root node: of a list of strings, the first
	soc              = "/sys/devices/soc0/"            // what the kernel's driver for the chip knows
	dmi              = "/sys/class/dmi/id/"            // what firmware gives in its SMBIOS tables
	stbInfo          = "/proc/stb/info/"               // Enigma2
	enigmaInfo       = "/usr/lib/enigma.info"          // Enigma2
	imageVersion     = "/etc/image-version"            // Enigma2
	sysInfo          = "/tmp/sysinfo/"                 // OpenWrt
	boardJSON        = "/etc/board.json"               // OpenWrt
	openwrtRelease   = "/etc/openwrt_release"
	armbianRelease   = "/etc/armbian-release"
	infoINI          = "/etc/info.ini" // Tizen
	cpuinfo          = "/proc/cpuinfo"
)

// rule is one place that a key's value may come from. Rules are data, down to
// the functions that they name: the compiler lays them out, and nothing runs at
// start.
type rule struct {
	key  string
	from source
	as   func(string) string // makes the value of the text; "" if the text is of no use; nil: it is the value
}

// fillable are the keys for which makers leave "To Be Filled By O.E.M." and the
// like in place of a value.
var fillable = []string{"model", "version", "manufacturer", "vendor"}

// rules is the table of what comes from where. For each key the first usable
// value counts. Values that somebody meant (an operator's software) come first,
// then those of the hardware's description (the device tree), then those that
// firmware happens to leave (DMI), and last those that only hint at a name. To
// support a new system, add its rows in that order.
var rules = []rule{
	{"model", field{shellFile, deviceProperties, "FRIENDLY_ID"}, nil},
	{"model", field{shellFile, deviceProperties, "MODEL_NUM"}, nil},
	{"model", product("model"), androidName},
	{"model", jsonField{nyxDevice, "product_id"}, nil},
	{"model", jsonField{nyxOS, "webos_name"}, nil}, // an app's jail hides the file above
	{"model", field{shellFile, enigmaInfo, "displaymodel"}, nil},
	{"model", file(stbInfo + "modelname"), nil},
	{"model", file(stbInfo + "hwmodel"), nil},
	{"model", when{file(stbInfo + "boxtype"), isGigaBlue, file(stbInfo + "gbmodel")}, nil},
	{"model", file(stbInfo + "boxtype"), nil},
	{"model", file(stbInfo + "vumodel"), vuModel},
	{"model", file(stbInfo + "model"), nil}, // last: "dm8000" on devices that are not one
	{"model", file(deviceTree + "model"), boardModel},
	{"model", file(deviceTree + "coreelec-dt-id"), boardModel},
	{"model", file(deviceTree + "amlogic-dt-id"), boardModel},
	{"model", on{openwrt, file(sysInfo + "model")}, boardModel},
	{"model", on{openwrt, jsonField{boardJSON, "model.name"}}, boardModel},
	{"model", file(dmi + "product_name"), nil},
	{"model", file(dmi + "board_name"), nil},
	{"model", field{cpuinfoFile, cpuinfo, "Model"}, boardModel}, // Raspberry Pi
	{"model", field{cpuinfoFile, cpuinfo, "machine"}, boardModel},
	{"model", file(soc + "machine"), boardModel},
	{"model", field{shellFile, armbianRelease, "BOARD_NAME"}, nil},
	{"model", field{shellFile, infoINI, "Model"}, trimSemicolon},
	{"model", file(dmi + "product_family"), nil},
	{"model", osRelease("LIBREELEC_ARCH"), dotsToBlanks}, // a PC without a name: "Generic x86_64"
	{"model", osRelease("LIBREELEC_DEVICE"), nil},
	{"model", osRelease("COREELEC_DEVICE"), nil},
	{"model", file(deviceTree + "compatible"), boardCode},
	{"model", on{openwrt, file(sysInfo + "board_name")}, boardCode},
	{"model", bootArgument("osmcdev"), nil},
	{"model", property("ro.product.board"), nil},
	{"model", property("ro.board.platform"), nil},
	{"model", field{cpuinfoFile, cpuinfo, "Hardware"}, boardModel},
	{"model", field{cpuinfoFile, cpuinfo, "system type"}, boardModel}, // MIPS
	{"model", field{shellFile, openwrtRelease, "DISTRIB_TARGET"}, nil},

	// The hardware's code, not the firmware's version: Adobe's own examples are
	// Android's Build.DEVICE and Roku's 5303X.
	{"version", product("device"), androidName},
	{"version", field{shellFile, deviceProperties, "MODEL_NUM"}, nil},
	{"version", jsonField{nyxDevice, "hardware_id"}, nil},
	{"version", jsonField{nyxOS, "webos_release_codename"}, nil},
	{"version", file(stbInfo + "version"), nil},
	{"version", file(stbInfo + "board_revision"), nil},
	{"version", file(stbInfo + "chipset"), nil},
	{"version", file(deviceTree + "model"), boardRevision},
	{"version", bootArgument("osmcdev"), nil},
	{"version", file(deviceTree + "compatible"), boardCode},
	{"version", on{openwrt, file(sysInfo + "board_name")}, boardCode},
	{"version", on{openwrt, jsonField{boardJSON, "model.id"}}, boardCode},
	{"version", file(dmi + "product_version"), dmiVersion},
	{"version", file(dmi + "board_version"), dmiVersion},
	{"version", file(dmi + "bios_version"), nil},
	{"version", field{cpuinfoFile, cpuinfo, "Model"}, boardRevision},
	{"version", field{cpuinfoFile, cpuinfo, "Hardware"}, chip},
	{"version", field{cpuinfoFile, cpuinfo, "system type"}, chip}, // MIPS
	{"version", file(soc + "soc_id"), nil},
	{"version", field{shellFile, armbianRelease, "BOARD"}, nil},
	{"version", field{shellFile, armbianRelease, "BOARDFAMILY"}, nil},
	{"version", osRelease("LIBREELEC_DEVICE"), nil},
	{"version", osRelease("COREELEC_DEVICE"), nil},
	{"version", osRelease("LIBREELEC_ARCH"), dotsToBlanks},
	{"version", property("ro.product.board"), nil},
	{"version", property("ro.board.platform"), nil},
	{"version", field{shellFile, openwrtRelease, "DISTRIB_TARGET"}, nil},
	{"version", field{cpuinfoFile, cpuinfo, "model name"}, chip},
	{"version", field{cpuinfoFile, cpuinfo, "cpu model"}, chip}, // MIPS

	{"manufacturer", field{shellFile, deviceProperties, "MFG_NAME"}, nil},
	{"manufacturer", product("manufacturer"), nil},
	{"manufacturer", means{webOSTV, "LG"}, nil},
	{"manufacturer", field{shellFile, enigmaInfo, "displaybrand"}, nil},
	{"manufacturer", field{shellFile, enigmaInfo, "brand"}, nil},
	{"manufacturer", field{shellFile, imageVersion, "machine_brand"}, nil},
	{"manufacturer", vuPlus{}, nil},
	{"manufacturer", bootArgument("osmcdev"), veroMaker},
	{"manufacturer", boardMaker{file(deviceTree + "compatible"), file(deviceTree + "model")}, nil},
	{"manufacturer", on{openwrt, boardMaker{file(sysInfo + "board_name"), file(sysInfo + "model")}}, nil},
	{"manufacturer", on{openwrt, boardMaker{jsonField{boardJSON, "model.id"}, jsonField{boardJSON, "model.name"}}}, nil},
	{"manufacturer", file(dmi + "sys_vendor"), nil},
	{"manufacturer", file(dmi + "board_vendor"), nil},
	{"manufacturer", file(deviceTree + "model"), knownMaker},
	{"manufacturer", field{cpuinfoFile, cpuinfo, "Model"}, knownMaker},
	{"manufacturer", file(soc + "machine"), knownMaker},

	{"vendor", field{shellFile, deviceProperties, "BRAND_NAME"}, nil},
	{"vendor", file(partnerID), nil},
	{"vendor", product("brand"), nil},
	{"vendor", sameAs("manufacturer"), nil},

	{"osName", means{android, "Android"}, nil},
	{"osName", means{webOS, "webOS"}, nil},
	{"osName", constant{"Linux", "kernel"}, nil}, // Tizen too: it isn't allowed here

	{"osFamily", means{android, "Android"}, nil},
	{"osFamily", means{webOS, "webOS"}, nil},
	{"osFamily", means{tizen, "Tizen"}, nil},
	{"osFamily", constant{"Linux", "kernel"}, nil},

	{"osVendor", means{property("ro.build.version.fireos"), "Amazon"}, nil},
	{"osVendor", means{android, "Google"}, nil},
	{"osVendor", means{webOS, "LG"}, nil},
	{"osVendor", means{tizenTV, "Samsung"}, nil},
	{"osVendor", means{tizen, "Tizen Project"}, nil},

	{"osVersion", androidVersion{}, nil},
	{"osVersion", jsonField{nyxOS, "webos_release"}, nil},
	{"osVersion", field{versionFile, versionTxt, "imagename"}, rdkRelease},
	{"osVersion", field{versionFile, versionTxt, "VERSION"}, rdkVersion},
	{"osVersion", field{versionFile, versionTxt, "imagename"}, nil},
	{"osVersion", osRelease("VERSION_ID"), nil},
	{"osVersion", field{shellFile, openwrtRelease, "DISTRIB_RELEASE"}, nil},
	{"osVersion", field{shellFile, enigmaInfo, "imageversion"}, nil},
	{"osVersion", field{shellFile, imageVersion, "version"}, nil},
	{"osVersion", file("/etc/openwrt_version"), nil},
	{"osVersion", file("/etc/tizen-release"), release},
	{"osVersion", osRelease("VERSION"), nil},
	{"osVersion", file("/proc/sys/kernel/osrelease"), nil},
	{"osVersion", kernelRelease{}, nil},
	{"osVersion", file("/proc/version"), linuxVersion},
	{"osVersion", field{shellFile, armbianRelease, "VERSION"}, nil},

	{"primaryHardwareType", field{shellFile, deviceProperties, "RDK_PROFILE"}, rdkProfile},
	{"primaryHardwareType", field{shellFile, authService, "deviceType"}, rdkDeviceType},
	{"primaryHardwareType", field{shellFile, deviceProperties, "DEVICE_TYPE"}, rdkClient},
	{"primaryHardwareType", when{property("ro.build.characteristics"), hasTV, property("ro.hdmi.device_type")}, hdmiType},
	{"primaryHardwareType", when{property("ro.build.characteristics"), hasTV, property("ro.hdmi.cec_device_types")},
		hdmiType},
	{"primaryHardwareType", means{webOSTV, "TV"}, nil},
	{"primaryHardwareType", means{tizenTV, "TV"}, nil},
	{"primaryHardwareType", means{present("/proc/stb"), "SetTopBox"}, nil},
	{"primaryHardwareType", osRelease("ID"), mediaSystem},
	{"primaryHardwareType", file(deviceTree + "chassis-type"), boardChassis},
	{"primaryHardwareType", file(deviceTree + "model"), boxName},
	{"primaryHardwareType", file(deviceTree + "compatible"), boxName},
	{"primaryHardwareType", when{file(dmi + "bios_vendor"), isNotUBoot, file(dmi + "chassis_type")}, dmiChassis},
}

// The systems that are distinguished, each by what only it has.
var (
	android = first{androidVersion{}, product("model"), property("ro.build.version.sdk")}
	webOS   = first{jsonField{nyxOS, "webos_release"}, jsonField{nyxOS, "webos_name"}}
	webOSTV = only{jsonField{nyxOS, "webos_name"}, isWebOSTV}
	tizen   = first{only{osRelease("ID"), isTizen}, file("/etc/tizen-release")}
	tizenTV = first{
		only{field{shellFile, "/etc/tizen-build.conf", "TZ_BUILD_PROFILE"}, isTV},
		only{field{shellFile, infoINI, "TZ_BUILD_PROFILE"}, isTV},
	}
	rdk     = first{present(deviceProperties), present(authService), field{versionFile, versionTxt, "imagename"}}
	openwrt = first{present(openwrtRelease), present("/etc/openwrt_version"), only{osRelease("ID"), isOpenWrt}}

	// stbModel is what an Enigma2 device calls itself beside Vu+'s file.
	stbModel = first{file(stbInfo + "modelname"), file(stbInfo + "hwmodel"), file(stbInfo + "boxtype")}
)

func isSomething(text string) bool { return text != "" }
func isGigaBlue(brand string) bool { return is(brand, "gigablue") }
func isTizen(id string) bool       { return is(id, "tizen") }
func isOpenWrt(id string) bool     { return is(id, "openwrt") }
func isTV(profile string) bool     { return is(profile, "tv") }

func is(text, want string) bool { return strings.EqualFold(trimSemicolon(text), want) }

func isWebOSTV(name string) bool { return strings.HasPrefix(name, "webOS TV") }

func hasTV(characteristics string) bool {
	return slices.Contains(strings.Split(characteristics, ","), "tv")
}

// isNotUBoot is false for U-Boot, which fills in DMI only because the standard
// demands it.
func isNotUBoot(biosVendor string) bool {
	return !strings.HasPrefix(strings.ToLower(biosVendor), "u-boot")
}
