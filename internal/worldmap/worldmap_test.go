package worldmap_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"tilegate/internal/worldmap"
)

// The map takes a while to build under the race detector, and is immutable: the tests share it.
var shared = sync.OnceValues(worldmap.New)

func world(t testing.TB) *worldmap.Map {
	t.Helper()
	m, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func decode(t *testing.T, m *worldmap.Map, z uint8, x, y uint32, scale uint8) image.Image {
	t.Helper()
	file, err := m.Tile(z, x, y, scale)
	if err != nil {
		t.Fatal(err)
	}
	img, err := png.Decode(bytes.NewReader(file))
	if err != nil {
		t.Fatalf("tile %d/%d/%d: %v", z, x, y, err)
	}
	return img
}

func TestDataIsThePackagesOwn(t *testing.T) {
	file, err := os.Open("data/countries-50m.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, unzipped); err != nil {
		t.Fatal(err)
	}
	const want = "04342cdc1e3016bcd7db1630de95684d67b79fe3c8c460321e87aef469502394"
	if got := fmt.Sprintf("%x", hash.Sum(nil)); got != want {
		t.Errorf("SHA-256 of world-atlas 2.0.2 countries-50m.json: got %s, want %s", got, want)
	}
}

func TestPlacesHaveTheirColour(t *testing.T) {
	const z = 3
	at := func(lon, lat float64) color.RGBA {
		x := (lon + 180) / 360 * (1 << z)
		y := (0.5 - math.Asinh(math.Tan(lat*math.Pi/180))/(2*math.Pi)) * (1 << z)
		img := decode(t, world(t), z, uint32(x), uint32(y), 1)
		return color.RGBAModel.Convert(img.At(int(math.Mod(x, 1)*256), int(math.Mod(y, 1)*256))).(color.RGBA)
	}
	sea := func(c color.RGBA) bool { return int(c.B) > int(c.R)+0x10 }
	ice := func(c color.RGBA) bool { return c.R > 0xf0 && c.B >= c.R }
	land := func(c color.RGBA) bool { return !sea(c) && !ice(c) }
	tests := []struct {
		name     string
		lon, lat float64
		is       func(color.RGBA) bool
	}{
		{"Pacific", -125, -35, sea},
		{"Atlantic", -35, 45, sea},
		{"Caspian, a hole in the land", 50.5, 42, sea},
		{"North Sea", 1.5, 55, sea},
		{"south of Africa", 20, -40, sea},
		{"Paris", 2.35, 48.2, land},
		{"Kansas", -98.5, 39.8, land},
		{"Lesotho, a country in another's hole", 28.3, -29.6, land},
		{"Chukotka, west of the antimeridian", 178, 67.5, land},
		{"Chukotka, east of the antimeridian", -178, 67, land},
		{"Fiji", 178.2, -17.6, land},
		{"Greenland", -40, 75, ice},
		{"Antarctica at the antimeridian", 180 - 1e-6, -84, sea},
		{"Antarctica", 100, -80, ice},
		{"Antarctica at the map's edge", 20, -85.04, ice},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if c := at(test.lon, test.lat); !test.is(c) {
				t.Errorf("colour at %v, %v: got %v", test.lon, test.lat, c)
			}
		})
	}
	if east, west := at(178, 67.5), at(-178, 67); east != west {
		t.Errorf("Russia on the two sides of the antimeridian: got %v and %v", east, west)
	}
}

func TestNeighboursDifferInColour(t *testing.T) {
	pairs, err := worldmap.SharedTints()
	if err != nil {
		t.Fatal(err)
	}
	if len(pairs) > 0 {
		t.Errorf("neighbours of one colour: %v", pairs)
	}
}

