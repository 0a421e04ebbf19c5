package device

import (
	"slices"
	"strings"
)

// vendors are the names behind device-tree prefixes: the makers of devices,
// boards and chips out of the kernel's
// Documentation/devicetree/bindings/vendor-prefixes.yaml, without their legal
// form. A prefix that isn't here is written with a capital letter; a row is needed
// only if that is not the maker's name, or if models begin with it.
const vendors = `
actions=Actions, airoha=Airoha, allwinner=Allwinner, alphascale=AlphaScale, amazon=Amazon, amd=AMD, amlogic=Amlogic,
anbernic=Anbernic, arm=ARM, armsom=ArmSoM, arris=ARRIS, asrock=ASRock, asus=ASUS, azw=AZW, bananapi=Banana Pi,
beagle=BeagleBoard.org, beelink=Beelink, brcm=Broadcom, canaan=Canaan, chuwi=Chuwi, cisco=Cisco, cix=CIX,
clockwork=Clockwork, compulab=CompuLab, coolpi=CoolPi, cubietech=Cubietech, cudy=Cudy, dell=Dell, dlink=D-Link,
dream=Dream, econet=EcoNet, edgeble=Edgeble, edision=Edision, embest=Embest, endless=Endless, firefly=Firefly,
formuler=Formuler, freebox=Freebox, friendlyarm=FriendlyARM, friendlyelec=FriendlyElec, fsl=Freescale,
gameforce=GameForce, geekbuying=GeekBuying, geniatech=Geniatech, gigablue=GigaBlue, glinet=GL.iNet, gmktec=GMKtec,
google=Google, haochuangyi=Haochuangyi, hardkernel=Hardkernel, hinlink=HINLINK, hisense=Hisense, hisi=HiSilicon,
hisilicon=HiSilicon, hitron=Hitron, hp=HP, htc=HTC, huawei=Huawei, hugsun=Hugsun, humax=HUMAX, hyundai=Hyundai,
inanbo=INANBO, indiedroid=Indiedroid, ingenic=Ingenic, intel=Intel, jethome=JetHome, khadas=Khadas, kobol=Kobol,
kontron=Kontron, lamobo=Lamobo, leez=Leez, lemaker=LeMaker, lenovo=Lenovo, lg=LG, libretech=Libre Technology,
linksys=Linksys, liontron=Liontron, luckfox=Luckfox, lunzn=Lunzn, marvell=Marvell, mecool=MECOOL, mediatek=MediaTek,
mele=MeLE, merrii=Merrii, microsoft=Microsoft, mikrotik=MikroTik, milkv=Milk-V, minix=MINIX, motorola=Motorola,
mqmaker=mqmaker, mstar=MStar, myir=MYIR, neardi=Neardi, netcube=NetCube, netgear=NETGEAR, netxeon=Netxeon,
nexbox=Nexbox, nintendo=Nintendo, nokia=Nokia, novatek=Novatek, nvidia=NVIDIA, nxp=NXP, octagon=Octagon,
odroid=Hardkernel, olimex=OLIMEX, oneplus=OnePlus, onething=OneThing, openwrt=OpenWrt, orangepi=Orange Pi,
oranth=Oranth, osmc=OSMC, panasonic=Panasonic, phicomm=PHICOMM, philips=Philips, phytec=PHYTEC, pine64=Pine64,
pineriver=PineRiver, polyhex=Polyhex, powkiddy=Powkiddy, qca=Qualcomm Atheros, qcom=Qualcomm, qihua=Qihua,
qnap=QNAP, quanta=Quanta, radxa=Radxa, ralink=Ralink, raspberrypi=Raspberry Pi, realtek=Realtek, renesas=Renesas,
rervision=Rervision, rikomagic=Rikomagic, rockchip=Rockchip, roofull=Roofull, sagemcom=Sagemcom, samsung=Samsung,
sdmc=SDMC, seeed=Seeed, seirobotics=SEI Robotics, sercomm=Sercomm, sharp=Sharp, sifive=SiFive, sigma=Sigma Designs,
sinlinx=Sinlinx, sinovoip=SinoVoip, sipeed=Sipeed, skyworth=Skyworth, smartlabs=SmartLabs, socionext=Socionext,
solidrun=SolidRun, sony=Sony, sophgo=Sophgo, spacemit=SpacemiT, sprd=Spreadtrum, sstar=SigmaStar,
st=STMicroelectronics, starfive=StarFive, strong=Strong, sunchip=Sunchip, syna=Synaptics, synaptics=Synaptics,
synology=Synology, tanix=Tanix, tbs=TBS, tcl=TCL, tcu=TC Unterhaltungselektronik, technexion=TechNexion,
technicolor=Technicolor, tenda=Tenda, thead=T-Head, thwc=THWC, ti=Texas Instruments, topwise=Topwise,
toradex=Toradex, toshiba=Toshiba, tplink=TP-Link, tq=TQ-Systems, tronfy=Tronfy, tronsmart=Tronsmart,
turing=Turing Machines, ubnt=Ubiquiti, ucrobotics=uCRobotics, ugoos=Ugoos, utoo=Utoo, vamrs=Vamrs,
variscite=Variscite, vestel=Vestel, videostrong=Videostrong, vontar=Vontar, wetek=WeTek, widora=Widora,
xiaomi=Xiaomi, xlnx=Xilinx, xnano=Xnano, xunlong=Xunlong, zgemma=Zgemma, zidoo=Zidoo, zte=ZTE, zyxel=ZyXEL
`

