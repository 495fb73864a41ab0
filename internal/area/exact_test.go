package area_test

import (
	"encoding/json"
	"math"
	"math/big"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	"tilegate/internal/area"
	"tilegate/internal/tile"
)

// What follows computes Meets once more, of the whole document and in exact fractions: an area is
// shared if, on one of the parallels in the middle between two at which something ends or crosses,
// there is a piece of the polygon between the tile's sides.

type (
	position = [2]float64
	rings    = [][]position
)

// scale is the size of a degree: tiles' latitudes are rounded to 2^-90.
const scale = 90

// rounded is a coordinate of a position, as the package rounds it.
func rounded(degrees float64) *big.Int {
	v := big.NewInt(int64(math.RoundToEven(math.Ldexp(degrees, 53))))
	return v.Lsh(v, scale-53)
}

// fraction is n/d, and d is positive.
type fraction struct{ n, d *big.Int }

func whole(n *big.Int) fraction { return fraction{n, big.NewInt(1)} }

func (f fraction) compare(g fraction) int {
	return new(big.Int).Mul(f.n, g.d).Cmp(new(big.Int).Mul(g.n, f.d))
}

func middle(f, g fraction) fraction {
	n := new(big.Int).Mul(f.n, g.d)
	n.Add(n, new(big.Int).Mul(g.n, f.d))
	d := new(big.Int).Mul(f.d, g.d)
	return fraction{n, d.Lsh(d, 1)}
}

// vertex is x, y.
type vertex [2]*big.Int

type segment struct {
	a, b vertex
	ring int
}

// span of a segment along one axis.
func (s *segment) span(axis int) (least, most *big.Int) {
	if s.a[axis].Cmp(s.b[axis]) < 0 {
		return s.a[axis], s.b[axis]
	}
	return s.b[axis], s.a[axis]
}

// at is where a segment's line, which does not run along the other axis, has the given coordinate on
// that axis.
func (s *segment) at(axis int, other fraction) fraction {
	run := new(big.Int).Sub(s.b[1-axis], s.a[1-axis])
	rise := new(big.Int).Sub(s.b[axis], s.a[axis])
	// a[axis] + rise·(other - a[1-axis])/run
	n := new(big.Int).Sub(other.n, new(big.Int).Mul(s.a[1-axis], other.d))
	n.Mul(n, rise)
	d := new(big.Int).Mul(run, other.d)
	n.Add(n, new(big.Int).Mul(s.a[axis], d))
	if d.Sign() < 0 {
		n.Neg(n)
		d.Neg(d)
	}
	return fraction{n, d}
}

// crossing is the y at which two segments' lines cross, if they are not parallel.
func crossing(s, t *segment) (fraction, bool) {
	cross := func(a, b, c, d *big.Int) *big.Int {
		v := new(big.Int).Mul(a, b)
		return v.Sub(v, new(big.Int).Mul(c, d))
	}
	sx, sy := new(big.Int).Sub(s.b[0], s.a[0]), new(big.Int).Sub(s.b[1], s.a[1])
	tx, ty := new(big.Int).Sub(t.b[0], t.a[0]), new(big.Int).Sub(t.b[1], t.a[1])
	d := cross(sx, ty, sy, tx)
	if d.Sign() == 0 {
		return fraction{}, false
	}
	n := cross(new(big.Int).Sub(t.a[0], s.a[0]), ty, new(big.Int).Sub(t.a[1], s.a[1]), tx)
	n.Mul(n, sy)
	n.Add(n, new(big.Int).Mul(s.a[1], d))
	if d.Sign() < 0 {
		n.Neg(n)
		d.Neg(d)
	}
	return fraction{n, d}, true
}

type exactTile struct{ least, most vertex } // south-west and north-east

