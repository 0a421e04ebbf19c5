// Plot draws what the fleet's test writes: requests a second at the server over
// time, on a logarithmic scale, for tvpassd and for a naive player.
//
//	plot SCENARIO.csv... DIR
package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/color/palette"
	"image/draw"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	vgdraw "gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: plot SCENARIO.csv... DIR")
		os.Exit(64)
	}
	files, dir := os.Args[1:len(os.Args)-1], os.Args[len(os.Args)-1]
	for _, file := range files {
		base := filepath.Join(dir, "fleet-"+strings.TrimSuffix(filepath.Base(file), ".csv"))
		if err := pictures(file, base); err != nil {
			fmt.Fprintf(os.Stderr, "plot: %s: %v\n", file, err)
			os.Exit(1)
		}
	}
}

// series holds the requests of each second of a scenario.
type series struct {
	title          string
	quiet          float64 // requests a second in a quiet time
	from, over     float64 // the seconds of the incident
	tvpassd, naive []float64
}

// start is how many seconds the second picture of a short incident shows.
const start = 600

// pictures makes BASE.png, and BASE-start.png of an incident that is soon over.
func pictures(file, base string) error {
	s, err := read(file)
	if err != nil {
		return err
	}
	if s.from < s.over && s.over < start && len(s.tvpassd) > start {
		first := *s
		first.tvpassd, first.naive = s.tvpassd[:start], s.naive[:start]
		if err := first.save(base + "-start.png"); err != nil {
			return err
		}
	}
	return s.save(base + ".png")
}

// read parses a file: a line of title, quiet, from and over, then a line of
// tvpassd and naive for each second.
func read(file string) (*series, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := csv.NewReader(f)
	lines.FieldsPerRecord = -1
	records, err := lines.ReadAll()
	if err != nil {
		return nil, err
	}
	if len(records) < 2 || len(records[0]) != 4 {
		return nil, errors.New("the first line must have four fields, with requests below it")
	}
	s := &series{title: records[0][0]}
	head, err := numbers(records[0][1:])
	if err != nil {
		return nil, err
	}
	s.quiet, s.from, s.over = head[0], head[1], head[2]
	for _, record := range records[1:] {
		n, err := numbers(record)
		if err != nil || len(n) != 2 {
			return nil, errors.Join(fmt.Errorf("read %q", record), err)
		}
		s.tvpassd, s.naive = append(s.tvpassd, n[0]), append(s.naive, n[1])
	}
	return s, nil
}

func numbers(fields []string) ([]float64, error) {
	var ns []float64
	for _, field := range fields {
		n, err := strconv.ParseFloat(field, 64)
		if err != nil {
			return nil, err
		}
		ns = append(ns, n)
	}
	return ns, nil
}

// save draws the picture.
func (s *series) save(file string) error {
	unit, name := 3600.0, "hours"
	if len(s.tvpassd) <= start {
		unit, name = 60, "minutes"
	}
	end := float64(len(s.tvpassd)) / unit
	top := math.Pow(10, math.Ceil(math.Log10(max(slices.Max(s.tvpassd), slices.Max(s.naive), 10))))

	p := plot.New()
	p.Title.Text = s.title
	p.X.Label.Text, p.Y.Label.Text = name, "requests a second"
	p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = 0, end, 1, top
	p.X.Tick.Marker = plot.TickerFunc(func(_, last float64) []plot.Tick {
		var ticks []plot.Tick
		for n := 0.0; n <= last; n++ {
			ticks = append(ticks, plot.Tick{Value: n, Label: strconv.Itoa(int(n))})
		}
		return ticks
	})
	p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	p.Legend.Top, p.Legend.Padding = true, vg.Points(2)

	incident, err := plotter.NewPolygon(plotter.XYs{
		{X: s.from / unit, Y: 1}, {X: s.over / unit, Y: 1}, {X: s.over / unit, Y: top}, {X: s.from / unit, Y: top},
	})
	if err != nil {
		return err
	}
	incident.Color, incident.LineStyle.Width = color.Gray{Y: 225}, 0
	quiet, err := plotter.NewLine(plotter.XYs{{X: 0, Y: s.quiet}, {X: end, Y: s.quiet}})
	if err != nil {
		return err
	}
	quiet.Color, quiet.Dashes = color.Gray{Y: 120}, []vg.Length{vg.Points(4), vg.Points(3)}
	naive, err := line(s.naive, unit, color.RGBA{R: 215, G: 60, B: 30, A: 255})
	if err != nil {
		return err
	}
	ours, err := line(s.tvpassd, unit, color.RGBA{G: 90, B: 200, A: 255})
	if err != nil {
		return err
	}
	p.Add(incident, quiet, naive, ours)
	p.Legend.Add("tvpassd", ours)
	p.Legend.Add("naive player: a token per start, retry after 1 s", naive)
	p.Legend.Add(fmt.Sprintf("tvpassd in a quiet time: %.0f a second", s.quiet), quiet)
	return encode(p, file)
}

// encode writes a PNG of 256 colours, a quarter of the size that gonum's has.
func encode(p *plot.Plot, file string) (err error) {
	canvas := vgimg.New(10*vg.Inch, 4.5*vg.Inch)
	p.Draw(vgdraw.New(canvas))
	full := canvas.Image()
	small := image.NewPaletted(full.Bounds(), palette.Plan9)
	draw.Draw(small, small.Bounds(), full, image.Point{}, draw.Src)
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(f, small)
}

// columns is how many points a line has at most.
const columns = 900

// window is over how many seconds a figure in a picture of hours is averaged: a
// single second is too noisy.
const window = 10

// line draws the highest figure of each column. A logarithmic scale has no zero:
// no request is drawn as one.
func line(values []float64, unit float64, c color.Color) (*plotter.Line, error) {
	width := max(len(values)/columns, 1)
	var points plotter.XYs
	for i := 0; i < len(values); i += width {
		most := 1.0
		for part := range slices.Chunk(values[i:min(i+width, len(values))], min(width, window)) {
			most = max(most, mean(part))
		}
		points = append(points, plotter.XY{X: float64(i) / unit, Y: most})
	}
	l, err := plotter.NewLine(points)
	if err != nil {
		return nil, err
	}
	l.Color = c
	return l, nil
}

func mean(values []float64) float64 {
	var sum float64
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}
