package tile

import (
	"math"
	"slices"
	"unsafe"
)

// Area is a union of boxes. The zero value is the whole world. It is immutable.
type Area struct {
	limited bool // false: the whole world, and boxes is empty
	boxes   []projectedBox
}

// projectedBox is a Box that does not cross the antimeridian, with its edges in the unit square of Web
// Mercator, so that a tile is found inside by comparisons alone.
type projectedBox struct {
	Box
	left, right, top, bottom float64
}

// inset is taken off each side of a box, as a fraction of the world: 0.04 mm on the ground, a thousandth
// of a tile at zoom 30. A box that was computed from a tile's edges is off by an ulp now and then, and
// would meet the tile's neighbours. Rounding here never widens.
const inset = 1e-12

// NewArea is the area of one box, which must be valid. Nil is the whole world.
func NewArea(b *Box) Area {
	switch {
	case b == nil:
		return Area{}
	case !b.CrossesAntimeridian():
		return AreaOf([]Box{*b})
	}
	var boxes []Box
	if b.West < 180 {
		boxes = append(boxes, Box{West: b.West, South: b.South, East: 180, North: b.North})
	}
	if b.East > -180 {
		boxes = append(boxes, Box{West: -180, South: b.South, East: b.East, North: b.North})
	}
	return AreaOf(boxes)
}

// AreaOf is the union of boxes, none of which crosses the antimeridian. Without any it is empty.
func AreaOf(boxes []Box) Area {
	a := Area{limited: true}
	for _, b := range boxes {
		p := projectedBox{Box: b}
		p.left, p.top = Project(b.West, b.North)
		p.right, p.bottom = Project(b.East, b.South)
		p.left, p.right, p.top, p.bottom = p.left+inset, p.right-inset, p.top+inset, p.bottom-inset
		a.boxes = append(a.boxes, p)
	}
	return a
}

// Whole reports whether a is the whole world.
func (a Area) Whole() bool { return !a.limited }

// Empty reports whether a holds nothing.
func (a Area) Empty() bool { return a.limited && len(a.boxes) == 0 }

// Equal reports whether both are made of the same boxes.
func (a Area) Equal(other Area) bool {
	return a.limited == other.limited && slices.Equal(a.boxes, other.boxes)
}

// Boxes returns the boxes that a is made of; none for the whole world and for the empty area.
func (a Area) Boxes() []Box {
	boxes := make([]Box, len(a.boxes))
	for i := range a.boxes {
		boxes[i] = a.boxes[i].Box
	}
	return boxes
}

// Size is the memory that a takes beside the struct itself, in bytes.
func (a Area) Size() int { return len(a.boxes) * int(unsafe.Sizeof(projectedBox{})) }

// Meets reports whether the tile shares area with a. Scaling by a power of two is exact.
func (a Area) Meets(z uint8, x, y uint32) bool {
	if !a.limited {
		return true
	}
	size := float64(uint64(1) << z)
	column, row := float64(x), float64(y)
	for i := range a.boxes {
		b := &a.boxes[i]
		if b.left < b.right && b.top < b.bottom &&
			column < b.right*size && column+1 > b.left*size && row < b.bottom*size && row+1 > b.top*size {
			return true
		}
	}
	return false
}

// Span is a rectangle of tiles of one zoom, both ends included.
type Span struct{ Left, Top, Right, Bottom uint32 }

// Count is how many tiles there are.
func (s Span) Count() uint64 { return (uint64(s.Right-s.Left) + 1) * (uint64(s.Bottom-s.Top) + 1) }

// Spans returns the tiles of a zoom that a meets, one Span for each of its boxes. They may overlap.
func (a Area) Spans(z uint8) []Span {
	last := uint32(1)<<z - 1
	if !a.limited {
		return []Span{{0, 0, last, last}}
	}
	size := float64(uint64(1) << z)
	var spans []Span
	for i := range a.boxes {
		b := &a.boxes[i]
		if b.left >= b.right || b.top >= b.bottom || b.right <= 0 || b.bottom <= 0 {
			continue
		}
		// The same comparisons as in Meets: floor is the first column whose end lies beyond, ceil-1 the last that begins before.
		spans = append(spans, Span{
			uint32(max(0, math.Floor(b.left*size))), uint32(max(0, math.Floor(b.top*size))),
			min(last, uint32(math.Ceil(b.right*size))-1), min(last, uint32(math.Ceil(b.bottom*size))-1),
		})
	}
	return spans
}

// Intersect returns what both areas hold.
func (a Area) Intersect(other Area) Area {
	switch {
	case !a.limited:
		return other
	case !other.limited:
		return a
	}
	var both []Box
	for i := range a.boxes {
		for j := range other.boxes {
			p, q := &a.boxes[i], &other.boxes[j]
			b := Box{
				West: max(p.West, q.West), South: max(p.South, q.South),
				East: min(p.East, q.East), North: min(p.North, q.North),
			}
			if b.West < b.East && b.South < b.North {
				both = append(both, b)
			}
		}
	}
	return AreaOf(both)
}

// holds reports whether each of other's boxes lies within one of a's. Neither is the whole world.
func (a Area) holds(other Area) bool {
	return !slices.ContainsFunc(other.boxes, func(inner projectedBox) bool {
		return !slices.ContainsFunc(a.boxes, func(b projectedBox) bool {
			return b.left <= inner.left && b.right >= inner.right && b.top <= inner.top && b.bottom >= inner.bottom
		})
	})
}

// Hull is the smallest box that holds an area which is neither whole nor empty. An area on both sides of
// the antimeridian becomes all longitudes, since TileJSON knows no other way to say it.
func (a Area) Hull() Box {
	h := a.boxes[0].Box
	for i := range a.boxes {
		h = h.Around(a.boxes[i].Box)
	}
	return h
}