func newExactTile(z uint8, x, y uint32) exactTile {
	longitude := func(column int64, inwards int64) *big.Int {
		r := big.NewRat(column, 1<<z)
		r.Add(r, big.NewRat(inwards, 1e12))
		r.Mul(r, big.NewRat(360, 1)).Sub(r, big.NewRat(180, 1))
		r.Mul(r, new(big.Rat).SetInt(new(big.Int).Lsh(big.NewInt(1), scale)))
		return new(big.Int).Quo(r.Num(), r.Denom())
	}
	latitude := func(row int64, inwards int64) *big.Int {
		r := big.NewRat(row, 1<<z)
		return exactLatitude(r.Add(r, big.NewRat(inwards, 1e12)))
	}
	return exactTile{
		vertex{longitude(int64(x), 1), latitude(int64(y)+1, -1)},
		vertex{longitude(int64(x)+1, -1), latitude(int64(y), 1)},
	}
}

const precision = 160

var pi, _, _ = big.ParseFloat("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803", 10, precision, big.ToNearestEven)

func exactly(v float64) *big.Float { return new(big.Float).SetPrec(precision).SetFloat64(v) }

// series is first + first·v/d(1) + first·v²/(d(1)·d(2)) + …
func series(first, v *big.Float, d func(k int64) int64) *big.Float {
	sum, term := new(big.Float).Copy(first), new(big.Float).Copy(first)
	for k := int64(1); term.Sign() != 0 && term.MantExp(nil) > -precision; k++ {
		term.Quo(term.Mul(term, v), exactly(float64(d(k))))
		sum.Add(sum, term)
	}
	return sum
}

// exactLatitude of a place in the Web Mercator square, where the sine is the hyperbolic tangent of
// u = π(1-2v). math gives a first value, and sin(latitude - first) the rest.
func exactLatitude(v *big.Rat) *big.Int {
	u := new(big.Float).SetPrec(precision).SetRat(v)
	u.Sub(exactly(1), u.Mul(u, exactly(2)))
	u.Mul(u, pi)
	power := series(exactly(1), u, func(k int64) int64 { return k })
	inverse := new(big.Float).Quo(exactly(1), power)
	sinh, cosh := new(big.Float).Sub(power, inverse), new(big.Float).Add(power, inverse) // doubled
	approximate, _ := u.Float64()
	first := exactly(math.Asin(math.Tanh(approximate)))
	square := new(big.Float).Mul(first, first)
	square.Neg(square)
	sin := series(first, square, func(k int64) int64 { return 2 * k * (2*k + 1) })
	cos := series(exactly(1), square, func(k int64) int64 { return 2 * k * (2*k - 1) })
	// sinh/cosh·cos - 1/cosh·sin
	rest := new(big.Float).Mul(sinh, cos)
	rest.Sub(rest, new(big.Float).Mul(exactly(2), sin))
	rest.Quo(rest, cosh)
	rest.Add(rest, first)
	rest.Quo(rest.Mul(rest, exactly(180)), pi)
	degrees, _ := rest.SetMantExp(rest, scale).Int(nil)
	return degrees
}

// exactlyMeets of a union of polygons.
func exactlyMeets(polygons []rings, z uint8, x, y uint32) bool {
	r := newExactTile(z, x, y)
	for _, polygon := range polygons {
		if hasRoom(polygon[0]) && r.meets(polygon) {
			return true
		}
	}
	return false
}

// hasRoom reports whether a box around the ring, without its spikes, would meet any tile.
func hasRoom(ring []position) bool {
	box := tile.Box{West: 180, South: 90, East: -180, North: -90}
	odd := map[[2]position]bool{} // edges, by how often they are there, in either direction
	for i, p := range ring[1:] {
		there, back := [2]position{ring[i], p}, [2]position{p, ring[i]}
		if odd[back] {
			delete(odd, back)
		} else {
			odd[there] = !odd[there]
		}
	}
	for edge, is := range odd {
		for _, p := range edge {
			if is {
				box.West, box.East = min(box.West, p[0]), max(box.East, p[0])
				box.South, box.North = min(box.South, p[1]), max(box.North, p[1])
			}
		}
	}
	room := tile.NewArea(&box)
	return box.West < box.East && room.Meets(0, 0, 0)
}

