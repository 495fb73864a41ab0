package proxy

import (
	"strings"

	"tilegate/internal/tile"
)

// A CDN purges by tags. A tile has that of its tileset, those of the cells of every second zoom that hold it, and one of its own: 17 at
// most. A cell is named by its quadkey, which begins with those of the cells around it, and holds the tiles of its own zoom and of all
// below. So an area is a few cells, and above their zoom single tiles. A tag has 96 bytes at most: CloudFront takes 256,
// Cloudflare and Fastly 1,024. All of a tile's have less than 1.5 KB: Cloudflare and Fastly take 16 KB, and CloudFront 50 tags.
const (
	cellStep    = 2  // zooms from one cell to the next
	maxAreaTags = 64 // of an area; where it needs more, larger cells are taken
)

// Tags of tilesets and bundles hold no dot, and neither do ids: no tileset's tag is that of another's cell.
func tilesetTag(id string) string {
	if bundle, ok := strings.CutPrefix(id, tile.BundlePrefix); ok {
		return "bundle-" + bundle
	}
	return "tileset-" + id
}

func appendCellTag(b []byte, id string, z uint8, x, y uint32) []byte {
	return tile.AppendQuadkey(append(append(b, id...), ".q"...), z, x, y)
}

func appendOwnTag(b []byte, id string, z uint8, x, y uint32) []byte {
	return tile.AppendQuadkey(append(append(b, id...), ".t"...), z, x, y)
}

// setTags names a tile for a CDN that has proved who it is. Fastly separates names by spaces, the others by commas.
func (ts *tileset) setTags(x *exchange, want tilePath) {
	b := append(make([]byte, 0, 256), ts.surrogateKey[0]...)
	for z := uint8(cellStep); z <= want.z; z += cellStep {
		up := want.z - z
		b = appendCellTag(append(b, ' '), ts.ID, z, want.x>>up, want.y>>up)
	}
	b = appendOwnTag(append(b, ' '), ts.ID, want.z, want.x, want.y)
	keys := string(b)
	x.Set("Surrogate-Key", []string{keys})
	x.Set("Cache-Tag", []string{strings.ReplaceAll(keys, " ", ",")})
	x.tagged = true
}

// tagsOf returns the tags of what a purge names: of all of that, and where an area is too large for as many tags, of more.
func tagsOf(p *tile.Purge) []string {
	if p.Tiles == nil {
		return []string{tilesetTag(p.Tileset)}
	}
	// Single tiles down to some zoom, and the cells of the next one for those below. The deepest zoom that is few enough says it best.
	zooms := p.Tiles.Zooms
	area := p.Tiles.Area()
	if n, ok := countTiles(area, zooms.Min, zooms.Max); ok && n <= maxAreaTags {
		return areaTags(p, zooms.Max+1)
	}
	cells := zooms.Max / cellStep * cellStep
	for ; cells > cellStep; cells -= cellStep {
		above, ok := uint64(0), true
		if cells > zooms.Min {
			above, ok = countTiles(area, zooms.Min, cells-1)
		}
		if n, fits := countTiles(area, cells, cells); ok && fits && above+n <= maxAreaTags {
			break
		}
	}
	const everything = 1 + 4 + 16 // tiles at zooms 0 and 1, cells at zoom 2
	tags := areaTags(p, cells)
	if cells == cellStep && len(tags) == everything {
		return []string{tilesetTag(p.Tileset)}
	}
	return tags
}

// countTiles counts the tiles of an area; ok is false if there are far too many.
func countTiles(a tile.Area, low, high uint8) (n uint64, ok bool) {
	for z := low; z <= high; z++ {
		for _, s := range a.Spans(z) {
			if n += s.Count(); n > maxAreaTags {
				return n, false
			}
		}
	}
	return n, true
}

// areaTags returns the tags of the cells of one zoom, and of the single tiles above. Without tiles at that zoom, or below, there are
// no cells.
func areaTags(p *tile.Purge, cells uint8) []string {
	var tags []string
	seen := map[string]bool{}
	add := func(z uint8, appendTag func(b []byte, id string, z uint8, x, y uint32) []byte) {
		for _, s := range p.Tiles.Area().Spans(z) {
			for x := s.Left; x <= s.Right; x++ {
				for y := s.Top; y <= s.Bottom; y++ {
					if tag := string(appendTag(nil, p.Tileset, z, x, y)); !seen[tag] {
						seen[tag] = true
						tags = append(tags, tag)
					}
				}
			}
		}
	}
	for z := p.Tiles.Zooms.Min; z <= p.Tiles.Zooms.Max && z < cells; z++ {
		add(z, appendOwnTag)
	}
	if cells <= p.Tiles.Zooms.Max {
		add(cells, appendCellTag)
	}
	return tags
}
