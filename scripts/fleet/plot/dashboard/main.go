// Dashboard draws the panels of a Grafana dashboard that show lines, from the answers
// of a Prometheus, as one picture.
//
//	dashboard URL START END DASHBOARD.json PICTURE.png
package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/color/palette"
	imagedraw "image/draw"
	"image/png"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

func main() {
	if len(os.Args) != 6 {
		fmt.Fprintln(os.Stderr, "usage: dashboard URL START END DASHBOARD.json PICTURE.png")
		os.Exit(64)
	}
	if err := picture(source{os.Args[1], os.Args[2], os.Args[3]}, os.Args[4], os.Args[5]); err != nil {
		fmt.Fprintln(os.Stderr, "dashboard:", err)
		os.Exit(1)
	}
}

// panel is what is read of Grafana's panels.
type panel struct {
	Title, Type string
	Targets     []struct{ Expr, LegendFormat string }
	FieldConfig struct{ Defaults struct{ Unit string } }
}

// The size of the picture.
const (
	columns = 2
	width   = 30 * vg.Centimeter
	height  = 6.5 * vg.Centimeter // of a row
)

func picture(from source, file, to string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var board struct{ Panels []panel }
	if err := json.Unmarshal(text, &board); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	lines := slices.DeleteFunc(board.Panels, func(p panel) bool { return p.Type != "timeseries" })
	rows := (len(lines) + columns - 1) / columns
	canvas := vgimg.NewWith(vgimg.UseWH(width, height*vg.Length(rows)), vgimg.UseDPI(80))
	tiles := draw.Tiles{Rows: rows, Cols: columns, PadX: vg.Centimeter, PadY: vg.Centimeter / 2,
		PadTop: vg.Centimeter / 3, PadBottom: vg.Centimeter / 3, PadLeft: vg.Centimeter / 3, PadRight: vg.Centimeter / 2}
	for i, p := range lines {
		drawn, err := from.draw(p)
		if err != nil {
			return fmt.Errorf("%s: %w", p.Title, err)
		}
		drawn.Draw(tiles.At(draw.New(canvas), i%columns, i/columns))
	}
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	drawn := canvas.Image()
	few := image.NewPaletted(drawn.Bounds(), palette.WebSafe) // a third of the bytes
	imagedraw.Draw(few, few.Bounds(), drawn, image.Point{}, imagedraw.Src)
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	if err := encoder.Encode(out, few); err != nil {
		return err
	}
	return out.Close()
}

// draw draws the lines of a panel.
func (s source) draw(p panel) (*plot.Plot, error) {
	drawn := plot.New()
	drawn.Title.Text = p.Title
	drawn.X.Tick.Marker = plot.TimeTicks{Format: "15:04"}
	drawn.Y.Min = 0
	units := map[string]string{"s": "seconds", "reqps": "a second", "bytes": "bytes"}
	drawn.Y.Label.Text = units[p.FieldConfig.Defaults.Unit]
	drawn.Legend.Top, drawn.Legend.Left = true, true
	drawn.Add(plotter.NewGrid())
	n := 0
	for _, target := range p.Targets {
		all, err := s.ask(target.Expr)
		if err != nil {
			return nil, err
		}
		for _, one := range all {
			line, err := plotter.NewLine(one.points())
			if err != nil {
				return nil, err
			}
			line.Width = vg.Points(1.5)
			line.Color = plotutil.Color(n)
			if n >= len(plotutil.DefaultColors) {
				line.Color = color.Gray{uint8(40 * n)}
			}
			n++
			drawn.Add(line)
			drawn.Legend.Add(one.legend(target.LegendFormat), line)
		}
	}
	drawn.Y.Max *= 1.25 // the legend stands above the lines
	return drawn, nil
}

// source is a Prometheus and a time.
type source struct{ url, start, end string }

// series is one line that Prometheus answers.
type series struct {
	Metric map[string]string
	Values [][2]any
}

// ask returns the lines of a query, by their labels.
func (s source) ask(query string) ([]series, error) {
	query = strings.NewReplacer("$__rate_interval", "1h", "$instance", ".*", "$app", ".*").Replace(query)
	resp, err := http.Get(s.url + "/api/v1/query_range?" +
		url.Values{"query": {query}, "start": {s.start}, "end": {s.end}, "step": {"1200"}}.Encode())
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var answer struct {
		Status, Error string
		Data          struct{ Result []series }
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Status != "success" {
		return nil, fmt.Errorf("%s: %w %s", query, err, answer.Error)
	}
	slices.SortFunc(answer.Data.Result, func(a, b series) int {
		return cmp.Compare(fmt.Sprint(a.Metric), fmt.Sprint(b.Metric))
	})
	return answer.Data.Result, nil
}

func (s series) points() plotter.XYs {
	points := make(plotter.XYs, 0, len(s.Values))
	for _, v := range s.Values {
		at, _ := v[0].(float64)
		text, _ := v[1].(string)
		if y, err := strconv.ParseFloat(text, 64); err == nil && y == y {
			points = append(points, plotter.XY{X: at, Y: y})
		}
	}
	return points
}

// legend fills in Grafana's {{label}}.
func (s series) legend(format string) string {
	for label, value := range s.Metric {
		format = strings.ReplaceAll(format, "{{"+label+"}}", value)
	}
	return format
}
