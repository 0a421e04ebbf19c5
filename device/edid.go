package device

import "math"

const (
	edidLength = 128 // the base block; the extensions behind it are not needed

	minInches, maxInches = 5, 200
	cmPerInch            = 2.54
)

// screen is what an EDID says about a display; zero is unknown.
type screen struct {
	width, height int     // pixels of the first detailed timing
	inches        float64 // diagonal, to a tenth
}

// parseEDID reads an EDID's base block. It is false unless header and checksum
// are right. An extension that was cut off does not matter.
func parseEDID(edid []byte) (screen, bool) {
	if len(edid) < edidLength || string(edid[:8]) != "\x00\xff\xff\xff\xff\xff\xff\x00" {
		return screen{}, false
	}
	edid = edid[:edidLength]
	var sum byte
	for _, b := range edid {
		sum += b
	}
	if sum != 0 {
		return screen{}, false
	}
	timing := edid[54:72]
	if timing[0] == 0 && timing[1] == 0 { // no pixel clock: a descriptor, not a timing
		return screen{inches: diagonal(edid[21], edid[22], 0, 0)}, true
	}
	s := screen{
		width:  int(timing[2]) | int(timing[4]&0xF0)<<4,
		height: int(timing[5]) | int(timing[7]&0xF0)<<4,
	}
	if timing[17]&0x80 != 0 { // interlaced: the timing holds the lines of one field
		s.height *= 2
	}
	s.inches = diagonal(edid[21], edid[22], int(timing[12])|int(timing[14]&0xF0)<<4,
		int(timing[13])|int(timing[14]&0x0F)<<8)
	return s, true
}

// diagonal computes a screen's diagonal in inches, 0 if it isn't known. The size
// in centimetres decides whether there is one: zero means a projector or a
// repeater, and thousands of sets give an aspect ratio or 160x90 instead. The
// timing's millimetres are finer, but wrong as often, so they count only if both
// agree.
func diagonal(cmWidth, cmHeight byte, mmWidth, mmHeight int) float64 {
	switch [2]byte{cmWidth, cmHeight} {
	case [2]byte{16, 9}, [2]byte{16, 10}, [2]byte{4, 3}, [2]byte{5, 4}, [2]byte{1, 1}, [2]byte{160, 90}:
		return 0
	}
	if cmWidth == 0 || cmHeight == 0 {
		return 0
	}
	width, height := float64(cmWidth), float64(cmHeight)
	w, h := float64(mmWidth)/10, float64(mmHeight)/10
	if math.Abs(w-width) <= 1 && math.Abs(h-height) <= 1 {
		width, height = w, h
	}
	inches := math.Round(math.Hypot(width, height)/cmPerInch*10) / 10
	if inches < minInches || inches > maxInches {
		return 0
	}
	return inches
}
