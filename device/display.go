package device

import (
	"encoding/hex"
	"math"
	"slices"
	"strconv"
	"strings"
)

// The files of Amlogic's own video driver, which vendor kernels have instead of DRM's connectors, of DRM, and of the frame
// buffer.
const (
	amlogicMode = "/sys/class/display/mode"
	drmFolder   = "/sys/class/drm"
	fbModes     = "/sys/class/graphics/fb0/modes"
	fbVirtual   = "/sys/class/graphics/fb0/virtual_size"
)

// amlogicEDIDs hold the EDID as one line of hexadecimal text.
var amlogicEDIDs = []string{
	"/sys/class/amhdmitx/amhdmitx0/rawedid",
	"/sys/devices/virtual/amhdmitx/amhdmitx0/rawedid",
}

// widthOf is the width that goes with the lines of a mode that Amlogic names by these alone; 0 where there is none.
func widthOf(lines int) int {
	switch lines {
	case 480, 576:
		return 720
	case 720, 1080, 1440, 2160, 4320:
		return lines * 16 / 9
	}
	return 0
}

// display is the screen's size in pixels and inches, with the files that say so; zero is unknown.
type display struct {
	screen
	pixelsFrom, inchesFrom string
}

// findDisplay looks where the picture's size is best known first. The frame buffer comes last: its user interface is
// often smaller than what goes out.
func (t *tree) findDisplay() display {
	d := t.drmDisplay()
	if inches, from := t.amlogicDiagonal(); inches > 0 {
		d.inches, d.inchesFrom = inches, from
	}
	set := func(width, height int, from string) bool {
		if width <= 0 || height <= 0 {
			return false
		}
		d.width, d.height, d.pixelsFrom = width, height, from
		return true
	}
	if w, h := parseAmlogicMode(t.text(amlogicMode)); set(w, h, amlogicMode) || d.width > 0 {
		return d
	}
	if _, mode, ok := strings.Cut(t.firstLine(fbModes), ":"); ok { // "U:1920x1080p-0"
		if w, h := parseMode(mode); set(w, h, fbModes) {
			return d
		}
	}
	w, h := parseVirtualSize(t.text(fbVirtual))
	set(w, h, fbVirtual)
	return d
}

// drmDisplay is the first connected display that says something of itself.
func (t *tree) drmDisplay() display {
	for _, connector := range t.connectors() {
		folder := drmFolder + "/" + connector
		raw, _ := t.read(folder + "/edid")
		edid, valid := parseEDID(raw)
		var d display
		if valid && edid.inches > 0 {
			d.inches, d.inchesFrom = edid.inches, folder+"/edid"
		}
		modes := t.modes(folder + "/modes")
		switch {
		case len(modes) == 0:
		case valid && slices.Contains(modes, [2]int{edid.width, edid.height}):
			d.width, d.height, d.pixelsFrom = edid.width, edid.height, folder+"/edid"
		default:
			d.width, d.height, d.pixelsFrom = modes[0][0], modes[0][1], folder+"/modes"
		}
		if d.width > 0 {
			return d
		}
	}
	return display{}
}

// connectors lists the connected DRM connectors: an internal panel first, then in natural order.
func (t *tree) connectors() []string {
	var panels, others []string
	for _, name := range t.list(drmFolder) {
		_, kind, ok := strings.Cut(name, "-") // card0-HDMI-A-1
		if !ok || strings.HasPrefix(kind, "Writeback") || strings.HasPrefix(kind, "Virtual") ||
			t.text(drmFolder+"/"+name+"/status") != "connected" {
			continue
		}
		kind, _, _ = strings.Cut(kind, "-")
		if slices.Contains([]string{"eDP", "LVDS", "DSI", "DPI"}, kind) {
			panels = append(panels, name)
		} else {
			others = append(others, name)
		}
	}
	return append(panels, others...)
}

// modes lists the sizes in a connector's modes file.
func (t *tree) modes(name string) [][2]int {
	data, err := t.read(name)
	if err != nil {
		return nil
	}
	var modes [][2]int
	for line := range strings.Lines(string(data)) {
		if w, h := parseMode(strings.TrimSpace(line)); w > 0 {
			modes = append(modes, [2]int{w, h})
		}
	}
	return modes
}

// parseMode reads "3840x2160", "1920x1080i" or a vendor's "1920x1080p60"; 0, 0 if it is none of these.
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

// parseAmlogicMode reads "2160p60hz", "1080i50hz", "576cvbs", "smpte60hz" or "1024x768p60hz"; 0, 0 if it is no picture.
func parseAmlogicMode(mode string) (width, height int) {
	if strings.HasPrefix(mode, "smpte") { // the cinema's 4K
		return 4096, 2160
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

// parseVirtualSize reads "1920,1080". Drivers that draw into one of two or three buffers give the height of all of them
// ("1920,2160"): it is divided only where that yields a picture as it is sent to a screen.
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

// pixels reads a number of pixels, 0 if it is none that a screen can have.
func pixels(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxNumber {
		return 0
	}
	return n
}

func (t *tree) amlogicDiagonal() (inches float64, from string) {
	for _, name := range amlogicEDIDs {
		edid, err := hex.DecodeString(t.firstLine(name))
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