func (r *exactTile) meets(polygon rings) bool {
	var all, near []*segment
	for i, ring := range polygon {
		vertices := make([]vertex, len(ring))
		for k, p := range ring {
			// To tile.Project the last metres are the end of the map.
			if lat := math.Abs(p[1]); lat >= 85.0511 {
				p[1] = math.Copysign(max(lat, 85.0511287798066), p[1])
			}
			vertices[k] = vertex{rounded(p[0]), rounded(p[1])}
		}
		for k := range len(ring) - 1 {
			s := &segment{vertices[k], vertices[k+1], i}
			south, north := s.span(1)
			west, east := s.span(0)
			if north.Cmp(r.least[1]) <= 0 || south.Cmp(r.most[1]) >= 0 || west.Cmp(r.most[0]) >= 0 || south.Cmp(north) == 0 {
				continue
			}
			all = append(all, s)
			if east.Cmp(r.least[0]) > 0 {
				near = append(near, s)
			}
		}
	}
	parallels := []fraction{whole(r.least[1]), whole(r.most[1])}
	add := func(y fraction) {
		if y.compare(parallels[0]) > 0 && y.compare(parallels[1]) < 0 {
			parallels = append(parallels, y)
		}
	}
	for i, s := range near {
		add(whole(s.a[1]))
		add(whole(s.b[1]))
		if s.a[0].Cmp(s.b[0]) != 0 {
			add(s.at(1, whole(r.least[0])))
			add(s.at(1, whole(r.most[0])))
		}
		for _, t := range near[:i] {
			if y, ok := crossing(s, t); ok {
				add(y)
			}
		}
	}
	// Those to the west count for the other side of the tile only, and do so as they begin and end.
	for _, s := range all {
		add(whole(s.a[1]))
		add(whole(s.b[1]))
	}
	slices.SortFunc(parallels, fraction.compare)
	for i := range len(parallels) - 1 {
		if parallels[i].compare(parallels[i+1]) < 0 && r.meetsAt(middle(parallels[i], parallels[i+1]), all, len(polygon)) {
			return true
		}
	}
	return false
}

// meetsAt goes along a parallel from the west.
func (r *exactTile) meetsAt(y fraction, all []*segment, rings int) bool {
	type step struct {
		x    fraction
		ring int
	}
	var steps []step
	for _, s := range all {
		south, north := s.span(1)
		if y.compare(whole(south)) > 0 && y.compare(whole(north)) < 0 {
			steps = append(steps, step{s.at(0, y), s.ring})
		}
	}
	slices.SortFunc(steps, func(a, b step) int { return a.x.compare(b.x) })
	inside := make([]bool, rings)
	begin, end := whole(r.least[0]), whole(r.most[0])
	for _, s := range steps {
		if s.x.compare(end) >= 0 {
			break
		}
		if s.x.compare(begin) > 0 {
			if inside[0] && !slices.Contains(inside[1:], true) {
				return true
			}
			begin = s.x
		}
		inside[s.ring] = !inside[s.ring]
	}
	return inside[0] && !slices.Contains(inside[1:], true)
}

func geoJSON(polygons []rings) []byte {
	b, err := json.Marshal(map[string]any{"type": "MultiPolygon", "coordinates": polygons})
	if err != nil {
		panic(err)
	}
	return b
}

// closed is the ring of these positions, moved onto the world.
func closed(ring []position) []position {
	for i, p := range ring {
		ring[i] = position{min(max(p[0], -180), 180), min(max(p[1], -90), 90)}
	}
	return append(ring, ring[0])
}

