package worldmap

import (
	"compress/gzip"
	_ "embed" // the data below
	"encoding/json"
	"fmt"
	"math"
	"strings"
)

// countriesGzip is world-atlas 2.0.2's countries-50m.json; see data/README.md.
//
//go:embed data/countries-50m.json.gz
var countriesGzip string

// point is a place on the unrolled Web-Mercator plane: the world is the unit square, x grows eastwards from the
// antimeridian, y southwards. A shape that crosses the antimeridian goes on past 0 or 1 instead of jumping.
type point struct{ x, y float64 }

// ring lists the arcs that make up a closed line. As in TopoJSON, ^i is arc i backwards.
type ring []int

// country is one feature of the atlas.
type country struct {
	name     string
	polygons [][]ring // each an outer ring and its holes
}

// atlas is a decoded topology. Neighbours share arcs, so what is done to an arc keeps both sides of a border together.
type atlas struct {
	arcs      [][]point
	countries []country
}

// https://github.com/topojson/topojson-specification, as far as world-atlas uses it.
type topology struct {
	Type      string
	Transform struct{ Scale, Translate [2]float64 }
	Arcs      [][][2]int // the first position of an arc is absolute, the others are steps, all quantized
	Objects   struct {
		Countries struct {
			Geometries []struct {
				Type       string
				Arcs       json.RawMessage
				Properties struct{ Name string }
			}
		}
	}
}

func readAtlas() (*atlas, error) {
	unzipped, err := gzip.NewReader(strings.NewReader(countriesGzip))
	if err != nil {
		return nil, fmt.Errorf("unzip the map's data: %w", err)
	}
	var topo topology
	if err := json.NewDecoder(unzipped).Decode(&topo); err != nil {
		return nil, fmt.Errorf("decode the map's data: %w", err)
	}
	a := &atlas{arcs: make([][]point, len(topo.Arcs))}
	for i, steps := range topo.Arcs {
		a.arcs[i] = dequantize(steps, topo.Transform.Scale, topo.Transform.Translate)
	}
	for _, g := range topo.Objects.Countries.Geometries {
		c := country{name: g.Properties.Name}
		switch g.Type {
		case "Polygon":
			c.polygons = make([][]ring, 1)
			err = json.Unmarshal(g.Arcs, &c.polygons[0])
		case "MultiPolygon":
			err = json.Unmarshal(g.Arcs, &c.polygons)
		default:
			err = fmt.Errorf("geometry type %q", g.Type)
		}
		if err != nil {
			return nil, fmt.Errorf("decode the shape of %s: %w", c.name, err)
		}
		a.countries = append(a.countries, c)
	}
	return a, nil
}

func dequantize(steps [][2]int, scale, translate [2]float64) []point {
	arc := make([]point, len(steps))
	var qx, qy int
	for i, s := range steps {
		qx, qy = qx+s[0], qy+s[1]
		p := project(float64(qx)*scale[0]+translate[0], float64(qy)*scale[1]+translate[1])
		if i > 0 {
			p.x -= math.Round(p.x - arc[i-1].x)
		}
		arc[i] = p
	}
	return arc
}

// project is spherical Web Mercator (EPSG:3857) scaled to the unit square, of degrees. The poles, which it sends to
// infinity, end up a little outside of the square.
func project(lon, lat float64) point {
	const beyond = 88.0
	φ := max(-beyond, min(beyond, lat)) * math.Pi / 180
	return point{x: (lon + 180) / 360, y: 0.5 - math.Asinh(math.Tan(φ))/(2*math.Pi)}
}

// join strings the arcs of a ring together, without repeating the points where they meet. Ends within arcs may have
// been moved to another copy of the world; a ring that goes once around a pole is closed beyond the map's edge.
func join(r ring, arcs [][]point) []point {
	var line []point
	for _, i := range r {
		backwards := i < 0
		if backwards {
			i = ^i
		}
		arc := arcs[i]
		var shift float64
		for k := range arc {
			p := arc[k]
			if backwards {
				p = arc[len(arc)-1-k]
			}
			if k == 0 && len(line) > 0 {
				shift = math.Round(line[len(line)-1].x - p.x)
				continue
			}
			line = append(line, point{p.x + shift, p.y})
		}
	}
	if first, last := line[0], line[len(line)-1]; math.Abs(last.x-first.x) > 0.5 {
		const farSouth = 2 // the only such ring is Antarctica's
		line = append(line, point{last.x, farSouth}, point{first.x, farSouth}, first)
	}
	return line
}