// chipMakers are the prefixes of those who make the chip and rarely the device
// around it.
var chipMakers = []string{
	"actions", "airoha", "allwinner", "amd", "amlogic", "arm", "brcm", "econet", "fsl", "hisi", "hisilicon", "ingenic", "intel",
	"marvell", "mediatek", "mstar", "novatek", "nvidia", "nxp", "qca", "qcom", "ralink", "realtek", "renesas", "rockchip",
	"samsung", "sigma", "socionext", "sophgo", "spacemit", "sprd", "sstar", "st", "starfive", "sunplus", "syna", "synaptics",
	"thead", "ti", "xlnx",
}

// vendorOf returns the maker that a "prefix,board" of the device tree names; ""
// if there is no prefix, or one of Linux's own. If that is the chip's maker and
// the model begins with another one's name, it is that one. model also gives the
// spelling of a maker that isn't in the table: most models begin with it.
func vendorOf(compatible, model string) string {
	prefix, _, ok := strings.Cut(compatible, ",")
	prefix = strings.TrimSpace(prefix)
	if !ok || prefix == "" || prefix == "linux" || prefix == "generic" {
		return ""
	}
	if slices.Contains(chipMakers, strings.ToLower(prefix)) {
		if maker := knownMaker(model); maker != "" {
			return maker
		}
	}
	for vendor, name := range vendorNames {
		if strings.EqualFold(vendor, prefix) {
			return name
		}
	}
	if first, _, _ := strings.Cut(model, " "); strings.EqualFold(first, prefix) {
		return first
	}
	first := firstRune(prefix)
	return strings.ToUpper(first) + prefix[len(first):]
}

// knownMaker returns the maker whose name a model begins with; "" if it is not
// in the table.
func knownMaker(model string) string {
	const minPrefix = 4 // "st" and "ti" begin other words
	for prefix, name := range vendorNames {
		for _, written := range []string{name, prefix} {
			if written == prefix && len(prefix) < minPrefix {
				continue
			}
			if len(model) > len(written) && strings.EqualFold(model[:len(written)], written) && strings.ContainsRune(" -_,", rune(model[len(written)])) {
				return name
			}
		}
	}
	return ""
}

// isVendor reports whether a text is no more than a maker's name or prefix.
func isVendor(text string) bool {
	for prefix, name := range vendorNames {
		if strings.EqualFold(prefix, text) || strings.EqualFold(name, text) {
			return true
		}
	}
	return false
}

// vendorNames goes through vendors: prefix and name.
func vendorNames(yield func(prefix, name string) bool) {
	for vendor := range strings.SplitSeq(vendors, ",") {
		if prefix, name, _ := strings.Cut(strings.TrimSpace(vendor), "="); !yield(prefix, name) {
			return
		}
	}
}

// firstRune returns a text's first letter.
func firstRune(text string) string {
	for _, r := range text {
		return string(r)
	}
	return ""
}
