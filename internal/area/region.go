package area

import (
	"slices"
	"unsafe"

	"tilegate/internal/tile"
)

// Region is what several limits leave of the world: boxes, and areas. The zero value is the whole
// world. It is immutable.
type Region struct {
	boxes  tile.Area // also around each group
	groups [][]*Area // a tile must meet an area of each
}

// FromBoxes is the region of boxes.
func FromBoxes(boxes tile.Area) Region { return Region{boxes: boxes} }

// Union is the region of all of the areas. Without any it is empty.
func Union(areas ...*Area) Region {
	if len(areas) == 0 {
		return Region{boxes: tile.AreaOf(nil)}
	}
	boxes := make([]tile.Box, len(areas))
	for i, a := range areas {
		boxes[i] = a.bounds
	}
	hull := tile.AreaOf(boxes).Hull()
	return Region{boxes: tile.NewArea(&hull), groups: [][]*Area{slices.Clone(areas)}}
}

// Intersect narrows r by another region: it meets the tiles that both meet. It never meets a tile
// that one of them does not. Of two boxes, or two areas' bounds, that have nothing in common it meets
// none. Otherwise a tile that shares area with both need not share area with what they have in
// common: where two areas border on each other, both meet the tiles along the border.
func (r Region) Intersect(other Region) Region {
	both := Region{boxes: r.boxes.Intersect(other.boxes), groups: r.groups}
	for _, g := range other.groups {
		if !slices.ContainsFunc(r.groups, func(h []*Area) bool { return slices.Equal(g, h) }) {
			both.groups = append(slices.Clip(both.groups), g)
		}
	}
	return both
}

// Meets reports whether the tile is in the region.
func (r Region) Meets(z uint8, x, y uint32) bool {
	if !r.boxes.Meets(z, x, y) {
		return false
	}
	for _, g := range r.groups {
		if !meetsAny(g, z, x, y) {
			return false
		}
	}
	return true
}

func meetsAny(areas []*Area, z uint8, x, y uint32) bool {
	for _, a := range areas {
		if a.Meets(z, x, y) {
			return true
		}
	}
	return false
}

// Whole reports whether r is the whole world.
func (r Region) Whole() bool { return r.boxes.Whole() }

// Bounds is a box around the region, and false if the region is empty.
func (r Region) Bounds() (tile.Box, bool) {
	switch {
	case r.boxes.Empty():
		return tile.Box{}, false
	case r.boxes.Whole():
		return tile.World, true
	}
	return r.boxes.Hull(), true
}

// Size is the memory that r takes beside the struct itself and its areas, which others share.
func (r Region) Size() int {
	size := r.boxes.Size() + len(r.groups)*int(unsafe.Sizeof(r.groups))
	for _, g := range r.groups {
		size += len(g) * int(unsafe.Sizeof(g[0]))
	}
	return size
}
