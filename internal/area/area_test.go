package area_test

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"tilegate/internal/area"
	"tilegate/internal/tile"
)

func parse(t testing.TB, geojson string) *area.Area {
	t.Helper()
	a, err := area.Parse([]byte(geojson))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// box is a box as the coordinates of a ring, with more positions where an edge is long.
func box(west, south, east, north float64) []position {
	middle := (west + east) / 2
	return []position{{west, south}, {middle, south}, {east, south}, {east, north}, {middle, north}, {west, north}, {west, south}}
}

func polygon(rings ...[]position) string { return geometry("Polygon", rings) }

func multiPolygon(polygons ...rings) string { return geometry("MultiPolygon", polygons) }

func geometry(kind string, coordinates any) string {
	b, err := json.Marshal(map[string]any{"type": kind, "coordinates": coordinates})
	if err != nil {
		panic(err)
	}
	return string(b)
}

// tileBox is a tile's box as everybody computes it.
func tileBox(z uint8, x, y uint32) tile.Box {
	side := math.Ldexp(1, int(z))
	latitude := func(row float64) float64 { return math.Atan(math.Sinh(math.Pi*(1-2*row/side))) * 180 / math.Pi }
	return tile.Box{
		West: float64(x)/side*360 - 180, East: float64(x+1)/side*360 - 180,
		North: latitude(float64(y)), South: latitude(float64(y) + 1),
	}
}

func TestMeets(t *testing.T) {
	// At zoom 6 a tile is 5.625° wide; column 32 begins at 0°, row 31 ends at 0°.
	ring := polygon(box(0, 0, 45, 45), box(10, 10, 30, 30))
	island := multiPolygon(rings{box(0, 0, 45, 45), box(10, 10, 30, 30)}, rings{box(18, 18, 20, 20)})
	tiny := polygon([]position{{8.00000001, 47.00000001}, {8.00000003, 47.00000001}, {8.00000002, 47.00000003}, {8.00000001, 47.00000001}})
	tinyX, tinyY := tile.At(30, 8.00000002, 47.00000002)
	for _, tt := range []struct {
		name, geojson string
		z             uint8
		x, y          uint32
		want          bool
	}{
		{"inside", ring, 8, 128, 127, true},
		{"in the hole", ring, 8, 142, 113, false},
		{"across the hole's edge", ring, 6, 33, 30, true},
		{"larger than the hole", ring, 3, 4, 3, true},
		{"the world", ring, 0, 0, 0, true},
		{"touches the west edge", ring, 6, 31, 31, false},
		{"touches the south edge", ring, 6, 32, 32, false},
		{"touches a corner", ring, 6, 31, 32, false},
		{"on the island in the hole", island, 9, 283, 228, true},
		{"beside the island", island, 9, 277, 228, false},
		{"polygons that overlap are their union", multiPolygon(rings{box(0, 0, 20, 20)}, rings{box(5, 5, 30, 30)}), 8, 135, 120, true},
		{"a polygon twice is no hole", multiPolygon(rings{box(0, 0, 20, 20)}, rings{box(0, 0, 20, 20)}), 8, 135, 120, true},
		{"a hole is a hole in its own polygon alone", multiPolygon(rings{box(0, 0, 20, 20), box(5, 5, 15, 15)}, rings{box(8, 8, 12, 12)}), 8, 135, 120, true},
		{"west of the antimeridian", multiPolygon(rings{box(170, -10, 180, 10)}, rings{box(-180, -10, -170, 10)}), 5, 31, 15, true},
		{"east of the antimeridian", multiPolygon(rings{box(170, -10, 180, 10)}, rings{box(-180, -10, -170, 10)}), 5, 0, 15, true},
		{"the rest of the world", multiPolygon(rings{box(170, -10, 180, 10)}, rings{box(-180, -10, -170, 10)}), 5, 16, 15, false},
		{"up to the pole", polygon(box(-180, 85, 180, 90)), 10, 0, 0, true},
		{"the last row, of an area in the digits that people write", polygon(box(-180, -85.0511, 180, 85.0511)), 30, 5, 1<<30 - 1, true},
		{"the first row of it", polygon(box(-180, -85.0511, 180, 85.0511)), 30, 5, 0, true},
		{"a triangle that has its top beyond the map", polygon([]position{{0, 80}, {20, 80}, {10, 90}, {0, 80}}), 9, 270, 0, true},
		{"and its outside", polygon([]position{{0, 80}, {20, 80}, {10, 90}, {0, 80}}), 9, 257, 0, false},
		{"inside a tile of zoom 30", tiny, 30, tinyX, tinyY, true},
		{"beside that tile", tiny, 30, tinyX + 1, tinyY, false},
		{"around that tile", tiny, 20, tinyX >> 10, tinyY >> 10, true},
		{"a frame a tenth of a millimetre wide", polygon(box(8.00000001, 47.00000001, 8.00000007, 47.00000007), box(8.000000011, 47.000000011, 8.000000069, 47.000000069)), 30, tinyX, tinyY, true},
		{"a slanted edge is straight in degrees", polygon([]position{{0, 0}, {80, 80}, {80, 0}, {0, 0}}), 7, 78, 49, true},
		{"and bends on the map", polygon([]position{{0, 0}, {80, 80}, {80, 0}, {0, 0}}), 7, 78, 43, false},
		{"a whole world", polygon(box(-180, -90, 180, 90)), 30, 1 << 29, 1, true},
		{"one loop of an eight", polygon([]position{{0, 0}, {20, 20}, {20, 0}, {0, 20}, {0, 0}}), 8, 129, 120, true},
		{"the other loop of an eight", polygon([]position{{0, 0}, {20, 20}, {20, 0}, {0, 20}, {0, 0}}), 8, 140, 120, true},
		{"between the loops of an eight", polygon([]position{{0, 0}, {20, 20}, {20, 0}, {0, 20}, {0, 0}}), 8, 135, 117, false},
		{"what a ring goes around twice is outside", polygon([]position{{0, 0}, {30, 0}, {30, 30}, {0, 30}, {0, 0}, {10, 10}, {20, 10}, {20, 20}, {10, 20}, {10, 10}, {0, 0}}), 8, 138, 116, false},
		{"zoom 31", ring, 31, 1 << 30, 1 << 30, false},
		{"a column too far", ring, 3, 8, 3, false},
		{"a row too far", ring, 3, 4, 8, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := parse(t, tt.geojson).Meets(tt.z, tt.x, tt.y); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// Each of these would admit tiles outside of the outer ring, or in a hole, if rings were only counted.
func TestMistakesInAPolygonNeverWidenIt(t *testing.T) {
	outer := box(0, 0, 10, 10)
	for name, geojson := range map[string]string{
		"a hole outside":                          polygon(outer, box(20, 0, 30, 10)),
		"a hole across the edge":                  polygon(outer, box(5, 2, 30, 8)),
		"a hole around it all":                    polygon(outer, box(-10, -10, 30, 30)),
		"a hole that is the outer ring":           polygon(outer, outer),
		"holes that overlap":                      polygon(box(0, 0, 40, 10), box(10, 0, 35, 10), box(15, 0, 40, 10)),
		"a hole in a hole":                        polygon(box(0, -20, 40, 20), box(10, -20, 40, 20), box(18, 0, 30, 10)),
		"the same hole twice":                     polygon(box(0, 0, 40, 10), box(10, 0, 40, 10), box(10, 0, 40, 10)),
		"holes that border on each other":         polygon(box(0, 0, 40, 10), box(10, 0, 25, 10), box(25, 0, 40, 10)),
		"a spike":                                 polygon([]position{{0, 0}, {10, 0}, {10, 5}, {30, 5}, {10, 5}, {10, 10}, {0, 10}, {0, 0}}),
		"a spike, back in two steps":              polygon([]position{{0, 0}, {10, 0}, {10, 5}, {30, 5}, {17, 5}, {10, 5}, {10, 10}, {0, 10}, {0, 0}}),
		"a slanted spike":                         polygon([]position{{0, 0}, {10, 0}, {30, 3}, {20, 1.5}, {10, 0}, {10, 10}, {0, 10}, {0, 0}}),
		"a second polygon that is a line":         multiPolygon(rings{outer}, rings{{{20, 5}, {30, 5}, {25, 5}, {20, 5}}}),
		"a second polygon that is a point":        multiPolygon(rings{outer}, rings{{{25, 5}, {25, 5}, {25, 5}, {25, 5}}}),
		"a hole in a polygon that is a line":      multiPolygon(rings{outer}, rings{{{20, 5}, {30, 5}, {25, 5}, {20, 5}}, box(20, 0, 30, 10)}),
		"a polygon narrower than the margin":      multiPolygon(rings{outer}, rings{box(25, 0, 25+5e-10, 10)}),
		"a hole in one narrower than the margin":  multiPolygon(rings{outer}, rings{box(25, 0, 25+5e-10, 10), box(20, 0, 30, 10)}),
		"a ring that goes over another one twice": polygon(append(box(0, 0, 10, 10), append(box(20, 0, 30, 10), append(box(20, 0, 30, 10), position{0, 0})...)...)),
	} {
		t.Run(name, func(t *testing.T) {
			a, err := area.Parse([]byte(geojson))
			if err != nil {
				return // nothing is left
			}
			for z := uint8(4); z <= tile.MaxZoom; z++ {
				for _, place := range []position{{25, 5}, {20, 5}, {22.5, 5}, {20, 2}, {25, 9}, {28, 3}} {
					x, y := tile.At(z, place[0], place[1])
					if a.Meets(z, x, y) && tileBox(z, x, y).West > 11 {
						t.Fatalf("meets %d/%d/%d, around %v", z, x, y, place)
					}
				}
			}
		})
	}
}

// A polygon that is a box meets the tiles that the box meets, be it of a tile's own edges or not.
func TestABoxAsAPolygonMeetsWhatTheBoxMeets(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	met, alone := 0, 0
	for range 4000 {
		z := uint8(random.IntN(tile.MaxZoom + 1))
		last := uint32(1)<<z - 1
		x, y := random.Uint32N(last+1), random.Uint32N(last+1)
		b := tileBox(z, x, y)
		exactlyThis := random.IntN(2) == 0
		if exactlyThis {
			// Within the margin of 1e-12 of the world, at 85° of latitude too.
			shift := func() float64 { return (random.Float64() - 0.5) * 4e-11 }
			b.West, b.East = max(b.West+10*shift(), -180), min(b.East+10*shift(), 180)
			b.South, b.North = b.South+shift(), b.North+shift()
		} else {
			w, h := b.East-b.West, b.North-b.South
			b.West = max(b.West+w*random.NormFloat64()*2, -180)
			b.East = min(b.West+w*random.ExpFloat64()*2, 180)
			b.South = max(b.South+h*random.NormFloat64()*2, -90)
			b.North = min(b.South+h*random.ExpFloat64()*2, 90)
			if b.Validate() != nil {
				continue
			}
		}
		boxes := tile.NewArea(&b)
		a, err := area.Parse([]byte(polygon(box(b.West, b.South, b.East, b.North))))
		if err != nil {
			if boxes.Meets(0, 0, 0) {
				t.Fatal(err)
			}
			continue
		}
		for dx := range uint32(3) {
			for dy := range uint32(3) {
				x, y := x+dx-1, y+dy-1
				if x > last || y > last {
					continue
				}
				got, want := a.Meets(z, x, y), boxes.Meets(z, x, y)
				if got != want || exactlyThis && got != (dx == 1 && dy == 1) {
					t.Fatalf("%+v: %d/%d/%d: got %v, want %v", b, z, x, y, got, want)
				}
				if got {
					met++
				} else {
					alone++
				}
			}
		}
	}
	if met < 5000 || alone < 5000 {
		t.Errorf("%d tiles met and %d not: the samples say little", met, alone)
	}
}

// If a tile is met, then so are those around it: a client that goes down from there finds it.
func TestAMetTileIsInAMetTile(t *testing.T) {
	random := rand.New(rand.NewPCG(2, 1))
	for range 300 {
		shape := randomPolygons(random)
		a, err := area.Parse(geoJSON(shape))
		if err != nil {
			continue
		}
		for range 30 {
			z, x, y := randomTile(random, shape)
			if z > 0 && a.Meets(z, x, y) && !a.Meets(z-1, x/2, y/2) {
				t.Fatalf("%d/%d/%d is met, the tile around it is not: %s", z, x, y, geoJSON(shape))
			}
		}
	}
}

func TestBounds(t *testing.T) {
	for _, tt := range []struct {
		name, geojson string
		want          tile.Box
	}{
		{"a triangle", polygon([]position{{8, 47}, {9, 47.5}, {8.5, 48}, {8, 47}}), tile.Box{West: 8, South: 47, East: 9, North: 48}},
		{"its spike does not count", polygon([]position{{8, 47}, {9, 47.5}, {8.5, 48}, {8.5, 70}, {8.5, 48}, {8, 47}}), tile.Box{West: 8, South: 47, East: 9, North: 48}},
		{"both sides of the antimeridian", multiPolygon(rings{box(170, -10, 180, 10)}, rings{box(-180, -5, -170, 15)}), tile.Box{West: -180, South: -10, East: 180, North: 15}},
		{"beyond the map", polygon(box(-180, -90, 180, 60)), tile.Box{West: -180, South: tile.World.South, East: 180, North: 60}},
		{"a polygon beyond the map", multiPolygon(rings{box(0, 0, 10, 10)}, rings{box(-50, 86, 100, 90)}), tile.Box{West: 0, South: 0, East: 10, North: 10}},
	} {
		if got := parse(t, tt.geojson).Bounds(); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

// coast is a ring of n positions around 11°E 48°N, some 2° wide, as rough as a coast.
func coast(n int) []position {
	random := rand.New(rand.NewPCG(3, 1))
	phase := make([]float64, 14)
	for i := range phase {
		phase[i] = random.Float64() * 2 * math.Pi
	}
	ring := make([]position, n, n+1)
	for i := range ring {
		angle := float64(i) / float64(n) * 2 * math.Pi
		far := 1 + 0.0001*random.Float64()
		for k, p := range phase {
			far += 0.15 / math.Ldexp(1, k) * math.Sin(math.Ldexp(angle, k)+p) * float64(1+k%3)
		}
		sin, cos := math.Sincos(angle)
		ring[i] = position{math.Round((11+cos*far)*1e7) / 1e7, math.Round((48+0.7*sin*far)*1e7) / 1e7}
	}
	return append(ring, ring[0])
}

func TestMeetsDoesNotAllocate(t *testing.T) {
	shape := []rings{{coast(5000)}}
	a := parse(t, string(geoJSON(shape)))
	random := rand.New(rand.NewPCG(4, 1))
	region := area.Union(a).Intersect(area.Union(parse(t, polygon(box(10, 47, 12, 49)))))
	if n := testing.AllocsPerRun(1000, func() {
		z, x, y := randomTile(random, shape)
		region.Meets(z, x, y)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A look-up looks at few edges, and an area of as many positions as are read takes little memory.
func TestSizeOfALargeArea(t *testing.T) {
	a := parse(t, polygon(coast(60_000)))
	if size := a.Size(); size < 60_000*16 || size > 60_000*64 {
		t.Errorf("60,000 positions take %d bytes", size)
	}
}

// What would take long to build, or much memory, is refused.
func TestBuildingIsBounded(t *testing.T) {
	comb := func(n int, width, height float64) []position {
		ring := []position{{0, -1}}
		for i := range n {
			ring = append(ring, position{width * (float64(2*i) / float64(2*n)), 0}, position{width * (float64(2*i+1) / float64(2*n)), height})
		}
		return append(ring, position{width, -1}, position{0, -1})
	}
	fan := func(n int) rings {
		var hub rings
		for i := range n {
			sin, cos := math.Sincos(float64(i) / float64(n) * 6)
			sin2, cos2 := math.Sincos((float64(i) + 0.5) / float64(n) * 6)
			hub = append(hub, []position{{0, 0}, {cos, sin}, {cos2, sin2}, {0, 0}})
		}
		return hub
	}
	for name, geojson := range map[string]string{
		"edges side by side":               polygon(comb(60_000, 1e-3, 60)),
		"rings a hair's breadth apart":     polygon(box(0, 0, 10, 10), box(1e-7, 1e-7, 10-1e-7, 10-1e-7)),
		"positions beyond what is allowed": `{"type":"Polygon","coordinates":[[` + strings.Repeat("[0,0],[9,9],", 1<<17) + `[0,0]]]}`,
	} {
		t.Run(name, func(t *testing.T) {
			a, err := area.Parse([]byte(geojson))
			if err == nil || !strings.Contains(err.Error(), "simplify") {
				t.Errorf("got %v, %v", a, err)
			}
		})
	}
	for name, geojson := range map[string]string{
		"a comb that is not so fine":           polygon(comb(1000, 0.1, 0.1)),
		"many holes that meet in one place":    polygon(append(rings{box(-2, -2, 2, 2)}, fan(20)...)...),
		"many polygons that meet in one place": multiPolygon(split(fan(300))...),
		"holes with a border in common":        polygon(box(0, 0, 40, 10), []position{{1, 1}, {20, 1}, {23, 4}, {21, 9}, {1, 9}, {1, 1}}, []position{{20, 1}, {39, 1}, {39, 9}, {21, 9}, {23, 4}, {20, 1}}),
		"a hole along the outer ring":          polygon([]position{{0, 0}, {40, 0}, {30, 20}, {0, 10}, {0, 0}}, []position{{10, 0}, {40, 0}, {30, 20}, {10, 0}}),
		"borders that several polygons have":   multiPolygon(slicesOf(coast(1000), 10)...),
	} {
		t.Run(name, func(t *testing.T) { parse(t, geojson) })
	}
}

// split makes a polygon of each ring.
func split(all rings) []rings {
	var polygons []rings
	for _, r := range all {
		polygons = append(polygons, rings{r})
	}
	return polygons
}

// slicesOf a ring is the same polygon many times.
func slicesOf(ring []position, n int) []rings {
	var polygons []rings
	for range n {
		polygons = append(polygons, rings{ring})
	}
	return polygons
}

func TestRegion(t *testing.T) {
	west := parse(t, polygon(box(0, 0, 10, 10)))
	east := parse(t, polygon(box(10, 0, 20, 10)))
	corner := parse(t, polygon([]position{{0, 0}, {20, 0}, {20, 20}, {0, 0}}))
	far := parse(t, polygon(box(100, 0, 110, 10)))
	boxes := func(b tile.Box) area.Region { return area.FromBoxes(tile.NewArea(&b)) }
	type place struct {
		z        uint8
		lon, lat float64
	}
	for _, tt := range []struct {
		name   string
		region area.Region
		in     []place
		out    []place
	}{
		{"the zero value is the world", area.Region{}, []place{{0, 0, 0}, {20, 100, 50}}, nil},
		{"no area is nothing", area.Union(), nil, []place{{0, 0, 0}, {20, 5, 5}}},
		{"one", area.Union(west), []place{{0, 0, 0}, {12, 5, 5}}, []place{{12, 15, 5}}},
		{"two", area.Union(west, far), []place{{12, 5, 5}, {12, 105, 5}}, []place{{12, 15, 5}, {12, 50, 5}}},
		{"one of two", area.Union(west, east).Intersect(area.Union(east, far)), []place{{12, 15, 5}}, []place{{12, 5, 5}, {12, 105, 5}}},
		{"what both have", area.Union(west).Intersect(area.Union(corner)), []place{{12, 5, 2}}, []place{{12, 2, 5}, {12, 15, 2}}},
		{"with the world", area.Region{}.Intersect(area.Union(west)).Intersect(area.Region{}), []place{{12, 5, 5}}, []place{{12, 15, 5}}},
		{"with nothing", area.Union(west).Intersect(area.Union()), nil, []place{{0, 0, 0}, {12, 5, 5}}},
		{"far from each other", area.Union(west).Intersect(area.Union(far)), nil, []place{{0, 0, 0}, {12, 5, 5}, {12, 105, 5}}},
		{"side by side", area.Union(west).Intersect(area.Union(east)), nil, []place{{0, 0, 0}, {12, 5, 5}, {12, 15, 5}}},
		{"with a box", area.Union(west, east).Intersect(boxes(tile.Box{West: 5, South: 5, East: 15, North: 90})), []place{{12, 7, 7}, {12, 13, 7}}, []place{{12, 7, 2}, {12, 17, 7}}},
		{"a box across the antimeridian", boxes(tile.Box{West: 170, South: 5, East: -170, North: 10}).Intersect(area.Union(west)), nil, []place{{0, 0, 0}, {12, 175, 7}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for want, places := range map[bool][]place{true: tt.in, false: tt.out} {
				for _, p := range places {
					x, y := tile.At(p.z, p.lon, p.lat)
					if got := tt.region.Meets(p.z, x, y); got != want {
						t.Errorf("%v: got %v, want %v", p, got, want)
					}
				}
			}
		})
	}
	t.Run("bounds", func(t *testing.T) {
		got, ok := area.Union(west, far).Intersect(area.Union(corner, far)).Bounds()
		if want := (tile.Box{West: 0, South: 0, East: 110, North: 10}); !ok || got != want {
			t.Errorf("got %v, %v, want %v", got, ok, want)
		}
		if got, ok := (area.Region{}).Bounds(); !ok || got != tile.World {
			t.Errorf("the world: got %v, %v", got, ok)
		}
		if got, ok := area.Union(west).Intersect(area.Union(far)).Bounds(); ok {
			t.Errorf("nothing: got %v", got)
		}
	})
	t.Run("narrowing again and again takes no more memory", func(t *testing.T) {
		r := area.Union(west, far).Intersect(area.Union(corner))
		size := r.Size()
		for range 10 {
			r = r.Intersect(area.Union(corner)).Intersect(area.Union(west, far))
		}
		if r.Size() != size {
			t.Errorf("got %d bytes, want %d", r.Size(), size)
		}
	})
	t.Run("whole", func(t *testing.T) {
		if !(area.Region{}).Whole() || area.Union(west).Whole() || area.Union().Whole() {
			t.Error("the world is whole, and nothing else is")
		}
	})
}

// No narrowing admits a tile that was not admitted before.
func TestARegionIsNeverWiderThanItsParts(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 1))
	for range 100 {
		var shapes [3][]rings
		var regions [3]area.Region
		for i := range shapes {
			shapes[i] = randomPolygons(random)
			a, err := area.Parse(geoJSON(shapes[i]))
			if err != nil {
				continue // the world
			}
			regions[i] = area.Union(a)
		}
		both := regions[0].Intersect(regions[1]).Intersect(regions[2])
		for range 60 {
			z, x, y := randomTile(random, shapes[random.IntN(3)])
			if both.Meets(z, x, y) && (!regions[0].Meets(z, x, y) || !regions[1].Meets(z, x, y) || !regions[2].Meets(z, x, y)) {
				t.Fatalf("%d/%d/%d of %s, %s and %s", z, x, y, geoJSON(shapes[0]), geoJSON(shapes[1]), geoJSON(shapes[2]))
			}
		}
	}
}

func ExampleParse() {
	a, err := area.Parse([]byte(`{"type": "Polygon", "coordinates": [[[5, 45], [15, 45], [10, 55], [5, 45]]]}`))
	if err != nil {
		panic(err)
	}
	fmt.Println(a.Meets(6, 33, 22), a.Meets(6, 32, 20), a.Bounds().Degrees())
	// Output: true false [5 45 15 55]
}

func BenchmarkMeets(b *testing.B) {
	type tiled struct {
		z    uint8
		x, y uint32
	}
	shape := []rings{{coast(100_000)}}
	square := []rings{{box(5, 45, 15, 55)}}
	var star []rings
	for _, r := range split(rings{coast(16)}) { // 16 triangles around one position
		for i := range len(r[0]) - 1 {
			star = append(star, rings{{{11, 48}, r[0][i], r[0][i+1], {11, 48}}})
		}
	}
	random := rand.New(rand.NewPCG(6, 1))
	along := func(shape []rings) []tiled {
		tiles := make([]tiled, 4096)
		for i := range tiles {
			t := &tiles[i]
			t.z, t.x, t.y = randomTile(random, shape)
		}
		return tiles
	}
	at := func(lon, lat float64) []tiled {
		tiles := make([]tiled, 4096)
		for i := range tiles {
			t := &tiles[i]
			t.z = 14
			t.x, t.y = tile.At(14, lon+random.Float64()*0.1, lat+random.Float64()*0.1)
		}
		return tiles
	}
	for _, bb := range []struct {
		name  string
		shape []rings
		tiles []tiled
	}{
		{"along100000positions", shape, along(shape)},
		{"inside100000positions", shape, at(11, 48)},
		{"outside100000positions", shape, at(20, 40)},
		{"alongBox", square, along(square)},
		{"insideBox", square, at(10, 50)},
		{"aroundHub", star, at(10.95, 47.95)},
	} {
		b.Run(bb.name, func(b *testing.B) {
			a := parse(b, string(geoJSON(bb.shape)))
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				t := &bb.tiles[i&4095]
				a.Meets(t.z, t.x, t.y)
				i++
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	for _, n := range []int{1000, 100_000} {
		geojson := []byte(polygon(coast(n)))
		b.Run(fmt.Sprintf("%dpositions", n), func(b *testing.B) {
			b.SetBytes(int64(len(geojson)))
			for b.Loop() {
				if _, err := area.Parse(geojson); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
