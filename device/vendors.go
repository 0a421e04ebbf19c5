package device

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// vendors are the names behind device-tree prefixes: the makers of devices,
// boards and chips out of the kernel's
// Documentation/devicetree/bindings/vendor-prefixes.yaml, without their legal
// form. A prefix that isn't here is written with a capital letter; a row is needed
// only if that is not the maker's name, or if models begin with it.
const vendors = `
acer=Acer, actions=Actions, advantech=Advantech, airoha=Airoha, airties=AirTies, allo=Allo, allwinner=Allwinner,
alphascale=AlphaScale, amazon=Amazon, amd=AMD, amino=Amino, amlogic=Amlogic, anbernic=Anbernic, apple=Apple,
ariaboard=Ariaboard, arm=ARM, armsom=ArmSoM, arris=ARRIS, aspeed=ASPEED, asrock=ASRock, asus=ASUS, azw=AZW,
bananapi=Banana Pi, beagle=BeagleBoard.org, beelink=Beelink, brcm=Broadcom, buffalo=Buffalo, canaan=Canaan,
cavium=Cavium, chipspark=ChipSPARK, chuwi=Chuwi, cisco=Cisco, cix=CIX, clockwork=Clockwork, comcast=Comcast,
compulab=CompuLab, congatec=congatec, coolpi=CoolPi, cubietech=Cubietech, cudy=Cudy, cznic=CZ.NIC, dell=Dell,
dfi=DFI, dlink=D-Link, dream=Dream, dune=Dune HD, econet=EcoNet, edgeble=Edgeble, edimax=Edimax, edision=Edision,
egreat=Egreat, embedfire=EmbedFire, embest=Embest, endless=Endless, fairphone=Fairphone, firefly=Firefly,
forlinx=Forlinx, formuler=Formuler, freebox=Freebox, friendlyarm=FriendlyARM, friendlyelec=FriendlyElec,
fsl=Freescale, fujitsu=Fujitsu, gameforce=GameForce, gateworks=Gateworks, geekbuying=GeekBuying, geekworm=Geekworm,
geniatech=Geniatech, gigablue=GigaBlue, gigabyte=GIGABYTE, glinet=GL.iNet, globalscale=Globalscale, gmktec=GMKtec,
google=Google, h96=H96, hako=Hako, haochuangyi=Haochuangyi, hardkernel=Hardkernel, himedia=Himedia, hinlink=HINLINK,
hisense=Hisense, hisi=HiSilicon, hisilicon=HiSilicon, hitron=Hitron, homatics=Homatics, hp=HP, hpe=HPE, htc=HTC,
huawei=Huawei, hugsun=Hugsun, humax=HUMAX, hyundai=Hyundai, iei=IEI, inanbo=INANBO, indiedroid=Indiedroid,
ingenic=Ingenic, intel=Intel, itead=ITEAD, jethome=JetHome, jide=Jide, jmgo=JMGO, kaon=KAON, khadas=Khadas,
kobo=Kobo, kobol=Kobol, kontron=Kontron, lacie=LaCie, lamobo=Lamobo, lantiq=Lantiq, leez=Leez, lemaker=LeMaker,
lenovo=Lenovo, lg=LG, libretech=Libre Technology, licheepi=Lichee Pi, linkease=LinkEase, linksprite=LinkSprite,
linksys=Linksys, liontron=Liontron, loongson=Loongson, luckfox=Luckfox, lunzn=Lunzn, m5stack=M5Stack,
marvell=Marvell, mecool=MECOOL, mediatek=MediaTek, medion=MEDION, mele=MeLE, meraki=Cisco Meraki, merrii=Merrii,
microchip=Microchip, microsoft=Microsoft, mikrotik=MikroTik, milkv=Milk-V, miniand=Miniand, minix=MINIX,
miyoo=Miyoo, mntre=MNT, motorola=Motorola, mqmaker=mqmaker, mrvl=Marvell, msi=MSI, mstar=MStar, myir=MYIR,
neardi=Neardi, netcube=NetCube, netgear=NETGEAR, netxeon=Netxeon, nexbox=Nexbox, nextthing=Next Thing,
nintendo=Nintendo, nokia=Nokia, novatek=Novatek, nuvoton=Nuvoton, nvidia=NVIDIA, nxp=NXP, octagon=Octagon,
odroid=Hardkernel, olimex=OLIMEX, olpc=OLPC, oneplus=OnePlus, onething=OneThing, onn=onn, openailab=OPEN AI LAB,
openwrt=OpenWrt, orangepi=Orange Pi, oranth=Oranth, osmc=OSMC, ouya=Ouya, pace=Pace, panasonic=Panasonic,
phicomm=PHICOMM, philips=Philips, phytec=PHYTEC, pine64=Pine64, pineriver=PineRiver, polyhex=Polyhex,
pov=Point of View, powkiddy=Powkiddy, probox2=PROBOX2, purism=Purism, qca=Qualcomm Atheros, qcom=Qualcomm,
qemu=QEMU, qihua=Qihua, qnap=QNAP, quanta=Quanta, radxa=Radxa, ralink=Ralink, raspberrypi=Raspberry Pi,
realtek=Realtek, renesas=Renesas, rervision=Rervision, rikomagic=Rikomagic, rockchip=Rockchip, roku=Roku,
roofull=Roofull, roseapplepi=RoseapplePi, sagemcom=Sagemcom, samsung=Samsung, sancloud=SanCloud, sdmc=SDMC,
seagate=Seagate, seeed=Seeed, seirobotics=SEI Robotics, sercomm=Sercomm, sharp=Sharp, shuttle=Shuttle,
siemens=Siemens, sifive=SiFive, sigma=Sigma Designs, sinlinx=Sinlinx, sinovoip=SinoVoip, sipeed=Sipeed,
skyworth=Skyworth, smartlabs=SmartLabs, smartrg=SmartRG, socionext=Socionext, solidrun=SolidRun, sony=Sony,
sophgo=Sophgo, spacemit=SpacemiT, sprd=Spreadtrum, sstar=SigmaStar, st=STMicroelectronics, starfive=StarFive,
strong=Strong, sunchip=Sunchip, supermicro=Supermicro, syna=Synaptics, synaptics=Synaptics, synology=Synology,
tanix=Tanix, tbs=TBS, tcl=TCL, tcu=TC Unterhaltungselektronik, technexion=TechNexion, technicolor=Technicolor,
teltonika=Teltonika, tenda=Tenda, terasic=Terasic, thead=T-Head, thomson=Thomson, thundercomm=Thundercomm,
thwc=THWC, ti=Texas Instruments, tivo=TiVo, topwise=Topwise, toradex=Toradex, toshiba=Toshiba, tplink=TP-Link,
tq=TQ-Systems, tronfy=Tronfy, tronsmart=Tronsmart, turing=Turing Machines, ubnt=Ubiquiti, ucrobotics=uCRobotics,
udoo=UDOO, ugoos=Ugoos, utoo=Utoo, vamrs=Vamrs, variscite=Variscite, vestel=Vestel, videostrong=Videostrong,
vivax=Vivax, vizio=VIZIO, vodafone=Vodafone, vontar=Vontar, wetek=WeTek, widora=Widora, xgimi=XGIMI, xiaomi=Xiaomi,
xlnx=Xilinx, xnano=Xnano, xunlong=Xunlong, zappiti=Zappiti, zealz=Zealz, zgemma=Zgemma, zidoo=Zidoo, zotac=ZOTAC,
zte=ZTE, zyxel=ZyXEL
`

