// Package worldmap draws a political map of the world, which the demo's bucket holds: as images in Web-Mercator tiles (Map),
// as an archive of vector tiles (Archive), and as a style that draws those, with its glyphs, its sprite and the names of the
// seas (StyleFiles). Everything is made from data/ and the Go fonts when it is asked for, and the same version makes the same
// bytes.
package worldmap

import (
	"errors"
	"fmt"
	"sync"
)

const tileSize = 256

// What there is: square PNG tiles of 256 pixels a side (512 at scale 2).
const (
	MinZoom = 0
	MaxZoom = 5
	// MaxScale is the largest pixel density.
	MaxScale = 2
	// Attribution is what a page that shows the map says below it.
	Attribution = "Made with Natural Earth"
)

// ErrNoTile is the answer for a tile outside of the map.
var ErrNoTile = errors.New("no such tile")

// Map draws tiles; safe for concurrent use. It keeps what the tiles of a zoom share, once one of them was asked for.
type Map struct {
	levels [MaxZoom + 1][MaxScale]func() *level
}

// New decodes the built-in data, which takes some 50 ms of a processor.
func New() (*Map, error) {
	a, err := readAtlas()
	if err != nil {
		return nil, err
	}
	f, err := readFonts()
	if err != nil {
		return nil, err
	}
	tints := chooseTints(a)
	m := &Map{}
	for zoom := range m.levels {
		m.levels[zoom][0] = sync.OnceValue(func() *level {
			l := newLevel(a, tints, zoom, 1)
			l.label(place(l, a, f, zoom), f)
			return l
		})
		m.levels[zoom][1] = sync.OnceValue(func() *level {
			l := newLevel(a, tints, zoom, 2)
			l.label(m.levels[zoom][0]().labels, f) // names stand where they do at scale 1
			return l
		})
	}
	return m, nil
}

// Tile draws one tile as a PNG image; the same arguments give the same bytes. The scale is 1 or 2. Outside of the
// zooms, scales and columns there are, the error is ErrNoTile.
func (m *Map) Tile(z uint8, x, y uint32, scale uint8) ([]byte, error) {
	if z > MaxZoom || x>>z != 0 || y>>z != 0 || scale < 1 || scale > MaxScale {
		return nil, fmt.Errorf("draw tile %d/%d/%d@%dx: %w", z, x, y, scale, ErrNoTile)
	}
	file, err := encode(m.levels[z][scale-1]().paint(x, y, tileSize*int(scale)))
	if err != nil {
		return nil, fmt.Errorf("encode tile %d/%d/%d@%dx: %w", z, x, y, scale, err)
	}
	return file, nil
}
