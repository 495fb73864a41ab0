package area

import (
	"cmp"
	"math"
	"math/bits"

	"tilegate/internal/tile"
)

// A point has its longitude and latitude in units of 2^-54 degrees, so that a whole turn fits into
// an int64, and the product of two differences into 128 bits: every comparison is exact. Positions
// of a polygon are rounded to even numbers, which is 0.000,000,01 mm at most. Points that a line is
// counted from are odd, so that no line between them passes through a position or along an edge
// that is parallel to it.
type point struct{ x, y int64 }

const (
	degree = 1 << 54

	// margin is taken off each side of a tile, as a fraction of the world: 0.04 mm on the ground, a
	// thousandth of a tile at zoom 30. Who computes a polygon from a tile's edges gets them off by an
	// ulp now and then, and would be admitted to the tile's neighbours. It is far more than all
	// rounding in this package, so that rounding never widens an area.
	margin = 1e-12

	// maxLatitude is where the map ends, rounded up.
	maxLatitude = 85.0511287798066
)

// marginX is the margin in units of longitude.
var marginX = int64(math.Ceil(margin * 360 * degree))

// pointAt rounds a position. Latitudes that tile.Project counts as the end of the map are there.
func pointAt(lon, lat float64) point {
	if _, y := tile.Project(lon, lat); y == 0 {
		lat = max(lat, maxLatitude)
	} else if y == 1 {
		lat = min(lat, -maxLatitude)
	}
	even := func(v float64) int64 { return 2 * int64(math.RoundToEven(v*(degree/2))) }
	return point{even(lon), even(lat)}
}

func (p point) degrees() (lon, lat float64) { return float64(p.x) / degree, float64(p.y) / degree }

// rect is west to east and south to north.
type rect struct{ x0, y0, x1, y1 int64 }

// longitude of the left edge of a column.
func longitude(z uint8, column uint32) int64 {
	// 360·column has 39 bits: exact.
	return int64((float64(column)*360/float64(uint64(1)<<z) - 180) * degree)
}

// latitude that lies at v of the Web Mercator square, from 0 (85.0511° north) to 1.
func latitude(v float64) int64 {
	return int64(math.Atan(math.Sinh(math.Pi*(1-2*v))) * (180 / math.Pi) * degree)
}

// heights has for each zoom how tall its tiles are without their margins: 1 - exp(-2πh), if h is that
// height as a fraction of the world. See tileRect.
var heights = func() (all [tile.MaxZoom + 1]float64) {
	for z := range all {
		all[z] = -math.Expm1(-2 * math.Pi * (math.Ldexp(1, -z) - 2*margin))
	}
	return all
}()

// tileRect is the tile less its margin. It is a rectangle in degrees too, since Web Mercator maps
// each coordinate by itself: it has latitude φ at log(tan(φ/2 + 45°)). So both latitudes come from
// one exponential, the second by the difference of two arc tangents. This is most of what Meets does.
func tileRect(z uint8, x, y uint32) rect {
	rows := float64(uint64(1) << z)
	north := math.Exp(math.Pi * (1 - 2*(float64(y)/rows+margin)))
	height := atan(north * heights[z] / (1 + north*north*(1-heights[z])))
	angle := math.Atan(north)
	return rect{
		x0: longitude(z, x) + marginX, x1: longitude(z, x+1) - marginX,
		y0: int64((angle - height - math.Pi/4) * (360 / math.Pi) * degree),
		y1: int64((angle - math.Pi/4) * (360 / math.Pi) * degree),
	}
}

// atan is math.Atan, and faster for small numbers.
func atan(v float64) float64 {
	if square := v * v; square < 1e-4 {
		return v * (1 - square*(1./3-square*(1./5-square/7)))
	}
	return math.Atan(v)
}

// cellRect is the tile less a much smaller margin, yet one that is larger than all rounding. So it
// contains those of all tiles within the tile, and edges along a tile's own edge are in no cell.
func cellRect(z uint8, x, y uint32) rect {
	const margin = 1 << 16
	rows := float64(uint64(1) << z)
	return rect{
		x0: longitude(z, x) + margin, x1: longitude(z, x+1) - margin,
		y0: latitude(float64(y+1)/rows) + margin, y1: latitude(float64(y)/rows) - margin,
	}
}

// orient is 1 if p lies to the left of the line from a to b, -1 to the right, 0 on it.
func orient(a, b, p point) int { return compareProducts(b.x-a.x, p.y-a.y, b.y-a.y, p.x-a.x) }

// compareProducts is the sign of ab - cd.
func compareProducts(a, b, c, d int64) int {
	high1, low1 := multiply(a, b)
	high2, low2 := multiply(c, d)
	switch {
	case high1 > high2 || high1 == high2 && low1 > low2:
		return 1
	case high1 == high2 && low1 == low2:
		return 0
	}
	return -1
}

func multiply(a, b int64) (high int64, low uint64) {
	h, low := bits.Mul64(uint64(a), uint64(b))
	return int64(h) - a>>63&b - b>>63&a, low
}

func (r rect) contains(p point) bool { return r.x0 <= p.x && p.x <= r.x1 && r.y0 <= p.y && p.y <= r.y1 }

// passes reports whether the edge from a to b has a point inside r, not counting r's own edges.
// Two convex shapes are disjoint if a line parallel to one of their sides parts them.
func (r rect) passes(a, b point) bool {
	if max(a.x, b.x) <= r.x0 || min(a.x, b.x) >= r.x1 || max(a.y, b.y) <= r.y0 || min(a.y, b.y) >= r.y1 {
		return false
	}
	p, q := r.across(a, b)
	return orient(a, b, p)*orient(a, b, q) < 0
}

// reaches reports whether the edge from a to b has a point in r or on r's edges.
func (r rect) reaches(a, b point) bool {
	if max(a.x, b.x) < r.x0 || min(a.x, b.x) > r.x1 || max(a.y, b.y) < r.y0 || min(a.y, b.y) > r.y1 {
		return false
	}
	p, q := r.across(a, b)
	return orient(a, b, p)*orient(a, b, q) <= 0
}

// across is the two corners of r that lie farthest to either side of a line from a to b.
func (r rect) across(a, b point) (point, point) {
	if (a.x < b.x) == (a.y < b.y) {
		return point{r.x0, r.y1}, point{r.x1, r.y0}
	}
	return point{r.x0, r.y0}, point{r.x1, r.y1}
}

// crosses reports whether the way from p to q crosses the edge between a and b an odd number of times:
// eastwards or westwards first, then north or south. p and q are odd. Where the way begins, turns or
// ends on the edge, that counts as one side of it, whichever way the edge runs.
func crosses(p, q, a, b point) bool {
	alongParallel, alongMeridian := (a.y > p.y) != (b.y > p.y), (a.x > q.x) != (b.x > q.x)
	if !alongParallel && !alongMeridian {
		return false
	}
	if compare(a, b) > 0 {
		a, b = b, a
	}
	turn := orient(a, b, point{q.x, p.y}) >= 0
	odd := alongParallel && (orient(a, b, p) >= 0) != turn
	if alongMeridian && (orient(a, b, q) >= 0) != turn {
		odd = !odd
	}
	return odd
}

// compare orders points from west to east, and on one meridian from south to north.
func compare(p, q point) int { return cmp.Or(cmp.Compare(p.x, q.x), cmp.Compare(p.y, q.y)) }
