package area

import (
	"errors"
	"fmt"
	"slices"

	"tilegate/internal/tile"
)

const (
	leafZoom  = 8  // no cell above is a leaf: most tiles are in cells without edges
	leafEdges = 8  // a cell with more edges is split
	fanEdges  = 32 // unless they all have one position in common, which no splitting parts
	// maxWork bounds how long it takes to build an area, to one or two seconds: it is the number of
	// entries of all cells. Borders of countries with 200,000 positions take a third of it.
	maxWork = 1 << 23
	// maxWords bounds the memory of an area's cells, in numbers of four bytes.
	maxWords = 6 << 20
	// maxTangle bounds the edges of several rings of one polygon within a cell at zoom 30, which is
	// 4 cm wide at the equator. Their number counts by its cube there, in calculations of many digits.
	maxTangle = 32
)

// ring is the first of a polygon, its outer boundary, or one of the holes in it, which follow.
type ring struct {
	first, end uint32 // its edges, without those that overlap
	polygon    int
	hole       bool
	name       ringName
}

// ringName says where in a document a ring is.
type ringName struct {
	polygon string // as jq names it: ".features[3].geometry.coordinates"
	ring    int
}

func (n ringName) String() string { return fmt.Sprintf("ring %s[%d]", n.polygon, n.ring) }

// builder makes an Area of rings.
type builder struct {
	Area
	rings  []ring
	ringOf []uint32 // of each position
	source []uint32 // of each position, its number within its ring in the document
	stack  []uint32 // the entries of all cells that are being split
	work   int
}

var errNoArea = errors.New("the document has no area on the map, which ends at 85.0511° north and south")

// build makes the area of the rings of all polygons.
func build(positions []point, source []uint32, rings []ring) (*Area, error) {
	b := &builder{
		Area: Area{positions: positions}, rings: rings, source: source,
		ringOf: make([]uint32, len(positions)), work: maxWork,
	}
	for i, r := range rings {
		for e := r.first; e <= r.end; e++ {
			b.ringOf[e] = uint32(i)
		}
	}
	b.pushAll()
	if len(b.stack) == 0 {
		return nil, errNoArea
	}
	// The root has all entries, those beyond the map too: the first way leads from outside of every
	// ring, south-west of all that can be, onto the map.
	outside := point{-180*degree - 1, -90*degree - 1}
	b.nodes = make([]uint32, 1)
	root, err := b.cell(0, 0, 0, outside, 0)
	if err != nil {
		return nil, err
	}
	b.nodes[0] = root
	a := b.Area
	if !a.Meets(0, 0, 0) {
		return nil, errNoArea
	}
	a.positions, a.nodes, a.leaves, a.edges = exact(a.positions), exact(a.nodes), exact(a.leaves), exact(a.edges)
	return &a, nil
}

// pushAll puts all rings on the stack and sets the bounds. It leaves out polygons without area on the
// map, and those so narrow that nothing of them is a margin away from their edges, as of boxes.
func (b *builder) pushAll() {
	var boxes []tile.Box
	omitted := -1 // the last polygon that was left out
	for i, r := range b.rings {
		if r.polygon == omitted {
			continue
		}
		begin := len(b.stack)
		b.pushRing(uint32(i))
		if r.hole {
			if len(b.stack) > begin {
				b.stack[begin] |= firstEdge | admits
			}
			continue
		}
		box := b.box(b.stack[begin:])
		if shrunk := tile.NewArea(&box); !shrunk.Meets(0, 0, 0) {
			b.stack, omitted = b.stack[:begin], r.polygon
			continue
		}
		boxes = append(boxes, box)
		b.stack[begin] |= firstEdge
	}
	if len(boxes) > 0 {
		b.bounds = tile.AreaOf(boxes).Intersect(tile.NewArea(&tile.World)).Hull()
	}
}

// box around edges. Without any it has no area.
func (b *builder) box(edges []uint32) tile.Box {
	if len(edges) == 0 {
		return tile.Box{}
	}
	least, most := b.positions[edges[0]], b.positions[edges[0]]
	for _, e := range edges {
		for _, p := range b.positions[e : e+2] {
			least = point{min(least.x, p.x), min(least.y, p.y)}
			most = point{max(most.x, p.x), max(most.y, p.y)}
		}
	}
	var box tile.Box
	box.West, box.South = least.degrees()
	box.East, box.North = most.degrees()
	return box
}

// exact is a copy of s without room to grow.
func exact[T any](s []T) []T {
	c := make([]T, len(s))
	copy(c, s)
	return c
}