// Four tiles are the picture that one square of twice the size would be: no line, shade or letter ends at a seam.
func TestTilesMeetWithoutASeam(t *testing.T) {
	m := world(t)
	for _, square := range []struct {
		name string
		z    uint8
		x, y uint32 // in squares of 512 pixels
	}{
		{"the antimeridian", 2, 0, 0},
		{"Europe", 4, 4, 2},
	} {
		t.Run(square.name, func(t *testing.T) {
			big := m.Paint(square.z, 1, square.x, square.y, 512)
			for i := range uint32(4) {
				tile := m.Paint(square.z, 1, square.x*2+i%2, square.y*2+i/2, 256)
				worst := 0
				for y := range 256 {
					for x := range 256 {
						a, b := tile.RGBAAt(x, y), big.RGBAAt(x+int(i%2)*256, y+int(i/2)*256)
						worst = max(worst, difference(a.R, b.R), difference(a.G, b.G), difference(a.B, b.B))
					}
				}
				// Sums of coverage are rounded where they are taken; a cut line would differ by dozens.
				if worst > 4 {
					t.Errorf("quarter %d differs from the larger picture by %d of 255", i, worst)
				}
			}
		})
	}
}

func difference(a, b uint8) int { return max(int(a)-int(b), int(b)-int(a)) }

func TestLabelsDoNotOverlap(t *testing.T) {
	m := world(t)
	for _, z := range []uint8{2, 4} {
		names, boxes := m.Labels(z)
		span := math.Ldexp(256, int(z))
		for i, a := range boxes {
			for j, b := range boxes[:i] {
				if math.Abs(math.Remainder(a[0]-b[0], span)) < (a[2]+b[2])/2 && math.Abs(a[1]-b[1]) < (a[3]+b[3])/2 {
					t.Errorf("zoom %d: %q is over %q", z, names[i], names[j])
				}
			}
		}
	}
	names, _ := m.Labels(4)
	for _, want := range []string{"FRANCE", "BRAZIL", "ANTARCTICA", "North Sea", "Japan"} {
		if !slices.ContainsFunc(names, func(lines []string) bool { return strings.Join(lines, " ") == want }) {
			t.Errorf("zoom 4 does not name %s", want)
		}
	}
}

func TestTileSizes(t *testing.T) {
	for scale, want := range map[uint8]int{1: 256, 2: 512} {
		img := decode(t, world(t), 2, 2, 1, scale)
		if got := img.Bounds().Size(); got != image.Pt(want, want) {
			t.Errorf("scale %d: got %v, want %d pixels a side", scale, got, want)
		}
		if _, ok := img.(*image.Paletted); !ok {
			t.Errorf("scale %d: got %T, want a palette", scale, img)
		}
	}
}

func TestTilesAreDeterministic(t *testing.T) {
	other, err := worldmap.New()
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for i := range uint32(4) {
		group.Go(func() {
			a, err := world(t).Tile(1, i%2, i/2, 1)
			b, err2 := other.Tile(1, i%2, i/2, 1)
			if err := errors.Join(err, err2); err != nil {
				t.Error(err)
			} else if !bytes.Equal(a, b) {
				t.Errorf("tile 1/%d/%d: two maps draw it differently", i%2, i/2)
			}
		})
	}
	group.Wait()
}

func TestNoSuchTile(t *testing.T) {
	tests := []struct {
		name     string
		z        uint8
		x, y     uint32
		scale    uint8
		expected error
	}{
		{"world", 0, 0, 0, 1, nil},
		{"last of zoom 1", 1, 1, 1, 1, nil},
		{"beyond the east", 1, 2, 0, 1, worldmap.ErrNoTile},
		{"beyond the south", 1, 0, 2, 1, worldmap.ErrNoTile},
		{"too deep", worldmap.MaxZoom + 1, 0, 0, 1, worldmap.ErrNoTile},
		{"no scale", 0, 0, 0, 0, worldmap.ErrNoTile},
		{"too dense", 0, 0, 0, 3, worldmap.ErrNoTile},
		{"far beyond", 255, math.MaxUint32, math.MaxUint32, 255, worldmap.ErrNoTile},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := world(t).Tile(test.z, test.x, test.y, test.scale)
			if !errors.Is(err, test.expected) {
				t.Errorf("got %v, want %v", err, test.expected)
			}
		})
	}
}

func BenchmarkTile(b *testing.B) {
	m := world(b)
	for _, z := range []uint8{0, 2, 4} {
		b.Run(fmt.Sprintf("zoom=%d", z), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := m.Tile(z, 1<<z/2, 1<<z/3, 1); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkNew(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := worldmap.New(); err != nil {
			b.Fatal(err)
		}
	}
}
