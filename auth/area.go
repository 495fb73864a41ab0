package auth

import "math"

// area is a union of boxes, none of which crosses the antimeridian; nil is the whole world, and
// empty is nothing.
type area []box

// box is a BBox with its edges as fractions of the Web Mercator square, x eastwards from -180°,
// y southwards from 85.0511°, so that a tile is found inside by comparisons alone.
type box struct {
	BBox
	left, right, top, bottom float64
}

// edge is taken off each side of a box, as a fraction of the world: 0.04 mm on the ground, a
// thousandth of a tile at zoom 30. Who computes a box from a tile's edges gets them off by an ulp
// now and then, and would be admitted to the tile's neighbours; rounding here never widens.
const edge = 1e-12

func newArea(b *BBox) area {
	switch {
	case b == nil:
		return nil
	case b.West < b.East:
		return area{newBox(*b)}
	}
	a := area{}
	if b.West < 180 {
		a = append(a, newBox(BBox{West: b.West, South: b.South, East: 180, North: b.North}))
	}
	if b.East > -180 {
		a = append(a, newBox(BBox{West: -180, South: b.South, East: b.East, North: b.North}))
	}
	return a
}

func newBox(b BBox) box {
	return box{
		BBox: b,
		left: (b.West+180)/360 + edge, right: (b.East+180)/360 - edge,
		top: mercator(b.North) + edge, bottom: mercator(b.South) - edge,
	}
}

// mercator projects a latitude in degrees to 0 (85.0511° north) … 1 (85.0511° south).
func mercator(latitude float64) float64 {
	y := 0.5 - math.Asinh(math.Tan(latitude*math.Pi/180))/(2*math.Pi)
	return min(max(y, 0), 1)
}

// meets reports whether the tile shares area with a. Scaling by a power of two is exact.
func (a area) meets(z uint8, x, y uint32) bool {
	if a == nil {
		return true
	}
	size := float64(uint64(1) << z)
	column, row := float64(x), float64(y)
	for i := range a {
		b := &a[i]
		if b.left < b.right && b.top < b.bottom &&
			column < b.right*size && column+1 > b.left*size && row < b.bottom*size && row+1 > b.top*size {
			return true
		}
	}
	return false
}

func (a area) intersect(other area) area {
	if a == nil {
		return other
	}
	if other == nil {
		return a
	}
	both := area{}
	for _, p := range a {
		for _, q := range other {
			b := BBox{
				West: max(p.West, q.West), South: max(p.South, q.South),
				East: min(p.East, q.East), North: min(p.North, q.North),
			}
			if b.West < b.East && b.South < b.North {
				both = append(both, newBox(b))
			}
		}
	}
	return both
}

// hull is the smallest box that holds a; a must not be empty. One that crosses the antimeridian
// becomes all longitudes, since TileJSON knows no other way to say it.
func (a area) hull() BBox {
	h := a[0].BBox
	for _, b := range a[1:] {
		h = BBox{
			West: min(h.West, b.West), South: min(h.South, b.South),
			East: max(h.East, b.East), North: max(h.North, b.North),
		}
	}
	return h
}
