package proxy

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"tilegate/internal/tile"
)

func tagsOfTile(id string, z uint8, x, y uint32) []string {
	e := &exchange{}
	ts := &tileset{Tileset: Tileset{ID: id}, surrogateKey: []string{tilesetTag(id)}}
	ts.setTags(e, tilePath{z: z, x: x, y: y})
	return strings.Split(e.Get("Surrogate-Key")[0], " ")
}

// Whatever is purged, each of its tiles has one of the tags, and there are never too many.
func TestAreaTagsReachAllTiles(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	exact := 0
	for range 3000 {
		west, south := random.Float64()*360-180, random.Float64()*170-85
		size := []float64{0.001, 0.05, 1, 20, 180}[random.IntN(5)]
		box := tile.Box{West: west, South: south, East: west + size*random.Float64(), North: min(85, south+size*random.Float64())}
		if box.East > 180 {
			box.East -= 360
		}
		low := uint8(random.IntN(31))
		zooms := tile.ZoomRange{Min: low, Max: low + uint8(random.IntN(int(31-low)))}
		if box.Validate() != nil {
			continue
		}
		purge := tile.Purge{Tileset: "basemap", Tiles: tile.NewTiles(zooms, box)}
		if purge.Tiles.Empty() {
			continue
		}
		tags := tagsOf(&purge)
		if len(tags) == 0 || len(tags) > maxAreaTags || slices.Contains(tags, tilesetTag("basemap")) && len(tags) > 1 {
			t.Fatalf("%v at %v: %d tags", box, zooms, len(tags))
		}
		inside := func(z uint8, x, y uint32) bool {
			return purge.Holds(&tile.Key{Tileset: "basemap", Z: z, X: x, Y: y})
		}
		reached := func(z uint8, x, y uint32) bool {
			return slices.ContainsFunc(tagsOfTile("basemap", z, x, y), func(tag string) bool { return slices.Contains(tags, tag) })
		}
		single := !slices.ContainsFunc(tags, func(tag string) bool { return !strings.Contains(tag, ".t") })
		if single {
			exact++
		}
		for z := zooms.Min; z <= zooms.Max; z++ {
			for _, s := range purge.Tiles.Area().Spans(z) {
				// The corners, what is around them, and something between.
				for _, x := range []uint32{s.Left - 1, s.Left, s.Left + uint32(random.Uint64N(uint64(s.Right-s.Left)+1)), s.Right, s.Right + 1} {
					for _, y := range []uint32{s.Top - 1, s.Top, s.Top + uint32(random.Uint64N(uint64(s.Bottom-s.Top)+1)), s.Bottom, s.Bottom + 1} {
						if x >= 1<<z || y >= 1<<z {
							continue
						}
						if is := inside(z, x, y); is && !reached(z, x, y) || single && !is && reached(z, x, y) {
							t.Fatalf("%v at %v: tile %d/%d/%d is inside: %v, and reached: %v by %q", box, zooms, z, x, y, is, !is, tags)
						}
					}
				}
			}
		}
	}
	if exact < 100 {
		t.Errorf("%d areas were single tiles alone; the test wants more of them", exact)
	}
}

func TestTagsOf(t *testing.T) {
	world := tile.Box{West: -180, South: -90, East: 180, North: 90}
	berlin := tile.Box{West: 13, South: 52.3, East: 13.8, North: 52.7}
	of := func(low, high uint8, b tile.Box) *tile.Tiles {
		return tile.NewTiles(tile.ZoomRange{Min: low, Max: high}, b)
	}
	for _, test := range []struct {
		name  string
		purge tile.Purge
		want  string // the first, or all
		count int
	}{
		{"a tileset", tile.Purge{Tileset: "basemap"}, "tileset-basemap", 1},
		{"softly", tile.Purge{Tileset: "basemap", Soft: true}, "tileset-basemap", 1},
		{"a bundle", tile.Purge{Tileset: "bundle:styles"}, "bundle-styles", 1},
		{"the world at all zooms", tile.Purge{Tileset: "basemap", Tiles: of(0, 22, world)}, "tileset-basemap", 1},
		{"the world at zoom 0", tile.Purge{Tileset: "basemap", Tiles: of(0, 0, world)}, "basemap.t", 1},
		{"the world from zoom 5 on", tile.Purge{Tileset: "basemap", Tiles: of(5, 22, world)}, "basemap.q00", 16},
		{"a city at one zoom", tile.Purge{Tileset: "basemap", Tiles: of(10, 10, berlin)}, "basemap.t1202102320", 12},
		{"a city", tile.Purge{Tileset: "basemap", Tiles: of(10, 14, berlin)}, "basemap.q1202102320", 12},
	} {
		if got := tagsOf(&test.purge); len(got) != test.count || got[0] != test.want {
			t.Errorf("%s: got %d, the first %q; want %d and %q", test.name, len(got), got[0], test.count, test.want)
		}
	}
}

// What the CDNs document: tags of 256 bytes and 50 of them (CloudFront), 1,024 bytes and 16 KB together (Cloudflare, Fastly).
func TestTagsAreWithinTheLimitsOfTheCDNs(t *testing.T) {
	id := strings.Repeat("x", 64)
	tags := tagsOfTile(id, 30, 1<<30-1, 1<<30-1)
	if len(tags) != 17 {
		t.Errorf("got %d tags, want 17 at the deepest zoom", len(tags))
	}
	for _, tag := range tags {
		if len(tag) > 96 || strings.ContainsFunc(tag, func(r rune) bool { return r <= ' ' || r > '~' || r == ',' || r >= 'A' && r <= 'Z' }) {
			t.Errorf("got %q", tag)
		}
	}
	if n := len(strings.Join(tags, " ")); n > 1500 {
		t.Errorf("all tags have %d bytes", n)
	}
	if got, want := strings.Join(tagsOfTile("basemap", 5, 17, 10), " "), "tileset-basemap basemap.q12 basemap.q1202 basemap.t12021"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := strings.Join(tagsOfTile("basemap", 0, 0, 0), " "), "tileset-basemap basemap.t"; got != want {
		t.Errorf("zoom 0: got %q, want %q", got, want)
	}
}
