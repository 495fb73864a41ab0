package area

import (
	"cmp"
	"slices"
)

// pushRing puts the edges of a ring on the stack. Where edges overlap, as on the way to the tip of a
// spike and back, an even number of them bounds nothing, and an odd number is as good as one: there
// the edges are replaced by others that do not overlap.
func (b *builder) pushRing(i uint32) {
	r := &b.rings[i]
	n := r.end - r.first
	lines := make([]uint32, n)
	for k := range lines {
		lines[k] = r.first + uint32(k)
	}
	slices.SortFunc(lines, func(e, f uint32) int { return cmp.Or(b.compareLines(e, f), b.compareBegins(e, f)) })
	pushed := len(b.stack)
	for len(lines) > 0 {
		same, overlap := 1, false
		_, reach := b.ends(lines[0])
		for ; same < len(lines) && b.compareLines(lines[0], lines[same]) == 0; same++ {
			begin, end := b.ends(lines[same])
			overlap = overlap || compare(begin, reach) < 0
			if compare(end, reach) > 0 {
				reach = end
			}
		}
		if overlap {
			b.pushOddParts(lines[:same])
		} else {
			b.stack = append(b.stack, lines[:same]...)
		}
		lines = lines[same:]
	}
	slices.Sort(b.stack[pushed:]) // edges that follow each other are looked at together
}

// pushOddParts of edges on one line: from the first of all ends to the second, from the third to the fourth…
func (b *builder) pushOddParts(edges []uint32) {
	var ends []point
	for _, e := range edges {
		ends = append(ends, b.positions[e], b.positions[e+1])
	}
	slices.SortFunc(ends, compare)
	for pair := range slices.Chunk(ends, 2) {
		if pair[0] == pair[1] {
			continue
		}
		b.stack = append(b.stack, uint32(len(b.positions)))
		b.positions = append(b.positions, pair...)
		b.ringOf = append(b.ringOf, b.ringOf[edges[0]], b.ringOf[edges[0]])
		b.source = append(b.source, b.source[edges[0]], b.source[edges[0]])
	}
}

// ends of an edge, in order.
func (b *builder) ends(e uint32) (begin, end point) {
	p, q := b.positions[e], b.positions[e+1]
	if compare(p, q) > 0 {
		return q, p
	}
	return p, q
}

// compareLines orders the lines that edges are on, by their slopes and from left to right.
func (b *builder) compareLines(e, f uint32) int {
	p, q := b.ends(e)
	r, s := b.ends(f)
	return cmp.Or(compareProducts(q.y-p.y, s.x-r.x, s.y-r.y, q.x-p.x), -orient(p, q, r))
}

func (b *builder) compareBegins(e, f uint32) int {
	p, _ := b.ends(e)
	q, _ := b.ends(f)
	return compare(p, q)
}

// mergeRings makes one ring of those of a polygon that are the same within a cell: two holes that
// border on each other, or one and the outer ring. A line crosses all of
// them at once there: what they admit is one side of that ring, or nothing. The entries are on top of the stack.
func (b *builder) mergeRings(begin int, cell rect) {
	kept := begin
	for end := begin; end < len(b.stack); {
		first, polygon := end, b.polygonOf(b.stack[end])
		for end < len(b.stack) && b.polygonOf(b.stack[end]) == polygon {
			end++
		}
		own := b.stack[first:end]
		if length := b.sameRings(own, cell); length > 0 {
			admitted, refused := true, true
			for _, e := range own {
				if e&firstEdge != 0 {
					admitted, refused = admitted && e&admits != 0, refused && e&admits == 0
				}
			}
			if own = own[:length]; !admitted && !refused {
				own = nil
			}
		}
		kept += copy(b.stack[kept:], own)
	}
	b.stack = b.stack[:kept]
}

// sameRings is how many entries each ring of a polygon has, if they are the same within the cell.
func (b *builder) sameRings(entries []uint32, cell rect) int {
	length := len(entries)
	for i, e := range entries[1:] {
		if e&firstEdge != 0 {
			length = min(length, i+1)
		}
	}
	if length > leafEdges || len(entries)%length != 0 {
		return 0
	}
	for i, e := range entries {
		if (e&firstEdge != 0) != (i%length == 0) || !slices.ContainsFunc(entries[:length], func(f uint32) bool {
			return b.sameEdge(e&edgeNumber, f&edgeNumber, cell)
		}) {
			return 0
		}
	}
	return length
}

func (b *builder) sameEdge(e, f uint32, cell rect) bool {
	p, q := b.ends(e)
	r, s := b.ends(f)
	return p == r && q == s || b.compareLines(e, f) == 0 &&
		!cell.contains(p) && !cell.contains(q) && !cell.contains(r) && !cell.contains(s)
}
