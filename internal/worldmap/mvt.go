package worldmap

import (
	"encoding/binary"
	"math"
)

// Vector tiles as https://github.com/mapbox/vector-tile-spec/tree/master/2.1 has them, as far as this map needs them.

// extent is the width of a vector tile, in the units of its coordinates.
const extent = 4096

// The types of geometries, and the commands that draw them.
const (
	mvtPoint   = 1
	mvtPolygon = 3

	moveTo    = 1
	lineTo    = 2
	closePath = 7
)

// mvtLayer collects the features of one layer.
type mvtLayer struct {
	name     string
	keys     []string
	features []byte
	values   [][]byte
	index    map[string]uint64 // of values, by their encoding
}

// feature adds one, with a value for each of the layer's keys: a string or a uint64.
func (l *mvtLayer) feature(id uint64, kind uint64, geometry []uint64, values ...any) {
	var tags, f []byte
	for key, v := range values {
		var encoded []byte
		switch v := v.(type) {
		case string:
			encoded = appendBytes(nil, 1, []byte(v))
		case uint64:
			encoded = appendVarint(nil, 5, v)
		}
		at, known := l.index[string(encoded)]
		if !known {
			if l.index == nil {
				l.index = map[string]uint64{}
			}
			at = uint64(len(l.values))
			l.index[string(encoded)] = at
			l.values = append(l.values, encoded)
		}
		tags = binary.AppendUvarint(binary.AppendUvarint(tags, uint64(key)), at)
	}
	var packed []byte
	for _, n := range geometry {
		packed = binary.AppendUvarint(packed, n)
	}
	f = appendVarint(f, 1, id)
	f = appendBytes(f, 2, tags)
	f = appendVarint(f, 3, kind)
	f = appendBytes(f, 4, packed)
	l.features = appendBytes(l.features, 2, f)
}

// appendTo appends the layer to a tile, unless it is empty.
func (l *mvtLayer) appendTo(tile []byte) []byte {
	if len(l.features) == 0 {
		return tile
	}
	b := appendVarint(nil, 15, 2) // the specification's version
	b = appendBytes(b, 1, []byte(l.name))
	b = append(b, l.features...)
	for _, key := range l.keys {
		b = appendBytes(b, 3, []byte(key))
	}
	for _, v := range l.values {
		b = appendBytes(b, 4, v)
	}
	b = appendVarint(b, 5, extent)
	return appendBytes(tile, 3, b)
}

// appendVarint and appendBytes append a field of a protocol buffer, of the wire types 0 and 2.
func appendVarint(b []byte, field, n uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(b, field<<3), n)
}

func appendBytes(b []byte, field uint64, value []byte) []byte {
	return append(binary.AppendUvarint(binary.AppendUvarint(b, field<<3|2), uint64(len(value))), value...)
}

// pen encodes a geometry: commands, and steps from point to point.
type pen struct {
	geometry []uint64
	x, y     int64
}

func (p *pen) command(id uint64, count int) {
	p.geometry = append(p.geometry, id|uint64(count)<<3)
}

func (p *pen) step(x, y int64) {
	for _, d := range [...]int64{x - p.x, y - p.y} {
		p.geometry = append(p.geometry, uint64(d<<1)^uint64(d>>63)) // zigzag
	}
	p.x, p.y = x, y
}

// ring draws a closed line of whole units, and leaves out one that has no area. outer rings have a positive area in these
// coordinates, of which y grows southwards, and holes a negative one.
func (p *pen) ring(points []point) {
	var grid [][2]int64
	for _, at := range points {
		g := [2]int64{int64(math.Round(at.x)), int64(math.Round(at.y))}
		if len(grid) == 0 || grid[len(grid)-1] != g {
			grid = append(grid, g)
		}
	}
	for len(grid) > 1 && grid[0] == grid[len(grid)-1] {
		grid = grid[:len(grid)-1]
	}
	var doubled int64
	for i, a := range grid {
		b := grid[(i+1)%len(grid)]
		doubled += a[0]*b[1] - b[0]*a[1]
	}
	if len(grid) < 3 || doubled == 0 {
		return
	}
	p.command(moveTo, 1)
	p.step(grid[0][0], grid[0][1])
	p.command(lineTo, len(grid)-1)
	for _, g := range grid[1:] {
		p.step(g[0], g[1])
	}
	p.command(closePath, 1)
}