// randomPolygons makes one to three polygons of a random kind and size.
func randomPolygons(r *rand.Rand) []rings {
	size := math.Pow(10, r.Float64()*11-8.5) // of a few centimetres to the world
	x, y := r.Float64()*360-180, math.Asin(r.Float64()*2-1)*180/math.Pi
	switch r.IntN(8) {
	case 0:
		x, y = 0, 0
	case 1:
		x = math.Copysign(180, x) // and half of it is cut off
	case 2:
		y = math.Copysign(85.0511287798, y)
	case 3:
		y = math.Copysign(90, y)
	}
	star := func(n int, inner, outer float64) []position {
		ring := make([]position, n)
		for i := range ring {
			sin, cos := math.Sincos((float64(i) + r.Float64()*0.9) / float64(n) * 2 * math.Pi)
			far := size * (inner + r.Float64()*(outer-inner))
			ring[i] = position{x + cos*far, y + sin*far}
		}
		return closed(ring)
	}
	snapped := func(ring []position) []position {
		z := int(math.Log2(360/size)) + r.IntN(4)
		side := math.Ldexp(1, min(max(z, 0), tile.MaxZoom))
		for i, p := range ring {
			px, py := tile.Project(p[0], p[1])
			px, py = math.Round(px*side)/side, math.Round(py*side)/side
			ring[i] = position{px*360 - 180, math.Atan(math.Sinh(math.Pi*(1-2*py))) * 180 / math.Pi}
			if r.IntN(8) == 0 {
				ring[i][0] = p[0]
			}
		}
		ring[len(ring)-1] = ring[0]
		return ring
	}
	mess := func(n int) []position {
		ring := make([]position, n)
		for i := range ring {
			ring[i] = position{x + size*r.NormFloat64(), y + size*r.NormFloat64()}
			if i > 1 && r.IntN(5) == 0 {
				ring[i] = ring[r.IntN(i)]
			}
		}
		return closed(ring)
	}
	switch r.IntN(8) {
	case 0:
		return []rings{{star(3+r.IntN(30), 0.2, 1)}}
	case 1: // holes, and an island in one
		n := 6 + r.IntN(20)
		return []rings{{star(n, 0.7, 1), star(3+r.IntN(n), 0.3, 0.4)}, {star(3+r.IntN(9), 0.01, 0.1)}}
	case 2: // a sliver
		angle := r.Float64() * 2 * math.Pi
		sin, cos := math.Sincos(angle)
		wide := math.Pow(10, -r.Float64()*8)
		return []rings{{closed([]position{
			{x - cos*size, y - sin*size}, {x + sin*size*wide, y - cos*size*wide}, {x + cos*size, y + sin*size},
		})}}
	case 3:
		return []rings{{snapped(star(3+r.IntN(20), 0.2, 1))}}
	case 4:
		return []rings{{snapped(star(4+r.IntN(20), 0.5, 1)), snapped(star(4+r.IntN(10), 0.1, 0.6))}, {snapped(star(4, 0, 0.3))}}
	case 5:
		return []rings{{mess(3 + r.IntN(8)), mess(3 + r.IntN(5))}, {mess(3 + r.IntN(5))}}
	case 6: // a hole that touches its outer ring, or has edges in common with it
		outer := snapped(star(5+r.IntN(20), 0.2, 1))
		first := r.IntN(len(outer) - 2)
		hole := slices.Clone(outer[first : first+2+r.IntN(len(outer)-2-first)])
		return []rings{{outer, closed(append(hole, position{x, y}))}}
	default: // a box
		w, h := size*r.Float64(), size*r.Float64()
		ring := closed([]position{{x - w, y - h}, {x + w, y - h}, {x + w, y + h}, {x - w, y + h}})
		if r.IntN(2) == 0 {
			ring = snapped(ring)
		}
		return []rings{{ring}}
	}
}

// randomTile is at or near a position or an edge, and mostly of a size at which that matters.
func randomTile(r *rand.Rand, polygons []rings) (z uint8, x, y uint32) {
	polygon := polygons[r.IntN(len(polygons))]
	ring := polygon[r.IntN(len(polygon))]
	i := r.IntN(len(ring) - 1)
	lon, lat := ring[i][0], ring[i][1]
	if r.IntN(2) == 0 {
		along := r.Float64()
		lon, lat = lon+(ring[i+1][0]-lon)*along, lat+(ring[i+1][1]-lat)*along
	}
	z = uint8(r.IntN(tile.MaxZoom + 1))
	x, y = tile.At(z, lon, lat)
	last := uint32(1)<<z - 1
	if r.IntN(2) == 0 {
		x, y = min(x+uint32(r.IntN(3)), last+1)-1, min(y+uint32(r.IntN(3)), last+1)-1
		x, y = min(x, last), min(y, last)
	}
	return z, x, y
}

