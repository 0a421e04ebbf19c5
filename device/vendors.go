package device

import "strings"

// vendors are the names behind device-tree prefixes: the makers of boxes, boards and SoCs out of the kernel's
// Documentation/devicetree/bindings/vendor-prefixes.yaml, without their legal form. A prefix that isn't here is written
// with a capital letter; a row is only needed where that is not the maker's name.
const vendors = `
actions=Actions, airoha=Airoha, allwinner=Allwinner, alphascale=AlphaScale, amazon=Amazon, amd=AMD,
amlogic=Amlogic, arm=ARM, armsom=ArmSoM, asus=ASUS, azw=AZW, bananapi=Banana Pi, beagle=BeagleBoard.org,
brcm=Broadcom, canaan=Canaan, cisco=Cisco, cix=CIX, compulab=CompuLab, cubietech=Cubietech, cudy=Cudy, dell=Dell,
dlink=D-Link, edgeble=Edgeble, embest=Embest, endless=Endless, fsl=Freescale, friendlyarm=FriendlyARM,
geekbuying=GeekBuying, geniatech=Geniatech, google=Google, hardkernel=Hardkernel, haochuangyi=Haochuangyi,
hisi=HiSilicon, hisilicon=HiSilicon, hp=HP, htc=HTC, huawei=Huawei, hugsun=Hugsun, inanbo=INANBO,
indiedroid=Indiedroid, ingenic=Ingenic, intel=Intel, jethome=JetHome, khadas=Khadas, kontron=Kontron,
lamobo=Lamobo, lemaker=LeMaker, lenovo=Lenovo, lg=LG, libretech=Libre Technology, liontron=Liontron,
linksys=Linksys, lunzn=Lunzn, marvell=Marvell, mediatek=MediaTek, mele=MeLE, merrii=Merrii, milkv=Milk-V,
minix=MINIX, mqmaker=mqmaker, mstar=MStar, myir=MYIR, neardi=Neardi, netgear=NETGEAR, netxeon=Netxeon,
nexbox=Nexbox, nintendo=Nintendo, nokia=Nokia, novatek=Novatek, nvidia=NVIDIA, nxp=NXP, olimex=OLIMEX,
oneplus=OnePlus, openwrt=OpenWrt, oranth=Oranth, osmc=OSMC, panasonic=Panasonic, phicomm=PHICOMM, phytec=PHYTEC,
pine64=Pine64, pineriver=PineRiver, polyhex=Polyhex, qcom=Qualcomm, qihua=Qihua, quanta=Quanta, radxa=Radxa,
ralink=Ralink, raspberrypi=Raspberry Pi, realtek=Realtek, rervision=Rervision, rikomagic=Rikomagic,
rockchip=Rockchip, roofull=Roofull, samsung=Samsung, seeed=Seeed, sharp=Sharp, sifive=SiFive, sigma=Sigma Designs,
sinlinx=Sinlinx, sinovoip=SinoVoip, sipeed=Sipeed, smartlabs=SmartLabs, socionext=Socionext, solidrun=SolidRun,
sony=Sony, sophgo=Sophgo, spacemit=SpacemiT, sprd=Spreadtrum, st=STMicroelectronics, starfive=StarFive,
synaptics=Synaptics, synology=Synology, tbs=TBS, tcu=TC Unterhaltungselektronik, technexion=TechNexion,
thead=T-Head, ti=Texas Instruments, topwise=Topwise, toradex=Toradex, toshiba=Toshiba, tplink=TP-Link,
tq=TQ-Systems, tronfy=Tronfy, tronsmart=Tronsmart, turing=Turing Machines, ubnt=Ubiquiti, ucrobotics=uCRobotics,
ugoos=Ugoos, utoo=Utoo, vamrs=Vamrs, variscite=Variscite, videostrong=Videostrong, wetek=WeTek, widora=Widora,
xiaomi=Xiaomi, xlnx=Xilinx, xnano=Xnano, xunlong=Xunlong, zidoo=Zidoo, zte=ZTE, zyxel=ZyXEL
`

// vendorOf is the maker that a "prefix,board" of the device tree names; "" where there is no prefix, or one of Linux's
// own. model gives the spelling of a maker that isn't in the table: most models begin with it.
func vendorOf(compatible, model string) string {
	prefix, _, ok := strings.Cut(compatible, ",")
	prefix = strings.TrimSpace(prefix)
	if !ok || prefix == "" || prefix == "linux" || prefix == "generic" {
		return ""
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

// isVendor says whether a text is no more than a maker's name or prefix.
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
