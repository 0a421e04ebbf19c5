// plot draws what scripts/fleet writes: requests a second at the server over time, on a logarithmic scale, for tvpassd and for
// the naive player. It is a module of its own, so that the project does without a font.
//
//	plot SCENARIO.csv… DIR
package main

import (
	"bufio"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/image/font"
	"golang.org/x/image/font/basicfont"
	"golang.org/x/image/math/fixed"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: plot SCENARIO.csv… DIR")
		os.Exit(64)
	}
	dir := os.Args[len(os.Args)-1]
	for _, path := range os.Args[1 : len(os.Args)-1] {
		if err := plot(path, filepath.Join(dir, "fleet-"+strings.TrimSuffix(filepath.Base(path), ".csv")+".png")); err != nil {
			fmt.Fprintln(os.Stderr, "plot:", err)
			os.Exit(1)
		}
	}
}

// series are the requests of each second, and what is to be marked.
type series struct {
	title      string
	calm       float64 // requests a second when all is well
	from, over int     // the seconds of the incident
	tvpassd    []float64
	naive      []float64
}

// plot draws a scenario, and the beginning of one that is soon over a second time.
func plot(from, to string) error {
	s, err := read(from)
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	if start := 600; s.over < start {
		first := *s
		first.tvpassd, first.naive = s.tvpassd[:start], s.naive[:start]
		if err := first.write(strings.TrimSuffix(to, ".png") + "-start.png"); err != nil {
			return err
		}
	}
	return s.write(to)
}

func (s *series) write(to string) (err error) {
	file, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(file, s.draw())
}

func read(path string) (*series, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	s := &series{}
	if !lines.Scan() {
		return nil, errors.New("it is empty")
	}
	// The title may have commas in it.
	fields := strings.Split(lines.Text(), ",")
	if len(fields) < 4 {
		return nil, errors.New("its first line is too short")
	}
	numbers := fields[len(fields)-3:]
	s.title = strings.Join(fields[:len(fields)-3], ",")
	if _, err := fmt.Sscan(strings.Join(numbers, " "), &s.calm, &s.from, &s.over); err != nil {
		return nil, err
	}
	for lines.Scan() {
		var t, n float64
		if _, err := fmt.Sscanf(lines.Text(), "%g,%g", &t, &n); err != nil {
			return nil, err
		}
		s.tvpassd, s.naive = append(s.tvpassd, t), append(s.naive, n)
	}
	return s, lines.Err()
}

// The picture's measures, in pixels.
const (
	width, height            = 960, 420
	left, right, top, bottom = 90, 20, 52, 46
)

// The colours of the picture, by their place in its palette.
const (
	white = iota
	black
	grey
	pale
	blue
	red
)

var palette = color.Palette{
	white: color.Gray{255}, black: color.Gray{0}, grey: color.Gray{140}, pale: color.Gray{232},
	blue: color.RGBA{0, 90, 200, 255}, red: color.RGBA{215, 60, 30, 255},
}

type picture struct {
	*image.Paletted
	*series
	decades float64 // of the y axis, from 1
}

func (s *series) draw() image.Image {
	p := picture{image.NewPaletted(image.Rect(0, 0, width, height), palette), s, 1}
	for i := range s.tvpassd {
		p.decades = max(p.decades, math.Ceil(math.Log10(max(s.tvpassd[i], s.naive[i], 1))))
	}
	p.axes()
	p.curve(s.naive, red)
	p.curve(s.tvpassd, blue)
	p.text(left, 18, black, s.title)
	p.text(left, 38, blue, "tvpassd")
	p.text(left+90, 38, red, "naive player: a token per start, retry after 1 s")
	p.text(left+470, 38, grey, fmt.Sprintf("---- all is well: %.0f a second", s.calm))
	return p
}

func (p picture) x(second int) int {
	return left + second*(width-left-right)/len(p.tvpassd)
}

func (p picture) y(value float64) int {
	return height - bottom - int(math.Log10(max(value, 1))/p.decades*float64(height-top-bottom))
}

// axes draws the frame, its scales, the incident and the calm.
func (p picture) axes() {
	for x := p.x(p.from); x < p.x(p.over); x++ {
		p.vertical(x, top, height-bottom, pale)
	}
	for d := 0; d <= int(p.decades); d++ {
		y := p.y(math.Pow10(d))
		p.horizontal(left, width-right, y, pale)
		p.horizontal(left-5, left, y, black)
		label := commas(int(math.Pow10(d)))
		p.text(left-10-7*len(label), y+4, black, label)
	}
	unit, name := 3600, "h"
	if len(p.tvpassd) < unit {
		unit, name = 60, "min"
	}
	for n := 0; n <= len(p.tvpassd)/unit; n++ {
		x := p.x(n * unit)
		p.vertical(x, height-bottom, height-bottom+5, black)
		label := fmt.Sprint(n, " ", name)
		p.text(x-7*len(label)/2, height-bottom+20, black, label)
	}
	p.text(8, 38, black, "requests/s")
	p.text((left+width-right)/2-100, height-8, black, "time; the highest second of each column")
	p.horizontal(left, width-right, height-bottom, black)
	p.vertical(left, top, height-bottom, black)
	for x := left; x < width-right; x++ {
		if x%8 < 4 {
			p.SetColorIndex(x, p.y(p.calm), grey)
		}
	}
}

// curve draws the highest second of each column of the picture, joined to the next one's.
func (p picture) curve(values []float64, colour uint8) {
	last := -1
	for x := left; x < width-right; x++ {
		begin, end := (x-left)*len(values)/(width-left-right), (x-left+1)*len(values)/(width-left-right)
		most := 0.0
		for _, v := range values[begin:max(end, begin+1)] {
			most = max(most, v)
		}
		y := p.y(most)
		if last < 0 {
			last = y
		}
		p.vertical(x, min(last, y)-1, max(last, y)+1, colour)
		last = y
	}
}

func (p picture) vertical(x, from, to int, colour uint8) {
	for y := from; y < to; y++ {
		p.SetColorIndex(x, y, colour)
	}
}

func (p picture) horizontal(from, to, y int, colour uint8) {
	for x := from; x < to; x++ {
		p.SetColorIndex(x, y, colour)
	}
}

// text writes on a line that ends at y. The pixels of this font are whole: no shades that the palette lacks.
func (p picture) text(x, y int, colour uint8, s string) {
	d := font.Drawer{Dst: p.Paletted, Src: image.NewUniform(palette[colour]), Face: basicfont.Face7x13, Dot: fixed.P(x, y)}
	d.DrawString(s)
}

func commas(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
