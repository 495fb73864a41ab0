package area

import (
	"unsafe"

	"tilegate/internal/tile"
)

// Area is a union of polygons. It never changes.
type Area struct {
	positions []point // of one ring after the other, each closed: edge i runs from i to i+1
	nodes     []uint32
	leaves    []leaf
	edges     []uint32
	bounds    tile.Box
}

// The nodes are a quadtree in which that of tile z/x/y has depth z. nodes[0] is the world. A node that
// is neither a branch nor a boundary stands for all tiles within it.
const (
	branch    = 1 << 31 // nodes[index] is the first of its four parts
	boundary  = 1 << 30 // leaves[index] decides for the tiles within it
	met       = 1 << 29 // the area meets the node's own tile
	nodeIndex = 1<<29 - 1
)

// leaf is a cell with so few edges that all of them are looked at.
type leaf struct {
	from  point  // in the cell: from here it is counted whether a tile lies inside or outside
	first uint32 // its entries begin at edges[first] and end with one that has lastEdge
}

// An entry of a cell is the number of an edge that reaches into it, and these. The entries of one ring
// lie together, as do the rings of one polygon, and a leaf has one ring of each polygon. A ring admits
// what is inside it, or, if it is a hole, what is outside. A polygon is what all its rings admit: those
// without an edge in the cell admit all of it.
const (
	lastEdge   = 1 << 31 // of a leaf
	firstEdge  = 1 << 30 // of a ring
	admits     = 1 << 29 // beside firstEdge: the ring admits the point from which is counted
	edgeNumber = 1<<29 - 1
)

// Meets reports whether tile z/x/y, less a margin of 1e-12 of the world on each side, shares area
// with the area. It is false for what is no tile.
func (a *Area) Meets(z uint8, x, y uint32) bool {
	if z > tile.MaxZoom || (x|y)>>z != 0 {
		return false
	}
	n := a.nodes[0]
	for level := z; level > 0; level-- {
		if n&boundary != 0 {
			l := &a.leaves[n&nodeIndex]
			return meets(a.positions, a.edges[l.first:], l.from, tileRect(z, x, y))
		}
		if n&branch == 0 {
			break
		}
		n = a.nodes[n&nodeIndex+part(x, y, level-1)]
	}
	return n&met != 0
}

// part is which of the four parts of its parent the tile's ancestor is, so many levels above it.
func part(x, y uint32, levels uint8) uint32 { return y>>levels&1<<1 | x>>levels&1 }

// meets reports whether r, which lies in a cell with these entries, shares area with a polygon. There
// is one ring of each. Either an edge of it passes through r, and r has area on both sides of the edge,
// or all of r is inside or outside of it, as r's centre is.
func meets(positions []point, entries []uint32, from point, r rect) bool {
	centre := point{(r.x0 + (r.x1-r.x0)/2) | 1, (r.y0 + (r.y1-r.y0)/2) | 1}
	inside := false
	for _, e := range entries {
		if e&firstEdge != 0 {
			if inside {
				return true
			}
			inside = e&admits != 0
		}
		i := e & edgeNumber
		p, q := positions[i], positions[i+1]
		if r.passes(p, q) {
			return true
		}
		if crosses(from, centre, p, q) {
			inside = !inside
		}
		if e&lastEdge != 0 {
			break
		}
	}
	return inside
}

// Bounds is the smallest box around the area, as far as it is on the map. Parts on both sides of the
// antimeridian make it all longitudes, since TileJSON knows no other way to say it.
func (a *Area) Bounds() tile.Box { return a.bounds }

// Size is the memory that the area takes, in bytes: less than 40 MiB.
func (a *Area) Size() int {
	return int(unsafe.Sizeof(*a)) + len(a.positions)*int(unsafe.Sizeof(point{})) +
		len(a.leaves)*int(unsafe.Sizeof(leaf{})) + (len(a.nodes)+len(a.edges))*4
}
