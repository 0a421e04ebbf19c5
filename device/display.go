package device

import (
	"encoding/hex"
	"math"
	"slices"
	"strconv"
	"strings"
)

// The files of Amlogic's own video driver, which vendor kernels have instead of
// DRM's connectors; of DRM; and of the frame buffer.
const (
	amlogicMode = "/sys/class/display/mode"
	drmFolder   = "/sys/class/drm"
	fbModes     = "/sys/class/graphics/fb0/modes"
	fbVirtual   = "/sys/class/graphics/fb0/virtual_size"
)

// minPixels is less than any screen that shows a film has on a side. Drivers
// without a screen give 1x1, and a panel of 128x64 shows the time.
const minPixels = 200

// amlogicEDIDs hold the EDID as one line of hexadecimal text.
var amlogicEDIDs = []string{
	"/sys/class/amhdmitx/amhdmitx0/rawedid",
	"/sys/devices/virtual/amhdmitx/amhdmitx0/rawedid",
}

// display is the screen's size in pixels and inches, with the files that say so;
// zero is unknown.
type display struct {
	screen
	pixelsFrom, inchesFrom string
}

// setPixels takes a size over if it is one that a screen has.
func (d *display) setPixels(width, height int, from string) bool {
	if width < minPixels || height < minPixels {
		return false
	}
	d.width, d.height, d.pixelsFrom = width, height, from
	return true
}

// findDisplay looks first where the picture's size is known best. The frame
// buffer comes last: its user interface is often smaller than what goes out.
func (p *probe) findDisplay() display {
	d := p.drmDisplay()
	if inches, from := p.amlogicDiagonal(); inches > 0 {
		d.inches, d.inchesFrom = inches, from
	}
	mode := p.text(amlogicMode)
	width, height := parseAmlogicMode(mode)
	if d.setPixels(width, height, amlogicMode) || d.width > 0 {
		return d
	}
	_, fbMode, _ := strings.Cut(p.firstLine(fbModes), ":") // "U:1920x1080p-0"
	virtual := p.text(fbVirtual)
	for _, try := range []struct {
		text, from string
		parse      func(string) (int, int)
	}{{fbMode, fbModes, parseMode}, {virtual, fbVirtual, parseVirtualSize}} {
		width, height := try.parse(try.text)
		if d.setPixels(width, height, try.from) {
			return d
		}
		p.passOver("displayWidth", try.text, try.from, whyNoSize(try.text))
	}
	p.passOver("displayWidth", mode, amlogicMode, whyNoSize(mode))
	return d
}

// whyNoSize says why a text was passed over; "" if there is none.
func whyNoSize(text string) string {
	if text == "" {
		return ""
	}
	return "no size that a screen has"
}

// drmDisplay is the first connected display that says something of itself.
func (p *probe) drmDisplay() display {
	var best display
	for _, connector := range p.connectors() {
		d := p.connectorDisplay(drmFolder + "/" + connector)
		if d.width > 0 {
			return d
		}
		if best.inches == 0 {
			best = d
		}
		p.passOver("displayWidth", "", drmFolder+"/"+connector, "connected, but neither modes nor EDID give a size")
	}
	return best
}

func (p *probe) connectorDisplay(folder string) (d display) {
	raw, _ := p.read(folder + "/edid")
	edid, valid := parseEDID(raw)
	switch {
	case valid && edid.inches > 0:
		d.inches, d.inchesFrom = edid.inches, folder+"/edid"
	case len(raw) > 0:
		p.passOver("diagonalScreenSize", "", folder+"/edid", "damaged, or without a size that a screen has")
	}
	modes := p.modes(folder + "/modes")
	switch {
	case valid && (len(modes) == 0 || slices.Contains(modes, [2]int{edid.width, edid.height})) &&
		d.setPixels(edid.width, edid.height, folder+"/edid"):
	case len(modes) > 0:
		d.setPixels(modes[0][0], modes[0][1], folder+"/modes")
	}
	return d
}

// connectors lists the connected DRM connectors: one that shows a picture before
// one that does not, an internal panel before others, then in natural order.
func (p *probe) connectors() []string {
	var ranked [4][]string
	for _, name := range p.list(drmFolder) {
		folder := drmFolder + "/" + name
		_, kind, ok := strings.Cut(name, "-") // card0-HDMI-A-1
		if !ok || strings.HasPrefix(kind, "Writeback") || strings.HasPrefix(kind, "Virtual") {
			continue
		}
		if status := p.text(folder + "/status"); status != "connected" {
			p.passOver("displayWidth", "", folder, status)
			continue
		}
		rank := 0
		if p.text(folder+"/enabled") == "disabled" {
			rank += 2
		}
		kind, _, _ = strings.Cut(kind, "-")
		if !slices.Contains([]string{"eDP", "LVDS", "DSI", "DPI"}, kind) {
			rank++
		}
		ranked[rank] = append(ranked[rank], name)
	}
	var all []string
	for _, names := range ranked {
		all = append(all, names...)
	}
	return all
}

