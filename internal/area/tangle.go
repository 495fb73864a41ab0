package area

import (
	"math/big"
	"slices"
)

// tangle tells exactly whether several rings of one polygon, which may cross, touch and overlap in any
// way, admit a part of a rectangle. Rings rarely come so close to each other, so that it may be slow.
type tangle struct {
	from   point
	states []bool // of each ring at from
	edges  []tangledEdge
}

type tangledEdge struct {
	p, q   point
	ring   int
	height line // what p and q are on, unless that is a meridian
}

// line is y = offset + slope·x.
type line struct{ offset, slope *big.Rat }

func rat(v int64) *big.Rat { return new(big.Rat).SetInt64(v) }

func newTangle(positions []point, entries []uint32, from point) *tangle {
	t := &tangle{from: from}
	for _, e := range entries {
		if e&firstEdge != 0 {
			t.states = append(t.states, e&admits != 0)
		}
		i := e & edgeNumber
		edge := tangledEdge{p: positions[i], q: positions[i+1], ring: len(t.states) - 1}
		if compare(edge.p, edge.q) > 0 {
			edge.p, edge.q = edge.q, edge.p
		}
		t.edges = append(t.edges, edge)
	}
	return t
}

// meetsSample reports whether all rings admit one of nine points in r. Mostly this saves the rest.
func (t *tangle) meetsSample(r rect) bool {
	width, height := (r.x1-r.x0)/4, (r.y1-r.y0)/4
	for i := range int64(9) {
		if t.admits(point{(r.x0 + (i%3+1)*width) | 1, (r.y0 + (i/3+1)*height) | 1}) {
			return true
		}
	}
	return false
}

// admits reports whether all rings admit p, and it is on no edge.
func (t *tangle) admits(p point) bool {
	states := slices.Clone(t.states)
	for i := range t.edges {
		e := &t.edges[i]
		if orient(e.p, e.q, p) == 0 {
			return false
		}
		if crosses(t.from, p, e.p, e.q) {
			states[e.ring] = !states[e.ring]
		}
	}
	return !slices.Contains(states, false)
}

// meets reports whether all rings admit a part of r that has area. Between two neighbouring cuts the
// edges and the sides of r have one order from south to north, so that one meridian speaks for all.
func (t *tangle) meets(r rect) bool {
	cuts := t.cuts(r)
	for i := range len(cuts) - 1 {
		if cuts[i].Cmp(cuts[i+1]) < 0 {
			middle := new(big.Rat).Add(cuts[i], cuts[i+1])
			if t.meetsAt(middle.Quo(middle, rat(2)), r) {
				return true
			}
		}
	}
	return false
}

// cuts computes the lines of the edges. It returns all longitudes within r at which an edge ends, or
// at which two of those lines cross, or one of them and the parallel of r's south, r's north or t.from.
func (t *tangle) cuts(r rect) []*big.Rat {
	west, east := rat(r.x0), rat(r.x1)
	cuts := []*big.Rat{west, east}
	add := func(x *big.Rat) {
		if x.Cmp(west) > 0 && x.Cmp(east) < 0 {
			cuts = append(cuts, x)
		}
	}
	lines := []line{{rat(r.y0), rat(0)}, {rat(r.y1), rat(0)}, {rat(t.from.y), rat(0)}}
	for i := range t.edges {
		e := &t.edges[i]
		add(rat(e.p.x))
		add(rat(e.q.x))
		if e.p.x == e.q.x {
			continue
		}
		slope := new(big.Rat).Quo(rat(e.q.y-e.p.y), rat(e.q.x-e.p.x))
		offset := new(big.Rat).Mul(slope, rat(e.p.x))
		e.height = line{offset.Sub(rat(e.p.y), offset), slope}
		lines = append(lines, e.height)
	}
	for i, l := range lines {
		for _, m := range lines[:i] {
			if apart := new(big.Rat).Sub(m.slope, l.slope); apart.Sign() != 0 {
				x := new(big.Rat).Sub(l.offset, m.offset)
				add(x.Quo(x, apart))
			}
		}
	}
	slices.SortFunc(cuts, (*big.Rat).Cmp)
	return cuts
}

// meetsAt goes from t.from along its parallel to the meridian of x, and there northwards through r.
func (t *tangle) meetsAt(x *big.Rat, r rect) bool {
	type crossing struct {
		y    *big.Rat
		ring int
	}
	states := slices.Clone(t.states)
	var crossings []crossing
	for i := range t.edges {
		e := &t.edges[i]
		if (e.p.y > t.from.y) != (e.q.y > t.from.y) {
			// As crosses does it.
			at := new(big.Rat).SetFrac64(e.q.x-e.p.x, e.q.y-e.p.y)
			at.Mul(at, rat(t.from.y-e.p.y)).Add(at, rat(e.p.x))
			if (orient(e.p, e.q, t.from) >= 0) != ((e.q.y > e.p.y) == (x.Cmp(at) < 0)) {
				states[e.ring] = !states[e.ring]
			}
		}
		if e.height.slope == nil || x.Cmp(rat(e.p.x)) < 0 || x.Cmp(rat(e.q.x)) > 0 {
			continue
		}
		y := new(big.Rat).Mul(e.height.slope, x)
		if y.Add(y, e.height.offset); y.Cmp(rat(t.from.y)) > 0 {
			crossings = append(crossings, crossing{y, e.ring})
		}
	}
	slices.SortFunc(crossings, func(a, b crossing) int { return a.y.Cmp(b.y) })
	bottom, top := rat(r.y0), rat(r.y1)
	for _, c := range crossings {
		if c.y.Cmp(bottom) > 0 {
			if !slices.Contains(states, false) {
				return true
			}
			if bottom = c.y; bottom.Cmp(top) >= 0 {
				return false
			}
		}
		states[c.ring] = !states[c.ring]
	}
	return !slices.Contains(states, false)
}