// Meets agrees with the computation above on 4,000 tiles, or as many as TILEGATE_AREA_TILES says: a
// million take some minutes. Each shard is 4,000 random tiles of its own.
func TestMeetsAgreesWithAnExactComputation(t *testing.T) {
	const shard = 4_000
	want := shard
	if text := os.Getenv("TILEGATE_AREA_TILES"); text != "" {
		var err error
		if want, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	for i := range (want + shard - 1) / shard {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(uint64(i), 0))
			met, shapes, refused := 0, 0, 0
			for tiles := 0; tiles < shard; shapes++ {
				shape := randomPolygons(random)
				a, err := area.Parse(geoJSON(shape))
				if err != nil {
					refused++
					continue
				}
				for range 40 {
					z, x, y := randomTile(random, shape)
					got, want := a.Meets(z, x, y), exactlyMeets(shape, z, x, y)
					if got != want {
						t.Fatalf("%d/%d/%d: got %v, want %v: %s", z, x, y, got, want, geoJSON(shape))
					}
					tiles++
					if got {
						met++
					}
				}
			}
			if met < shard/4 || met > shard*3/4 || refused > shapes/2 {
				t.Errorf("%d tiles met, %d of %d shapes were refused: the samples say little", met, refused, shapes)
			}
		})
	}
}

// FuzzMeets lets the fuzzer draw polygons on a grid of 16 by 16 points, as wide as the columns of zoom
// 14, where a lot of edges touch and overlap.
func FuzzMeets(f *testing.F) {
	f.Add([]byte{0x00, 0xf0, 0xff, 0x0f, 0x00}, []byte{0x44, 0x84, 0x88, 0x48}, []byte{0xab, 0xcd, 0xef}, uint8(14), uint16(0x777))
	f.Add([]byte{0x00, 0x08, 0x88, 0x80}, []byte{0x00, 0x08, 0x44}, []byte{0x08, 0x88, 0x44}, uint8(15), uint16(0x123))
	f.Add([]byte{0x00, 0xff, 0x0f, 0xf0}, []byte{0x44, 0x44, 0x66}, []byte{0x10, 0x20, 0x30}, uint8(13), uint16(0))
	f.Add([]byte{0x00, 0x0f, 0xff, 0xf0}, []byte{0x00, 0x08, 0x88, 0x80}, []byte{0x08, 0x88, 0x8c, 0x0c}, uint8(14), uint16(0x1ff))
	f.Fuzz(func(t *testing.T, outer, hole, other []byte, z uint8, at uint16) {
		ring := func(grid []byte) []position {
			positions := make([]position, 0, 20)
			for _, cell := range grid[:min(len(grid), 16)] {
				positions = append(positions, position{float64(cell>>4) * 360 / 16384, float64(cell&15) * 360 / 16384})
			}
			if len(positions) < 3 {
				return nil
			}
			return append(positions, positions[0])
		}
		var shape []rings
		switch o, h, p := ring(outer), ring(hole), ring(other); {
		case o == nil:
			return
		case h == nil:
			shape = []rings{{o}}
		case p == nil:
			shape = []rings{{o, h}}
		default:
			shape = []rings{{o, h, p}, {p}}
		}
		a, err := area.Parse(geoJSON(shape))
		if err != nil {
			return // nothing is left of it
		}
		z = 10 + z%8
		west, north := tile.At(z, 0, 0)
		x, y := west+uint32(at&31), north-uint32(at>>5&31)
		if got, want := a.Meets(z, x, y), exactlyMeets(shape, z, x, y); got != want {
			t.Fatalf("%d/%d/%d: got %v, want %v: %s", z, x, y, got, want, geoJSON(shape))
		}
	})
}
