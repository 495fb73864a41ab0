package worldmap

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"tilegate/internal/pmtiles"
)

// VectorLayers describes the layers of Archive, as TileJSON does.
const VectorLayers = `[{"id":"countries","description":"Land, by country","fields":{"name":"String","tint":"Number"},"minzoom":0,"maxzoom":5},` +
	`{"id":"names","description":"Where the names of countries stand","fields":{"name":"String","rank":"Number"},"minzoom":0,"maxzoom":5}]`

// margin is how far a vector tile reaches beyond its edges, in units, so that lines along them are not seen.
const margin = 80

// Archive makes a PMTiles archive of the same countries as vector tiles, of all zooms: the layers of VectorLayers. It
// takes about a second of a processor. The same version of this package makes the same bytes.
func Archive() ([]byte, error) {
	a, err := readAtlas()
	if err != nil {
		return nil, err
	}
	chosen := chooseTints(a)
	var tiles []numbered
	for zoom := range MaxZoom + 1 {
		l := newLevel(a, chosen, zoom, MaxScale)
		names := l.names(a)
		for y := range uint32(1) << zoom {
			for x := range uint32(1) << zoom {
				body, err := l.vectorTile(names, x, y)
				if err != nil {
					return nil, err
				}
				if id, ok := pmtiles.TileID(uint8(zoom), x, y); ok && body != nil {
					tiles = append(tiles, numbered{id, body})
				}
			}
		}
	}
	slices.SortFunc(tiles, func(a, b numbered) int { return int(a.id) - int(b.id) })
	metadata, err := json.Marshal(map[string]any{
		"name": "Countries of the world", "description": "Natural Earth's countries at 1:50m", "attribution": Attribution,
		"type": "overlay", "vector_layers": json.RawMessage(VectorLayers),
	})
	if err != nil {
		return nil, fmt.Errorf("describe the archive: %w", err)
	}
	var b bytes.Buffer
	err = pmtiles.Write(&b, pmtiles.WriteOptions{TileType: pmtiles.MVT, TileCompression: pmtiles.Gzip, Metadata: metadata},
		func(yield func(uint64, []byte) bool) {
			for _, t := range tiles {
				if !yield(t.id, t.body) {
					return
				}
			}
		})
	return b.Bytes(), err
}

// numbered is a tile with its place in the archive.
type numbered struct {
	id   uint64
	body []byte
}

// vectorTile makes one tile, gzipped, nil where there is only water.
func (l *level) vectorTile(names []name, x, y uint32) ([]byte, error) {
	countries := mvtLayer{name: "countries", keys: []string{"name", "tint"}}
	places := mvtLayer{name: "names", keys: []string{"name", "rank"}}
	size := l.world / (l.scale * tileSize) // of the world, in tiles
	for i, s := range l.shapes {
		var p pen
		clockwise := s.clockwise()
		for _, r := range s.rings {
			for shift := -1.0; shift <= 1; shift++ { // a shape may go on past the antimeridian
				left, top := (r.min.x+shift)*size-float64(x), r.min.y*size-float64(y)
				right, bottom := (r.max.x+shift)*size-float64(x), r.max.y*size-float64(y)
				const over = float64(margin) / extent
				if right < -over || left > 1+over || bottom < -over || top > 1+over {
					continue
				}
				points := make([]point, len(r.points))
				for k, at := range r.points {
					points[k] = point{((at.x+shift)*size - float64(x)) * extent, (at.y*size - float64(y)) * extent}
				}
				if !clockwise {
					slices.Reverse(points)
				}
				p.ring(clip(points))
			}
		}
		if len(p.geometry) > 0 {
			countries.feature(uint64(i+1), mvtPolygon, p.geometry, names[i].text, uint64(slices.Index(tints, s.tint)+1)) // 0: ice
		}
		px, py := (names[i].at.x*size-float64(x))*extent, (names[i].at.y*size-float64(y))*extent
		if len(s.main) > 0 && px >= 0 && px < extent && py >= 0 && py < extent {
			var p pen
			p.command(moveTo, 1)
			p.step(int64(px), int64(py))
			places.feature(uint64(i+1), mvtPoint, p.geometry, names[i].text, uint64(max(0, -math.Log2(s.size))))
		}
	}
	tile := places.appendTo(countries.appendTo(nil))
	if len(tile) == 0 {
		return nil, nil
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(tile); err != nil {
		return nil, fmt.Errorf("compress a vector tile: %w", err)
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("compress a vector tile: %w", err)
	}
	return b.Bytes(), nil
}

// clockwise reports whether the outer rings of a shape run clockwise on the map: they hold more than its holes do.
func (s shape) clockwise() bool {
	var sum float64
	for _, r := range s.rings {
		sum += area(r.points)
	}
	return sum > 0
}

// name is what a country is called, and where that stands.
type name struct {
	text string
	at   point
}

// names returns those of all countries, each in the middle of its largest part.
func (l *level) names(a *atlas) []name {
	names := make([]name, len(l.shapes))
	for i, s := range l.shapes {
		names[i].text = a.countries[i].name
		if newer, ok := renamed[names[i].text]; ok {
			names[i].text = newer
		}
		if len(s.main) > 0 {
			const world = 1 << 14 // points, enough for the smallest country
			r := newRoom(s.main, world)
			x, y := (r.cx*r.cell+r.min.x)/world, (r.cy*r.cell+r.min.y)/world
			names[i].at = point{x - math.Floor(x), y}
		}
	}
	return names
}

// clip cuts a closed line to a vector tile and its margin, edge by edge (Sutherland and Hodgman's). What lies outside
// runs along the edges, where nobody sees it.
func clip(points []point) []point {
	for _, edge := range [...]struct {
		inside func(p point) bool
		cross  func(p, q point) point
	}{
		{func(p point) bool { return p.x >= -margin }, vertical(-margin)},
		{func(p point) bool { return p.x <= extent+margin }, vertical(extent + margin)},
		{func(p point) bool { return p.y >= -margin }, horizontal(-margin)},
		{func(p point) bool { return p.y <= extent+margin }, horizontal(extent + margin)},
	} {
		var kept []point
		for i, p := range points {
			before := points[(i+len(points)-1)%len(points)]
			if edge.inside(p) != edge.inside(before) {
				kept = append(kept, edge.cross(before, p))
			}
			if edge.inside(p) {
				kept = append(kept, p)
			}
		}
		points = kept
	}
	return points
}

// vertical and horizontal find where a line crosses an edge.
func vertical(x float64) func(p, q point) point {
	return func(p, q point) point { return point{x, p.y + (q.y-p.y)*(x-p.x)/(q.x-p.x)} }
}

func horizontal(y float64) func(p, q point) point {
	return func(p, q point) point { return point{p.x + (q.x-p.x)*(y-p.y)/(q.y-p.y), y} }
}