// modes lists the sizes in a connector's modes file.
func (p *probe) modes(name string) [][2]int {
	var modes [][2]int
	for _, f := range p.rows(name) {
		if w, h := parseMode(strings.Join(f, " ")); w >= minPixels && h >= minPixels {
			modes = append(modes, [2]int{w, h})
		}
	}
	return modes
}

// parseMode reads "3840x2160", "1920x1080i" or a vendor's "1920x1080p60"; 0, 0
// if it is none of these.
func parseMode(mode string) (width, height int) {
	w, rest, ok := strings.Cut(mode, "x")
	if !ok {
		return 0, 0
	}
	width, height = pixels(w), pixels(rest[:digits(rest)])
	if width == 0 || height == 0 {
		return 0, 0
	}
	return width, height
}

// amlogicNames are the modes that Amlogic names without their lines. A name
// stands before those that it begins with.
var amlogicNames = []struct {
	prefix        string
	width, height int
}{
	{"smpte", 4096, 2160}, // the cinema's 4K
	{"4k2ksmpte", 4096, 2160},
	{"4k2k", 3840, 2160},
	{"4k1k", 3840, 1080},
	{"8k4k", 7680, 4320},
	{"pal", 720, 576},
	{"ntsc", 720, 480},
	{"vga", 640, 480},
	{"svga", 800, 600},
	{"xga", 1024, 768},
	{"sxga", 1280, 1024},
	{"wsxga", 1440, 900},
	{"fhdvga", 1920, 1080},
}

// parseAmlogicMode reads "2160p60hz", "1080i50hz", "576cvbs", "smpte60hz",
// "1024x768p60hz", and what older kernels write: "1080p", "4k2k30hz",
// "lcd1080p". It returns 0, 0 if it is none of these.
func parseAmlogicMode(mode string) (width, height int) {
	mode = strings.ToLower(mode)
	for _, panel := range []string{"lvds", "lcd"} {
		mode = strings.TrimPrefix(mode, panel)
	}
	for _, named := range amlogicNames {
		if strings.HasPrefix(mode, named.prefix) {
			return named.width, named.height
		}
	}
	n := digits(mode)
	if n == 0 || n == len(mode) {
		return 0, 0
	}
	switch mode[n] {
	case 'x':
		return parseMode(mode)
	case 'p', 'i', 'c':
		if lines := pixels(mode[:n]); widthOf(lines) > 0 {
			return widthOf(lines), lines
		}
	}
	return 0, 0
}

// widthOf is the width that goes with a number of lines; 0 if there is none.
func widthOf(lines int) int {
	switch lines {
	case 480, 576:
		return 720
	case 720, 1080, 1440, 2160, 4320:
		return lines * 16 / 9
	case 768:
		return 1366 // panels
	}
	return 0
}

// parseVirtualSize reads "1920,1080". Drivers that draw into one of two or three
// buffers give the height of all of them ("1920,2160"): it is divided only if
// that yields a picture as it is sent to a screen.
func parseVirtualSize(size string) (width, height int) {
	w, h, ok := strings.Cut(size, ",")
	width, height = pixels(w), pixels(h)
	if !ok || width == 0 || height == 0 {
		return 0, 0
	}
	if width > height {
		return width, height
	}
	for buffers := 2; buffers <= 3; buffers++ {
		one := height / buffers
		if height%buffers == 0 && (width*9 == one*16 || widthOf(one) == width || width == 4096 && one == 2160) {
			return width, one
		}
	}
	return 0, 0
}

// pixels reads a number of pixels; 0 if no screen can have it.
func pixels(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxNumber {
		return 0
	}
	return n
}

func (p *probe) amlogicDiagonal() (inches float64, from string) {
	for _, name := range amlogicEDIDs {
		edid, err := hex.DecodeString(p.firstLine(name))
		if err != nil {
			continue
		}
		if s, ok := parseEDID(edid); ok && s.inches > 0 {
			return s.inches, name
		}
	}
	return 0, ""
}

// density is the pixels per inch of a screen, rounded.
func density(width, height int64, inches float64) int64 {
	return int64(math.Round(math.Hypot(float64(width), float64(height)) / inches))
}