// cell makes the node of a tile whose entries are on top of the stack, from begin on. With more than
// one ring of a polygon it cannot be a leaf, and it is met if one of its parts is.
func (b *builder) cell(z uint8, x, y uint32, from point, begin int) (uint32, error) {
	entries := b.stack[begin:]
	if b.work -= len(entries); b.work < 0 || len(b.nodes)+len(b.edges)+6*len(b.leaves) > maxWords {
		return 0, b.tooComplex(entries[0])
	}
	simple := b.simple(entries)
	if !simple && z > 0 { // not all edges of the root reach the map
		b.mergeRings(begin, cellRect(z, x, y))
		if entries = b.stack[begin:]; len(entries) == 0 {
			return 0, nil
		}
		simple = b.simple(entries)
	}
	isMet := false
	switch {
	case simple:
		isMet = meets(b.positions, entries, from, tileRect(z, x, y))
	case z == tile.MaxZoom:
		var err error
		if isMet, err = b.meets(entries, from, tileRect(z, x, y)); err != nil {
			return 0, err
		}
	}
	node := uint32(0)
	if isMet {
		node = met
	}
	if z == tile.MaxZoom {
		return node, nil
	}
	if simple && z >= leafZoom && (len(entries) <= leafEdges || len(entries) <= fanEdges && b.fan(entries)) {
		b.leaves = append(b.leaves, leaf{from, uint32(len(b.edges))})
		b.edges = append(b.edges, entries...)
		b.edges[len(b.edges)-1] |= lastEdge
		return node | boundary | uint32(len(b.leaves)-1), nil
	}
	parts := len(b.nodes)
	b.nodes = append(b.nodes, 0, 0, 0, 0)
	node |= branch | uint32(parts)
	for i := range uint32(4) {
		px, py := 2*x+i&1, 2*y+i>>1
		end := len(b.stack)
		partFrom, covered := b.enter(begin, cellRect(z+1, px, py), from)
		var n uint32
		var err error
		switch {
		case covered:
			n = met
		case len(b.stack) > end:
			n, err = b.cell(z+1, px, py, partFrom, end)
		}
		if err != nil {
			return 0, err
		}
		b.stack = b.stack[:end]
		b.nodes[parts+int(i)] = n
		if !simple {
			node |= n & met
		}
	}
	return node, nil
}

// enter puts the entries of a part of a cell on top of the stack, on which the cell's own begin at
// begin. It returns the part's own point to count from, and whether a polygon contains all of it.
func (b *builder) enter(begin int, part rect, from point) (partFrom point, covered bool) {
	partFrom = point{part.x0 | 1, part.y0 | 1}
	end := len(b.stack)
	for i := begin; i < end; {
		polygon, outside := b.polygonOf(b.stack[i]), false
		top := len(b.stack)
		for i < end && b.polygonOf(b.stack[i]) == polygon {
			first := len(b.stack)
			state := b.stack[i] & admits
			for next := i; i == next || i < end && b.stack[i]&firstEdge == 0; i++ {
				e := b.stack[i] & edgeNumber
				p, q := b.positions[e], b.positions[e+1]
				if crosses(from, partFrom, p, q) {
					state ^= admits
				}
				if part.reaches(p, q) {
					b.stack = append(b.stack, e)
				}
			}
			if len(b.stack) > first {
				b.stack[first] |= firstEdge | state
			} else if state == 0 {
				outside = true // all of the part is outside the outer ring, or in the hole
			}
		}
		if outside {
			b.stack = b.stack[:top]
		} else if len(b.stack) == top {
			return partFrom, true
		}
	}
	return partFrom, false
}

func (b *builder) polygonOf(entry uint32) int { return b.rings[b.ringOf[entry&edgeNumber]].polygon }

// simple reports whether the entries are of one ring of each polygon.
func (b *builder) simple(entries []uint32) bool {
	last := -1
	for _, e := range entries {
		if e&firstEdge == 0 {
			continue
		}
		polygon := b.polygonOf(e)
		if polygon == last {
			return false
		}
		last = polygon
	}
	return true
}

// fan reports whether all entries have a position in common.
func (b *builder) fan(entries []uint32) bool {
	first := entries[0] & edgeNumber
	return slices.ContainsFunc(b.positions[first:first+2], func(hub point) bool {
		return !slices.ContainsFunc(entries, func(e uint32) bool {
			e &= edgeNumber
			return b.positions[e] != hub && b.positions[e+1] != hub
		})
	})
}

// meets is the function meets, for entries that need not be simple.
func (b *builder) meets(entries []uint32, from point, r rect) (bool, error) {
	for len(entries) > 0 {
		polygon, n := b.polygonOf(entries[0]), 1
		for n < len(entries) && b.polygonOf(entries[n]) == polygon {
			n++
		}
		own := entries[:n]
		entries = entries[n:]
		if b.simple(own) {
			if meets(b.positions, own, from, r) {
				return true, nil
			}
			continue
		}
		b.work -= 16 * n
		t := newTangle(b.positions, own, from)
		if t.meetsSample(r) {
			return true, nil
		}
		if b.work -= 32 * n * n * n; n > maxTangle || b.work < 0 {
			return false, b.tooComplex(own[0])
		}
		if t.meets(r) {
			return true, nil
		}
	}
	return false, nil
}

func (b *builder) tooComplex(entry uint32) error {
	e := entry & edgeNumber
	lon, lat := b.positions[e].degrees()
	return fmt.Errorf("%v: position %d: too many edges lie close together at [%v, %v]: "+
		"simplify the document, or mend it with ogr2ogr -makevalid", b.rings[b.ringOf[e]].name, b.source[e], lon, lat)
}
