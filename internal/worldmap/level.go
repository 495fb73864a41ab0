package worldmap

import (
	"math"
	"slices"
)

// level is the atlas made ready for one resolution: lines thinned to what its pixels can show, what is too small left
// out. It is immutable once built.
type level struct {
	world   float64 // pixels around the equator
	scale   float64 // pixels per point, which lines and letters are measured in: 1 or 2
	unit    float32 // pixels per unit, which the shades along lines are measured in: less on the smallest maps
	shapes  []shape // by country
	coast   []line
	borders []line
	labels  []label
	sprites []func() sprite // of the labels, drawn when first wanted
}

// shape is a country's area: its rings overlap nowhere, and holes run the other way around.
type shape struct {
	tint  tint
	rings []line
	main  []line  // outer ring and holes of the largest polygon, the one that bears the name
	size  float64 // of main, in units of the unit square
	alone bool    // main borders on no other country
}

// line is a polyline on the unrolled plane, with its bounding box.
type line struct {
	points   []point
	min, max point
}

func newLine(points []point) line {
	l := line{points: points, min: points[0], max: points[0]}
	for _, p := range points[1:] {
		l.min = point{min(l.min.x, p.x), min(l.min.y, p.y)}
		l.max = point{max(l.max.x, p.x), max(l.max.y, p.y)}
	}
	return l
}

// newLevel makes the atlas ready for a zoom at a scale.
func newLevel(a *atlas, tints []tint, zoom int, scale float64) *level {
	const (
		tolerance = 0.35 // pixels that a line may move
		speck     = 1.2  // square points below which an island is left out
	)
	world := scale * tileSize * math.Exp2(float64(zoom))
	thin := make([][]point, len(a.arcs))
	for i, arc := range a.arcs {
		thin[i] = simplify(arc, tolerance/world)
	}
	users := make([]int, len(a.arcs)) // how many of the polygons that are kept use an arc
	mains := make([][]ring, len(a.countries))
	l := &level{world: world, scale: scale, unit: float32(scale * min(1, math.Cbrt(world/scale/2048))), shapes: make([]shape, len(a.countries))}
	for i, c := range a.countries {
		s := shape{tint: tints[i]}
		var main []ring
		for _, polygon := range c.polygons {
			outer := join(polygon[0], thin)
			size := math.Abs(area(outer))
			if size*world*world < speck*scale*scale {
				continue
			}
			lines := []line{newLine(outer)}
			for _, hole := range polygon[1:] {
				lines = append(lines, newLine(join(hole, thin)))
			}
			if size > s.size {
				s.size, s.main, main = size, lines, polygon
			}
			s.rings = append(s.rings, lines...)
			for _, r := range polygon {
				for _, arc := range r {
					users[max(arc, ^arc)]++
				}
			}
		}
		l.shapes[i], mains[i] = s, main
	}
	for i, main := range mains {
		l.shapes[i].alone = !slices.ContainsFunc(slices.Concat(main...), func(arc int) bool { return users[max(arc, ^arc)] > 1 })
	}
	for i, n := range users {
		switch n {
		case 1: // one side is water
			l.coast = append(l.coast, newLine(thin[i]))
		case 2:
			l.borders = append(l.borders, newLine(thin[i]))
		}
	}
	return l
}

// area is the signed area within a closed line.
func area(ring []point) float64 {
	var sum float64
	for i, p := range ring {
		q := ring[(i+1)%len(ring)]
		sum += p.x*q.y - q.x*p.y
	}
	return sum / 2
}

// simplify is Douglas and Peucker's: it keeps both ends and every point without which the line would move by more than
// the tolerance.
func simplify(points []point, tolerance float64) []point {
	keep := make([]bool, len(points))
	keep[0], keep[len(points)-1] = true, true
	var split func(from, to int)
	split = func(from, to int) {
		far, at := tolerance*tolerance, -1
		for i := from + 1; i < to; i++ {
			if d := distance2(points[i], points[from], points[to]); d > far {
				far, at = d, i
			}
		}
		if at > 0 {
			keep[at] = true
			split(from, at)
			split(at, to)
		}
	}
	split(0, len(points)-1)
	var kept []point
	for i, k := range keep {
		if k {
			kept = append(kept, points[i])
		}
	}
	return kept
}

// distance2 is the squared distance of p from the segment a–b.
func distance2(p, a, b point) float64 {
	dx, dy := b.x-a.x, b.y-a.y
	px, py := p.x-a.x, p.y-a.y
	if length2 := dx*dx + dy*dy; length2 > 0 {
		t := max(0, min(1, (px*dx+py*dy)/length2))
		px, py = px-t*dx, py-t*dy
	}
	return px*px + py*py
}