// chipMakers are the prefixes of makers of chips, who rarely make the device
// around the chip.
var chipMakers = []string{
	"actions", "airoha", "allwinner", "amcc", "amd", "amlogic", "apm", "arm", "aspeed", "bitmain", "brcm", "cavium",
	"cnxt", "econet", "fsl", "hisi", "hisilicon", "img", "ingenic", "intel", "lantiq", "loongson", "marvell",
	"mediatek", "microchip", "mrvl", "mscc", "mstar", "novatek", "nuvoton", "nvidia", "nxp", "qca", "qcom", "ralink",
	"rda", "realtek", "renesas", "rockchip", "samsung", "sigma", "sirf", "socionext", "sophgo", "spacemit", "sprd",
	"sstar", "st", "starfive", "ste", "sunplus", "syna", "synaptics", "thead", "ti", "via", "xlnx",
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
	if name := findVendor(func(p, _ string) bool { return strings.EqualFold(p, prefix) }); name != "" {
		return name
	}
	if first, _, _ := strings.Cut(model, " "); strings.EqualFold(first, prefix) {
		return first
	}
	_, first := utf8.DecodeRuneInString(prefix)
	return strings.ToUpper(prefix[:first]) + prefix[first:]
}

// knownMaker returns the maker whose name a model begins with; "" if it is not
// in the table.
func knownMaker(model string) string {
	const minPrefix = 4 // "st" and "ti" begin other words
	return findVendor(func(prefix, name string) bool {
		return beginsWithName(model, name) || len(prefix) >= minPrefix && beginsWithName(model, prefix)
	})
}

func beginsWithName(model, name string) bool {
	return len(model) > len(name) && strings.EqualFold(model[:len(name)], name) &&
		strings.IndexByte(" -_,", model[len(name)]) >= 0
}

// isVendor reports whether a text is no more than a maker's name or prefix.
func isVendor(text string) bool {
	return findVendor(func(prefix, name string) bool {
		return strings.EqualFold(prefix, text) || strings.EqualFold(name, text)
	}) != ""
}

// findVendor returns the name of the first maker that match accepts.
func findVendor(match func(prefix, name string) bool) string {
	for _, vendor := range strings.Split(vendors, ",") {
		if prefix, name, _ := strings.Cut(strings.TrimSpace(vendor), "="); match(prefix, name) {
			return name
		}
	}
	return ""
}
