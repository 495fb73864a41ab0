package tile

// Purge names what caches should forget, or mark stale: a tileset, a bundle, or some of a tileset's tiles.
type Purge struct {
	Tileset string // as in Key
	Tiles   *Tiles // nil: all of them, and what is not a tile as well
	Soft    bool   // mark stale what is held, rather than forget it
}

// Holds reports whether the purge is about what key names.
func (p *Purge) Holds(key *Key) bool {
	return key.Tileset == p.Tileset &&
		(p.Tiles == nil || key.Path == "" && p.Tiles.Zooms.Contains(key.Z) && p.Tiles.area.Meets(key.Z, key.X, key.Y))
}

// Covers reports whether the purge does all that other does. It may say no where several boxes would do it together.
func (p *Purge) Covers(other *Purge) bool {
	switch {
	case p.Tileset != other.Tileset || p.Soft && !other.Soft:
		return false
	case p.Tiles == nil || other.Tiles == nil:
		return p.Tiles == nil
	}
	return p.Tiles.Zooms.Intersect(other.Tiles.Zooms) == other.Tiles.Zooms && p.Tiles.area.holds(other.Tiles.area)
}

// Around returns the smallest purge of one box that does what both do.
func (p *Purge) Around(other *Purge) Purge {
	both := Purge{Tileset: p.Tileset, Soft: p.Soft && other.Soft}
	if p.Tiles != nil && other.Tiles != nil {
		a, b := p.Tiles, other.Tiles
		zooms := ZoomRange{Min: min(a.Zooms.Min, b.Zooms.Min), Max: max(a.Zooms.Max, b.Zooms.Max)}
		both.Tiles = NewTiles(zooms, a.area.Hull().Around(b.area.Hull()))
	}
	return both
}

// Tiles are the tiles of some zooms that share area with a box. It is immutable.
type Tiles struct {
	Zooms ZoomRange
	Box   Box
	area  Area
}

// NewTiles makes Tiles. Both must be valid; the box may cross the antimeridian.
func NewTiles(zooms ZoomRange, box Box) *Tiles { return &Tiles{zooms, box, NewArea(&box)} }

// Empty reports whether there are no such tiles: the box lies beyond the edge of the map.
func (t *Tiles) Empty() bool { return !t.area.Meets(0, 0, 0) }

// Area is that of the box.
func (t *Tiles) Area() Area { return t.area }

// Share is the part of the map within the hull of the box, between 0 and 1.
func (t *Tiles) Share() float64 {
	h := t.area.Hull()
	left, top := Project(h.West, h.North)
	right, bottom := Project(h.East, h.South)
	return (right - left) * (bottom - top)
}
